// Pools of workers: what each key becomes, and what stands where a key is absent, in both modes.
#include <csignal>

#include "config/config.hpp"
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;
using namespace std::chrono_literals;
using core::RollOrder;

namespace {

core::ServiceSpec service(const std::string& keys, core::Mode mode = core::Mode::dev) {
  LoadOptions options;
  options.check_host = false;
  options.mode = mode;
  const Outcome outcome =
      parse("[service.web]\ncommand = './server'\n" + keys, "/srv/app/supervisor.toml", options);
  if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
  return std::get<Loaded>(outcome).desired.services.at(0);
}

core::ServiceSpec in_prod(const std::string& keys) { return service(keys, core::Mode::prod); }

}  // namespace

TEST_CASE("workers are a number, as many as there are CPUs, or between two numbers") {
  CHECK(service("workers = 3").workers == 3);
  CHECK_FALSE(service("workers = 3").workers_auto);
  CHECK(service("workers = 'auto'").workers_auto);
  const auto range = service("workers = { min = 2, max = 8 }");
  CHECK(range.workers == 2);
  CHECK(range.workers_max == 8);
  CHECK(service("workers = { max = 8 }").workers == 1);
}

TEST_CASE("sockets are shared unless each slot is to have its own") {
  CHECK(service("listen = ':1'").balance == core::Balance::shared);
  CHECK(service("listen = ':1'\nbalance = 'shared'").balance == core::Balance::shared);
  CHECK(service("listen = ':1'\nbalance = 'reuseport'").balance == core::Balance::reuseport);
}

TEST_CASE("a roll is gradual in prod mode, where generations may overlap, and with a table") {
  CHECK_FALSE(service("").roll.gradual);
  CHECK(in_prod("").roll.gradual);
  CHECK_FALSE(in_prod("overlap = false").roll.gradual);
  CHECK_FALSE(in_prod("port = 'auto'").roll.gradual);
  CHECK_FALSE(in_prod("roll = 'at-once'").roll.gradual);
  CHECK(service("roll = 'gradual'").roll.gradual);
  CHECK(service("roll = {}").roll.gradual);
}

TEST_CASE("a roll is read key by key") {
  core::RollSpec expected;
  expected.gradual = true;
  CHECK(service("roll = {}").roll == expected);
  expected.order = RollOrder::old_first;
  expected.batch = core::Share{0, 25};
  expected.canary = 1;
  expected.canary_hold = 20s;
  expected.hold = 3s;
  expected.hold_last = 500ms;
  expected.memory_guard = false;
  CHECK(service("workers = 4\nroll = { order = 'old-first', batch = '25%', canary = 1, canary_hold = '20s', "
                "hold = '3s', hold_last = '500ms', memory_guard = false }")
            .roll == expected);
  CHECK(service("roll = { batch = 7 }").roll.batch == core::Share{7, 0});  // more than there are: all of them
  CHECK(service("roll = { order = 'new-first' }").roll.order == RollOrder::new_first);
  CHECK(service("workers = 'auto'\nroll = { canary = 3 }").roll.canary == 3);  // cut when the number is known
}

TEST_CASE("health is a request, a connection or a command") {
  CHECK(service("").health.kind == core::HealthKind::none);
  const auto http = service(
                        "listen = ':1'\nhealth = { http = '/health', interval = '3s', timeout = '1s', "
                        "failures = 5 }")
                        .health;
  CHECK(http.kind == core::HealthKind::http);
  CHECK(http.path == "/health");
  CHECK(http.address.empty());
  CHECK(http.interval == 3s);
  CHECK(http.timeout == 1s);
  CHECK(http.failures == 5);
  CHECK(service("health = { http = '/', address = ':80' }").health.address == "127.0.0.1:80");
  CHECK(service("listen = ':1'\nhealth = { tcp = true }").health.kind == core::HealthKind::tcp);
  CHECK(service("health = { tcp = '[::1]:80' }").health.address == "[::1]:80");
  CHECK(service("ready = { tcp = '[::1]:80' }\nhealth = { tcp = true }").health.address.empty());
  const auto exec = service("health = { command = ['./probe', '{pid}', '{worker}'] }").health;
  CHECK(exec.kind == core::HealthKind::exec);
  CHECK(exec.command == core::CommandSpec{{"./probe", "{pid}", "{worker}"}, false});
  CHECK(service("health = { command = 'a && b', shell = true }").health.command ==
        core::CommandSpec{{"/bin/sh", "-c", "a && b"}, true});
}

TEST_CASE("what a signal has stopped is ended after 500 ms in prod mode, and never in dev mode") {
  CHECK(service("").hang.stopped == 0s);
  CHECK(in_prod("").hang.stopped == 500ms);
  CHECK(in_prod("hang = { stopped = '0s' }").hang.stopped == 0s);
  const auto hang = service("hang = { stopped = '2s', on_hang = 'gdb -p {pid}', hook_timeout = '5s' }").hang;
  CHECK(hang.stopped == 2s);
  CHECK(hang.hook == core::CommandSpec{{"gdb", "-p", "{pid}"}, false});
  CHECK(hang.hook_timeout == 5s);
  CHECK(hang.watchdog == 0s);
  CHECK(service("hang = { watchdog = '3s' }").hang.watchdog == 3s);
  CHECK(service("hang = { on_hang = { command = 'a; b', shell = true } }").hang.hook->shell);
}

TEST_CASE("workers are recycled for any of three reasons") {
  CHECK(service("").recycle == core::RecycleSpec{});
  const auto recycle =
      service("recycle = { requests = 10000, lifetime = '12h', memory = '512MB', jitter = 0.25 }").recycle;
  CHECK(recycle.requests == 10000);
  CHECK(recycle.lifetime == 12h);
  CHECK(recycle.memory == 512'000'000);
  CHECK(recycle.jitter_percent == 25);
}

TEST_CASE("a stop may have further signals, and old generations may linger") {
  CHECK(service("").stop.lingering == 4);
  CHECK(service("").stop.flush == 2s);
  const auto stop = service(
                        "stop = { then = [{ signal = 'INT', after = '5s' }, { signal = 3, after = '8s' }], "
                        "flush = '1s', lingering = 0 }")
                        .stop;
  CHECK(stop.then == std::vector<core::StopStep>{{SIGINT, 5s}, {SIGQUIT, 8s}});
  CHECK(stop.flush == 1s);
  CHECK(stop.lingering == 0);
}

TEST_CASE("ends are named by exit status or signal") {
  const auto spec = service("restart = { success = [143, 'TERM', 'SIGINT', 143], no_restart = 78 }");
  CHECK(spec.success == std::vector<std::int32_t>{143, 1000 + SIGTERM, 1000 + SIGINT});
  CHECK(spec.no_restart == std::vector<std::int32_t>{78});
}

TEST_CASE("a change during a start waits in prod mode") {
  CHECK(service("watch = true").watch->on_change == core::OnChange::restart);
  CHECK(in_prod("watch = true").watch->on_change == core::OnChange::queue);
  CHECK(in_prod("watch = { on_change = 'restart' }").watch->on_change == core::OnChange::restart);
}

// Flags of `runmain dev` to a configuration, or all their faults.
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/archive.hpp"
#include "config/flags.hpp"
#include "support/catch.hpp"

namespace runmain::config {
namespace {

using namespace std::chrono_literals;

struct Place {
  Place() {
    std::string name = "/tmp/runmain-dev-XXXXXX";
    path = mkdtemp(name.data());
    std::filesystem::create_directory(path + "/src");
    std::ofstream(path + "/good.env") << "A=1\n";
    std::ofstream(path + "/bad.env") << "not an assignment\n";
  }
  ~Place() { std::filesystem::remove_all(path); }
  std::string path;
};

FlagOutcome make(Flags options, const Place& place) {
  options.folder = place.path;
  return from_flags(options, choose_runner(options.command, {}, asked_of(options)));
}

core::ServiceSpec good(const Flags& options, const Place& place) {
  const FlagOutcome made = make(options, place);
  if (const auto* faults = std::get_if<std::vector<Error>>(&made)) {
    for (const Error& fault : *faults) UNSCOPED_INFO(fault.text());
    REQUIRE(faults->empty());
    return {};
  }
  return std::get<FromFlags>(made).desired.services.at(0);
}

std::vector<Error> bad(const Flags& options, const Place& place) {
  const FlagOutcome made = make(options, place);
  REQUIRE(std::holds_alternative<std::vector<Error>>(made));
  return std::get<std::vector<Error>>(made);
}

TEST_CASE(
    "a command alone is watched in its folder, waits for the next save when it fails, and ends with 0 done") {
  const Place place;
  Flags options;
  options.command = {"./server", "x y"};
  const core::ServiceSpec spec = good(options, place);
  CHECK(spec.name == "server");
  CHECK(spec.command.argv == options.command);
  CHECK(spec.cwd == place.path);
  REQUIRE(spec.watch);
  CHECK(spec.watch->paths == std::vector<std::string>{place.path});
  CHECK(spec.watch->include.empty());
  CHECK(spec.restart == core::RestartPolicy::on_failure);
  CHECK(spec.await_change);
  CHECK_FALSE(spec.end_on_failure);
  CHECK_FALSE(spec.overlap);
  CHECK(spec.die_with_keeper);
}

TEST_CASE("every flag ends up where it belongs") {
  const Place place;
  Flags o;
  o.command = {"./server", "{fd}"};
  o.watch = {"src", place.path};
  o.ignore = {"*.log"};
  o.ext = ".py,html";
  o.listen = {"127.0.0.1:0", "unix:web.sock"};
  o.workers = "3";
  o.build = "make 'a b'";
  o.settle = "3s";
  o.signal = "INT";
  o.stop_timeout = "1s";
  o.ready = "http:/health";
  o.env_file = {"good.env"};
  o.on_change = "queue";
  o.name = "web";
  o.poll = o.exit_on_error = o.browser = o.automatic = true;
  const core::ServiceSpec spec = good(o, place);
  CHECK(spec.name == "web");
  CHECK(spec.browser);
  CHECK(spec.telemetry.automatic);
  CHECK(spec.watch->paths == std::vector<std::string>{place.path + "/src", place.path});
  CHECK(spec.watch->ignore == o.ignore);
  CHECK(spec.watch->include == std::vector<std::string>{"*.py", "*.html"});
  CHECK(spec.watch->poll);
  CHECK(spec.watch->settle == 3s);
  CHECK(spec.watch->settle_max >= spec.watch->settle);
  CHECK(spec.watch->on_change == core::OnChange::queue);
  REQUIRE(spec.watch->build);
  CHECK(spec.watch->build->argv == std::vector<std::string>{"make", "a b"});
  REQUIRE(spec.listen.size() == 2);
  CHECK(spec.listen[1].path == place.path + "/web.sock");
  CHECK(spec.listen[0].name == "web");
  CHECK(spec.workers == 3);
  CHECK(spec.overlap);
  CHECK(spec.stop.signal == SIGINT);
  CHECK(spec.stop.timeout == 1s);
  CHECK(spec.ready.kind == core::ReadyKind::http);
  CHECK(spec.ready.path == "/health");
  CHECK(spec.env_files == std::vector<std::string>{place.path + "/good.env"});
  CHECK(spec.restart == core::RestartPolicy::never);
  CHECK(spec.end_on_failure);
  CHECK_FALSE(spec.await_change);
}

TEST_CASE("--on-change takes a signal, --ready its kinds, --port a number or auto") {
  const Place place;
  Flags o;
  o.command = {"./server", "{port}"};
  o.port = "auto";
  o.on_change = "USR1";
  o.ready = "tcp";
  core::ServiceSpec spec = good(o, place);
  CHECK(spec.port == 0);
  CHECK_FALSE(spec.overlap);
  CHECK(spec.watch->on_change == core::OnChange::signal);
  CHECK(spec.watch->signal == SIGUSR1);
  CHECK(spec.ready.kind == core::ReadyKind::tcp);
  o.ready = "tcp:localhost:81";
  CHECK(good(o, place).ready.address == "127.0.0.1:81");
  o.ready = "after:2s";
  spec = good(o, place);
  CHECK(spec.ready.after == 2s);
  CHECK(spec.ready.timeout > spec.ready.after);
  o.ready = "notify";
  CHECK(good(o, place).ready.kind == core::ReadyKind::notify);
  o.port = "81";
  CHECK(good(o, place).port == 81);
}

TEST_CASE("the runner's address is taken, and flags overrule it") {
  const Place place;
  Flags o;
  o.command = {"uvicorn", "app:app"};
  core::ServiceSpec spec = good(o, place);
  REQUIRE(spec.listen.size() == 1);
  CHECK(spec.listen[0].text == "127.0.0.1:8000");
  CHECK(spec.overlap);
  o.listen = {":81"};
  spec = good(o, place);
  REQUIRE(spec.listen.size() == 1);
  CHECK(spec.listen[0].text == ":81");
  CHECK(spec.command.argv.back() == "{fd}");
  o.no_overlap = true;
  CHECK_FALSE(good(o, place).overlap);
  o.listen.clear();
  o.port = "82";
  spec = good(o, place);
  CHECK(spec.listen.empty());
  CHECK(spec.port == 82);
}

TEST_CASE("each bad flag is named, with a hint, and all of them at once") {
  const Place place;
  using Change = void (*)(Flags&);
  const std::vector<std::pair<std::string, Change>> cases{
      {"--settle", [](Flags& o) { o.settle = "5"; }},
      {"--stop-timeout", [](Flags& o) { o.stop_timeout = "soon"; }},
      {"--signal", [](Flags& o) { o.signal = "TREM"; }},
      {"--listen", [](Flags& o) { o.listen = {"8000"}; }},
      {"--listen", [](Flags& o) { o.listen = {"unix:missing/web.sock"}; }},
      {"--listen", [](Flags& o) { o.listen.assign(49, ":0"); }},
      {"--listen", [](Flags& o) { o.command = {"vite"}, o.listen = {":81"}; }},
      {"--port", [](Flags& o) { o.port = "0"; }},
      {"--port", [](Flags& o) { o.port = "65536"; }},
      {"--port", [](Flags& o) { o.port = "81", o.listen = {":0"}; }},
      {"--workers", [](Flags& o) { o.workers = "0"; }},
      {"--workers", [](Flags& o) { o.workers = "2x"; }},
      {"--workers", [](Flags& o) { o.workers = "2", o.port = "81"; }},
      {"--watch", [](Flags& o) { o.watch = {"missing"}; }},
      {"--ext", [](Flags& o) { o.ext = "py,,html"; }},
      {"--ext", [](Flags& o) { o.ext = "*.py"; }},
      {"--build", [](Flags& o) { o.build = "make && true"; }},
      {"--build", [](Flags& o) { o.build = "make 'x"; }},
      {"--on-change", [](Flags& o) { o.on_change = "restrat"; }},
      {"--on-change", [](Flags& o) { o.on_change = "HUP", o.build = "make"; }},
      {"--ready", [](Flags& o) { o.ready = "http:health"; }},
      {"--ready", [](Flags& o) { o.ready = "http:/health"; }},
      {"--ready", [](Flags& o) { o.ready = "after"; }},
      {"--ready", [](Flags& o) { o.ready = "tcp:localhost:0"; }},
      {"--env-file", [](Flags& o) { o.env_file = {"missing.env"}; }},
      {"--name", [](Flags& o) { o.name = "a b"; }},
      {"COMMAND", [](Flags& o) { o.command = {}; }},
      {"COMMAND",
       [](Flags& o) {
         o.command = {"./server", "--fd={fd}"};
       }},
      {"COMMAND", [](Flags& o) {
         o.command = {"./server", "{port}"};
       }}};
  for (const auto& [flag, change] : cases) {
    Flags o;
    o.command = {"./server"};
    change(o);
    const auto faults = bad(o, place);
    INFO(flag << ": " << faults[0].text());
    CHECK(faults[0].message.substr(0, flag.size() + 1) == flag + ":");
    CHECK_FALSE(faults[0].hint.empty());
  }
  Flags o;
  o.settle = "x";
  o.workers = "x";
  o.env_file = {"bad.env"};
  CHECK(bad(o, place).size() == 4);  // and there is no command
}

TEST_CASE("serve is production: nothing is watched, few workers at a time, all of them restarted") {
  const Place place;
  Flags o;
  o.purpose = Purpose::serve;
  o.command = {"./server", "{fd}"};
  o.listen = {"127.0.0.1:0"};
  o.terminal = true;
  const FlagOutcome made = make(o, place);
  CHECK(std::get<FromFlags>(made).desired.mode == core::Mode::prod);
  CHECK(std::get<FromFlags>(made).line ==
        "server: socket 127.0.0.1:0 is ours (LISTEN_FDS), a worker for each CPU");
  const core::ServiceSpec spec = good(o, place);
  CHECK_FALSE(spec.watch);
  CHECK_FALSE(spec.pty);
  CHECK_FALSE(spec.await_change);
  CHECK(spec.workers_auto);
  CHECK(spec.overlap);
  CHECK(spec.roll.gradual);
  CHECK(spec.restart == core::RestartPolicy::always);
  CHECK(spec.backoff.burst == 10);
  CHECK(spec.end_on_failure);
  CHECK(spec.hang.stopped == 500ms);
  CHECK(spec.stop.lingering == 4);
  CHECK_FALSE(spec.die_with_keeper);
}

TEST_CASE("every flag of a pool ends up where it belongs") {
  const Place place;
  Flags o;
  o.purpose = Purpose::serve;
  o.command = {"./server"};
  o.listen = {":0"};
  o.workers = "4-8";
  o.health = "/health";
  o.balance = "reuseport";
  o.order = "old-first";
  o.batch = "50%";
  o.canary = "1";
  o.max_requests = "1000";
  o.max_lifetime = "12h";
  o.max_memory = "512MB";
  const core::ServiceSpec spec = good(o, place);
  CHECK(spec.workers == 4);
  CHECK(spec.workers_max == 8);
  CHECK(spec.ready.kind == core::ReadyKind::http);
  CHECK(spec.ready.path == "/health");
  CHECK(spec.health.kind == core::HealthKind::http);
  CHECK(spec.health.path == "/health");
  CHECK(spec.balance == core::Balance::reuseport);
  CHECK(spec.roll.gradual);
  CHECK(spec.roll.order == core::RollOrder::old_first);
  CHECK(spec.roll.batch == core::Share{0, 50});
  CHECK(spec.roll.canary == 1);
  CHECK(spec.recycle.requests == 1000);
  CHECK(spec.recycle.lifetime == 12h);
  CHECK(spec.recycle.memory == 512'000'000);
  o.ready = "notify";
  o.health = "tcp";
  o.roll = "gradual";
  o.batch = "2";
  const core::ServiceSpec other = good(o, place);
  CHECK(other.ready.kind == core::ReadyKind::notify);
  CHECK(other.health.kind == core::HealthKind::tcp);
  CHECK(other.roll.batch == core::Share{2, 0});
}

TEST_CASE(
    "serve makes as many workers as can share a socket, and leaves a program that forks by itself alone") {
  const Place place;
  Flags o;
  o.purpose = Purpose::serve;
  o.command = {"gunicorn", "-w", "4", "app:app"};
  core::ServiceSpec spec = good(o, place);
  CHECK_FALSE(spec.workers_auto);
  CHECK(spec.workers == 1);
  REQUIRE(spec.listen.size() == 1);
  CHECK(spec.listen[0].text == "127.0.0.1:8000");
  CHECK(std::get<FromFlags>(make(o, place)).line ==
        "gunicorn: socket 127.0.0.1:8000 is ours (LISTEN_FDS), 1 worker, each with processes of its own by "
        "--workers 4: one kind of workers is enough");
  o.command = {"gunicorn", "app:app"};
  CHECK(good(o, place).workers_auto);
  o.command = {"uvicorn", "app:app", "--reload"};
  o.workers = "2";
  CHECK(std::get<FromFlags>(make(o, place)).line ==
        "uvicorn: socket 127.0.0.1:8000 is ours (--fd 3), its own --reload is off, 2 workers");
  o.command = {"./worker"};
  o.workers.clear();
  spec = good(o, place);
  CHECK(spec.workers == 1);
  CHECK_FALSE(spec.roll.gradual);  // whether two generations may be there at a time, nobody can say
  CHECK(std::get<FromFlags>(make(o, place)).line == "worker: has no socket of ours, 1 worker");
  o.workers = "3";
  o.port = "auto";
  CHECK(good(o, place).workers == 3);
}

TEST_CASE("a fault of a flag of serve names it and has a hint") {
  const Place place;
  using Change = void (*)(Flags&);
  const std::vector<std::pair<std::string, Change>> table = {
      {"--workers", [](Flags& o) { o.workers = "many"; }},
      {"--workers", [](Flags& o) { o.workers = "8-2"; }},
      {"--workers", [](Flags& o) { o.workers = "0-2"; }},
      {"--workers", [](Flags& o) { o.workers = "2-"; }},
      {"--workers", [](Flags& o) { o.workers = "1025"; }},
      {"--workers", [](Flags& o) { o.listen.clear(), o.port = "81", o.workers = "auto"; }},
      {"--workers", [](Flags& o) { o.listen.clear(), o.port = "81", o.workers = "1-2"; }},
      {"--balance", [](Flags& o) { o.balance = "reuse"; }},
      {"--balance", [](Flags& o) { o.listen.clear(), o.balance = "reuseport"; }},
      {"--balance", [](Flags& o) { o.listen.push_back("unix:x.sock"), o.balance = "reuseport"; }},
      {"--roll", [](Flags& o) { o.roll = "slow"; }},
      {"--roll", [](Flags& o) { o.roll = "at-once", o.batch = "2"; }},
      {"--roll", [](Flags& o) { o.listen.clear(), o.batch = "2"; }},
      {"--no-overlap", [](Flags& o) { o.no_overlap = true, o.roll = "gradual"; }},
      {"--order", [](Flags& o) { o.order = "first"; }},
      {"--batch", [](Flags& o) { o.batch = "0"; }},
      {"--batch", [](Flags& o) { o.batch = "200%"; }},
      {"--canary", [](Flags& o) { o.canary = "x"; }},
      {"--canary", [](Flags& o) { o.canary = "2"; }},
      {"--health", [](Flags& o) { o.health = "health"; }},
      {"--health", [](Flags& o) { o.listen.clear(), o.health = "/health"; }},
      {"--max-requests", [](Flags& o) { o.max_requests = "0"; }},
      {"--max-lifetime", [](Flags& o) { o.max_lifetime = "12"; }},
      {"--max-lifetime", [](Flags& o) { o.max_lifetime = "0s"; }},
      {"--max-memory", [](Flags& o) { o.max_memory = "512"; }},
      {"--max-memory", [](Flags& o) { o.max_memory = "much"; }},
  };
  for (const auto& [flag, change] : table) {
    Flags o;
    o.purpose = Purpose::serve;
    o.command = {"./server"};
    o.listen = {":0"};
    o.workers = "2";
    change(o);
    const auto faults = bad(o, place);
    INFO(flag << ": " << faults[0].text());
    CHECK(faults.size() == 1);
    CHECK(faults[0].message.substr(0, flag.size() + 1) == flag + ":");
    CHECK_FALSE(faults[0].hint.empty());
  }
}

TEST_CASE("what goes to the head by a file comes out of it the same") {
  const Place place;
  Flags o;
  o.command = {"./server", "{fd}"};
  o.listen = {":0"};
  o.clear = o.exit_on_error = true;
  const FlagOutcome made = make(o, place);
  const core::Desired& desired = std::get<FromFlags>(made).desired;
  core::Desired read;
  REQUIRE(from_binary(to_binary(desired), read));
  CHECK(read.clear);
  CHECK(read.mode == core::Mode::dev);
  CHECK(read.file == place.path);
  REQUIRE(read.services.size() == 1);
  CHECK(read.services[0] == desired.services[0]);
}

TEST_CASE("--adopt runs a program as it is written, and holds what it binds") {
  const Place place;
  Flags o;
  o.command = {"./server", "--port", "{port}"};
  o.listen = {"127.0.0.1:8000"};
  o.adopt = true;
  const core::ServiceSpec spec = good(o, place);
  CHECK(spec.adopt);
  CHECK(spec.overlap);
  CHECK_FALSE(spec.port);
  CHECK(spec.command.argv == o.command);
  o.listen.clear();
  CHECK(bad(o, place).front().message == "--adopt: needs --listen");
  o.port = "8000";
  CHECK(bad(o, place).size() == 2);
  o.port.clear();
  o.listen = {"unix:@name"};
  CHECK(bad(o, place).front().message.find("--adopt is for TCP and UDP") != std::string::npos);
}

TEST_CASE("a program that is known is not given its socket by a flag where --adopt is said") {
  const Place place;
  Flags o;
  o.adopt = true;
  for (const auto& [command, listen] : {std::pair<std::vector<std::string>, std::string>{
                                            {"gunicorn", "-b", "127.0.0.1:81", "a:b"}, "127.0.0.1:81"},
                                        {{"uvicorn", "a:b"}, "127.0.0.1:8000"},
                                        {{"python", "manage.py", "runserver"}, "127.0.0.1:8000"},
                                        {{"php", "-S", "localhost:82"}, "localhost:82"}}) {
    CAPTURE(command);
    o.command = command;
    const core::ServiceSpec spec = good(o, place);
    REQUIRE(spec.listen.size() == 1);
    CHECK(spec.listen[0].text == listen);
    for (const std::string& word : spec.command.argv) CHECK(word.find("{fd}") == std::string::npos);
  }
  o.command = {"uvicorn", "a:b"};
  o.listen = {":83"};
  CHECK(good(o, place).command.argv == std::vector<std::string>{"uvicorn", "a:b", "--port", "{port}"});
}

}  // namespace
}  // namespace runmain::config

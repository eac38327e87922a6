// Flags of `runmain dev` to a configuration, or all their faults.
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/archive.hpp"
#include "config/dev.hpp"
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

DevOutcome make(DevOptions options, const Place& place) {
  options.folder = place.path;
  return make_dev(options, choose_runner(options.command, {}, asked_of(options)));
}

core::ServiceSpec good(const DevOptions& options, const Place& place) {
  const DevOutcome made = make(options, place);
  if (const auto* faults = std::get_if<std::vector<Error>>(&made)) {
    for (const Error& fault : *faults) UNSCOPED_INFO(fault.text());
    REQUIRE(faults->empty());
    return {};
  }
  return std::get<Dev>(made).desired.services.at(0);
}

std::vector<Error> bad(const DevOptions& options, const Place& place) {
  const DevOutcome made = make(options, place);
  REQUIRE(std::holds_alternative<std::vector<Error>>(made));
  return std::get<std::vector<Error>>(made);
}

TEST_CASE(
    "a command alone is watched in its folder, waits for the next save when it fails, and ends with 0 done") {
  const Place place;
  DevOptions options;
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
  DevOptions o;
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
  o.poll = o.exit_on_error = o.browser = true;
  const core::ServiceSpec spec = good(o, place);
  CHECK(spec.name == "web");
  CHECK(spec.browser);
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
  DevOptions o;
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
  DevOptions o;
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
  using Change = void (*)(DevOptions&);
  const std::vector<std::pair<std::string, Change>> cases{
      {"--settle", [](DevOptions& o) { o.settle = "5"; }},
      {"--stop-timeout", [](DevOptions& o) { o.stop_timeout = "soon"; }},
      {"--signal", [](DevOptions& o) { o.signal = "TREM"; }},
      {"--listen", [](DevOptions& o) { o.listen = {"8000"}; }},
      {"--listen", [](DevOptions& o) { o.listen = {"unix:missing/web.sock"}; }},
      {"--listen", [](DevOptions& o) { o.listen.assign(49, ":0"); }},
      {"--listen", [](DevOptions& o) { o.command = {"vite"}, o.listen = {":81"}; }},
      {"--port", [](DevOptions& o) { o.port = "0"; }},
      {"--port", [](DevOptions& o) { o.port = "65536"; }},
      {"--port", [](DevOptions& o) { o.port = "81", o.listen = {":0"}; }},
      {"--workers", [](DevOptions& o) { o.workers = "0"; }},
      {"--workers", [](DevOptions& o) { o.workers = "2x"; }},
      {"--workers", [](DevOptions& o) { o.workers = "2", o.port = "81"; }},
      {"--watch", [](DevOptions& o) { o.watch = {"missing"}; }},
      {"--ext", [](DevOptions& o) { o.ext = "py,,html"; }},
      {"--ext", [](DevOptions& o) { o.ext = "*.py"; }},
      {"--build", [](DevOptions& o) { o.build = "make && true"; }},
      {"--build", [](DevOptions& o) { o.build = "make 'x"; }},
      {"--on-change", [](DevOptions& o) { o.on_change = "restrat"; }},
      {"--on-change", [](DevOptions& o) { o.on_change = "HUP", o.build = "make"; }},
      {"--ready", [](DevOptions& o) { o.ready = "http:health"; }},
      {"--ready", [](DevOptions& o) { o.ready = "http:/health"; }},
      {"--ready", [](DevOptions& o) { o.ready = "after"; }},
      {"--ready", [](DevOptions& o) { o.ready = "tcp:localhost:0"; }},
      {"--env-file", [](DevOptions& o) { o.env_file = {"missing.env"}; }},
      {"--name", [](DevOptions& o) { o.name = "a b"; }},
      {"COMMAND", [](DevOptions& o) { o.command = {}; }},
      {"COMMAND",
       [](DevOptions& o) {
         o.command = {"./server", "--fd={fd}"};
       }},
      {"COMMAND", [](DevOptions& o) {
         o.command = {"./server", "{port}"};
       }}};
  for (const auto& [flag, change] : cases) {
    DevOptions o;
    o.command = {"./server"};
    change(o);
    const auto faults = bad(o, place);
    INFO(flag << ": " << faults[0].text());
    CHECK(faults[0].message.substr(0, flag.size() + 1) == flag + ":");
    CHECK_FALSE(faults[0].hint.empty());
  }
  DevOptions o;
  o.settle = "x";
  o.workers = "x";
  o.env_file = {"bad.env"};
  CHECK(bad(o, place).size() == 4);  // and there is no command
}

TEST_CASE("what goes to the head by a file comes out of it the same") {
  const Place place;
  DevOptions o;
  o.command = {"./server", "{fd}"};
  o.listen = {":0"};
  o.clear = o.exit_on_error = true;
  const DevOutcome made = make(o, place);
  const core::Desired& desired = std::get<Dev>(made).desired;
  core::Desired read;
  REQUIRE(from_binary(to_binary(desired), read));
  CHECK(read.clear);
  CHECK(read.mode == core::Mode::dev);
  CHECK(read.file == place.path);
  REQUIRE(read.services.size() == 1);
  CHECK(read.services[0] == desired.services[0]);
}

}  // namespace
}  // namespace runmain::config

#include "config/diff.hpp"

#include "config/config.hpp"
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;

namespace {

core::Desired good(const std::string& text) {
  const Outcome outcome = golden::parse(text);
  if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
  return std::get<Loaded>(outcome).desired;
}

std::string between(const std::string& before, const std::string& after) {
  const core::Desired a = good(before);
  const core::Desired b = good(after);
  return text(diff(a, b), a, b);
}

}  // namespace

TEST_CASE("a service that only moved inside the file is not changed") {
  CHECK(between("[service.a]\ncommand = 'a'\nlisten = ':1'\n[service.b]\ncommand = 'b'\n",
                "# more\n\n[service.b]\ncommand = 'b'\n[service.a]\nlisten = [':1']\ncommand = 'a'\n") ==
        "no change\n");
}

TEST_CASE("added, removed and changed services are named with the keys that changed") {
  CHECK(between("[service.a]\ncommand = 'a'\n[service.old]\ncommand = 'o'\n[service.c]\ncommand = 'c'\n",
                "[service.new]\ncommand = 'n'\n[service.a]\ncommand = 'a'\n[service.c]\ncommand = "
                "'d'\nworkers = 2\n") == "- old\n+ new\n~ c (command, workers)\n");
}

TEST_CASE("every key is named as the file spells it") {
  const std::string plain = "[service.a]\ncommand = 'a'\n[service.b]\ncommand = 'b'\n";
  const std::vector<std::pair<std::string, std::string>> table = {
      {"listen = ':1'", "listen"},
      {"port = 1", "port, overlap"},
      {"watch = true", "watch"},
      {"ready = { notify = true }", "ready"},
      {"stop = { timeout = '1s' }", "stop"},
      {"restart = 'never'", "restart"},
      {"restart = { policy = 'never', burst = 5 }", "restart"},
      {"restart = { burst = 5 }", "restart"},
      {"depends_on = 'a'", "depends_on"},
      {"env = { A = 1 }", "env"},
      {"env_file = '.env'", "env_file"},
      {"cwd = 'x'", "cwd"},
      {"overlap = false", "overlap"},
      {"log = { file = 'x' }", "log"},
      {"user = 1", "user"},
      {"group = 1", "group"},
      {"umask = '022'", "umask"},
      {"limits = { core = 0 }", "limits"},
      {"on_keeper_death = 'keep'", "on_keeper_death"},
      {"workers = 'auto'", "workers"},
      {"workers = { min = 2, max = 8 }", "workers"},
      {"roll = { batch = 2 }", "roll"},
      {"health = { tcp = '127.0.0.1:1' }", "health"},
      {"hang = { stopped = '1s' }", "hang"},
      {"recycle = { requests = 5 }", "recycle"},
      {"stop = { flush = '1s', lingering = 0 }", "stop"},
      {"restart = { success = 3, no_restart = 4, failed_start = 'wait' }", "restart"},
      {"listen = ':1'\nbalance = 'reuseport'", "listen, balance"},
      {"telemetry = { enabled = false }", "telemetry"},
      {"telemetry = { endpoint = 'http://a:4318', headers = { k = 'v' } }", "telemetry"},
  };
  for (const auto& [key, expected] : table) {
    CAPTURE(key);
    CHECK(between(plain, plain + key + "\n") == "~ b (" + expected + ")\n");
    CHECK(between(plain + key + "\n", plain) == "~ b (" + expected + ")\n");
  }
}

TEST_CASE("a listener is compared without its place") {
  const std::string a = "[service.a]\ncommand = 'a'\nlisten = ";
  CHECK(between(a + "':1'", a + "      ':1'") == "no change\n");
  CHECK(between(a + "':1'", a + "{ name = 'x', address = ':1' }") == "~ a (listen)\n");
  CHECK(between(a + "':1'", a + "':2'") == "~ a (listen)\n");
}

TEST_CASE("a change of mode is told first, with what it changes") {
  CHECK(between("[service.a]\ncommand = 'a'\n", "[runmain]\nmode = 'prod'\n[service.a]\ncommand = 'a'\n") ==
        "mode dev -> prod\n~ a (roll, hang, on_keeper_death)\n");
}

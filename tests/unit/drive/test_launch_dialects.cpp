// What other managers' programs find in the environment of a child.
#include <map>
#include <string>

#include "drive/launch.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

struct Fixture {
  core::ServiceSpec spec;
  LaunchInput in;

  Fixture() {
    spec.name = "web";
    spec.command.argv = {"./server"};
    in.spec = &spec;
    in.key = {ServiceId{1}, 1, 4, 2};
    in.environment = {"PATH=/bin:/usr/bin"};
    in.secret = "0123456789abcdef";
  }
  std::map<std::string, std::string> environment() {
    Launch launch = plan(in);
    if (const auto* refused = std::get_if<keeper::RefuseSpawn>(&launch)) FAIL(refused->detail);
    std::map<std::string, std::string> out;
    for (const std::string& line : std::get<keeper::SpawnChild>(launch).env) {
      const std::size_t equals = line.find('=');
      CHECK(out.emplace(line.substr(0, equals), line.substr(equals + 1)).second);  // no name twice
    }
    return out;
  }
};

}  // namespace

TEST_CASE("programs that know another manager's variables find the sockets in them") {
  Fixture f;
  f.in.listeners = {{"1", "http", "127.0.0.1:8000"},
                    {"2", "dns", "udp:127.0.0.1:53"},
                    {"3", "six", "[::]:8001"},
                    {"4", "path", "unix:/run/web.sock"},
                    {"5", "odd", "unix:/run/a=b;c"}};
  auto env = f.environment();
  CHECK(env["EINHORN_FD_COUNT"] == "5");
  CHECK(env["EINHORN_FD_0"] == "3");
  CHECK(env["EINHORN_FD_4"] == "7");
  CHECK(env["EINHORN_CHILD_INDEX"] == "1");
  CHECK(env["SERVER_STARTER_PORT"] == "127.0.0.1:8000=3;[::]:8001=5;/run/web.sock=6");
  CHECK(env["SERVER_STARTER_GENERATION"] == "4");
  for (const char* name : {"EINHORN_MASTER_PID", "EINHORN_SOCK_PATH", "NGINX", "GUNICORN_FD"})
    CHECK(env.count(name) == 0);
}

TEST_CASE("of several workers each has its number under pm2's name, with what the service says before it") {
  Fixture f;
  f.spec.workers = 2;
  CHECK(f.environment()["NODE_APP_INSTANCE"] == "1");
  f.spec.env = {{"NODE_APP_INSTANCE", "blue"}};
  CHECK(f.environment()["NODE_APP_INSTANCE"] == "blue");
  Fixture alone;
  CHECK(alone.environment()["NODE_APP_INSTANCE"] == "1");  // of a slot that `runmain scale` has added
  alone.in.key.slot = 0;
  CHECK(alone.environment().count("NODE_APP_INSTANCE") == 0);
}

TEST_CASE("a watchdog that the specification wants is told as systemd tells it") {
  Fixture f;
  CHECK(f.environment().count("WATCHDOG_USEC") == 0);
  f.spec.hang.watchdog = std::chrono::milliseconds(2500);
  CHECK(f.environment()["WATCHDOG_USEC"] == "2500000");
  CHECK(f.environment().count("WATCHDOG_PID") == 0);
}

TEST_CASE("other managers' variables are not inherited") {
  Fixture f;
  f.in.key.slot = 0;
  f.in.environment = {"EINHORN_MASTER_PID=1", "EINHORN_FD_0=9",        "EINHORN_SOCK_PATH=/x",
                      "NODE_APP_INSTANCE=7",  "SERVER_STARTER_PORT=3", "EINHORN=y"};
  const auto env = f.environment();
  for (const auto& [name, value] : env) {
    CHECK(name.rfind("EINHORN_", 0) != 0);
    CHECK(name.rfind("SERVER_STARTER_", 0) != 0);
  }
  CHECK(env.count("NODE_APP_INSTANCE") == 0);
  CHECK(env.count("EINHORN") == 1);
}

TEST_CASE("a helper gets none of the sockets' variables") {
  Fixture f;
  f.spec.watch.emplace();
  f.spec.watch->build = core::CommandSpec{{"make"}, false};
  f.spec.workers = 4;
  f.in.key.slot = kBuildSlot;
  f.in.listeners = {{"1", "http", "127.0.0.1:8000"}};
  const auto env = f.environment();
  for (const char* name : {"EINHORN_FD_COUNT", "SERVER_STARTER_PORT", "NODE_APP_INSTANCE", "LISTEN_FDS"})
    CHECK(env.count(name) == 0);
}

// Stopping: everything that a service ever started is gone, proven, or named.
#include <signal.h>

#include "support/catch.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

void check_gone(const std::string& what) {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"" + what +
                "\", \"print\", \"all there\", \"pause\"]\n" + "stop = { timeout = \"1s\" }\n");
  up.start();
  REQUIRE(up.wait_output("all there"));
  REQUIRE(up.wait_ready());
  const auto found = grandchildren_in(up.output());
  REQUIRE_FALSE(found.empty());
  CHECK(up.cli({"stop", "a"}).status == 0);
  for (const pid_t pid : found) CHECK_FALSE(alive(pid));
  CHECK(up.stop() == 0);
}

}  // namespace

TEST_CASE("a grandchild in its own session is gone after stop") { check_gone("setsid-grandchild"); }
TEST_CASE("a double-forked grandchild is gone after stop") { check_gone("double-fork-grandchild"); }
TEST_CASE("a same-group grandchild that ignores SIGTERM is gone after stop") {
  check_gone("same-group-ignorer");
}
TEST_CASE("a chain that forks while it is killed is gone after stop") { check_gone("fork-chain"); }

TEST_CASE("a child that ignores SIGTERM is killed at the deadline") {
  Supervised up(R"(
[service.a]
command = ["@BIN@/t_child", "ignore-term", "print", "ignoring", "pause"]
stop = { timeout = "300ms" }
)");
  up.start();
  REQUIRE(up.wait_output("ignoring"));
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"stop", "a"}).status == 0);
  CHECK(up.wait_event("child.stop_timed_out", "a").is_object());
  CHECK(up.service("a")["state"] == "stopped");
}

TEST_CASE("a child that is gone at once ends a grace of 60 s at once") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nstop = { timeout = \"60s\" }\n");
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"stop", "a"}).status == 0);  // the guard of the test is 30 s
}

TEST_CASE("what a crashed child left behind is swept before the port could be missed") {
  Supervised up(R"(
[service.a]
command = ["@BIN@/t_child", "setsid-grandchild", "print", "born", "pause"]
)");
  up.start();
  REQUIRE(up.wait_output("born"));
  REQUIRE(up.wait_ready());
  const auto old = grandchildren_in(up.output());
  REQUIRE(old.size() == 1);
  const auto pids = up.pids("a");
  kill(pids[0], SIGKILL);
  CHECK(wait_gone(old[0]));
}

TEST_CASE("SIGKILL of the keeper ends a dev tree") {
  Supervised up(R"(
[service.a]
command = ["@BIN@/t_child", "setsid-grandchild", "double-fork-grandchild", "print", "born", "pause"]
)");
  up.start();
  REQUIRE(up.wait_output("born"));
  REQUIRE(up.wait_ready());
  std::vector<pid_t> all = grandchildren_in(up.output());
  for (const pid_t pid : up.pids("a")) all.push_back(pid);
  all.push_back(up.head_pid());
  REQUIRE(all.size() == 4);
  up.signal(SIGKILL);
  for (const pid_t pid : all) CHECK(wait_gone(pid));
  CHECK(up.wait_exit() == 137);
}

TEST_CASE("a stop without a head: the keeper ends all children itself") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto pids = up.pids("a");
  const pid_t head = up.head_pid();
  REQUIRE(head > 0);
  kill(head, SIGSTOP);  // it lives, but answers nobody
  up.signal(SIGTERM);
  CHECK(up.wait_exit() == 128 + SIGTERM);
  for (const pid_t pid : pids) CHECK_FALSE(alive(pid));
  CHECK_FALSE(alive(head));
}

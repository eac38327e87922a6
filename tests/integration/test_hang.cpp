// Workers that do not answer, and those that only seem not to: a supervisor that was stopped itself, a server
// under a wrapper, an answer that is no good one.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "support/catch.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;
using namespace std::chrono_literals;

namespace {

std::string pool(int workers, const std::string& more, const std::string& command,
                 const std::string& ready = "20s") {
  return "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = '''" + command +
         "'''\nshell = true\nlisten = \"127.0.0.1:0\"\nworkers = " + std::to_string(workers) +
         "\non_keeper_death = \"stop\"\nready = { notify = true, timeout = \"" + ready + "\" }\n" + more;
}
std::string hook(const std::string& whom) {
  return "hang = { on_hang = { command = \"echo hook sees " + whom +
         " $RUNMAIN_HANG_KIND\", shell = true } }\n";
}
const std::string kBeats = "exec @BIN@/t_http --fd {fd} --beat-ms 100 --mute mute";

// That this time passes is what is tested.
void stay_stopped(std::chrono::milliseconds span) { poll(nullptr, 0, static_cast<int>(span.count())); }

}  // namespace

TEST_CASE("the head is stopped for longer than a watchdog: no worker is late for it") {
  Supervised up(pool(4, "", kBeats));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  const pid_t head = up.head_pid();
  for (int n = 0; n < 3; ++n) {
    kill(head, SIGSTOP);
    stay_stopped(1200ms);
    kill(head, SIGCONT);
    REQUIRE(up.status().is_object());
    stay_stopped(500ms);  // a watchdog and more
  }
  CHECK(up.pids("web") == before);
  CHECK(up.service("web")["restarts"] == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("the workers stand still together with the head: they have their time when they go on") {
  Supervised up(pool(2, "hang = { stopped = \"0s\" }\n", kBeats));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  const pid_t head = up.head_pid();
  kill(head, SIGSTOP);
  for (const pid_t pid : before) kill(pid, SIGSTOP);
  stay_stopped(1200ms);
  kill(head, SIGCONT);
  for (const pid_t pid : before) kill(pid, SIGCONT);
  stay_stopped(600ms);
  CHECK(up.pids("web") == before);
  CHECK(up.stop() == 0);
}

TEST_CASE("a worker that says nothing any more is looked at, seen by the hook, and ended") {
  Supervised up(pool(1, hook("{pid}"), kBeats));
  up.start();
  REQUIRE(up.wait_ready());
  const pid_t before = up.pids("web")[0];
  up.folder().write("mute", "");
  const Json hung = up.wait_event("child.hung", "web");
  REQUIRE(hung.is_object());
  INFO(hung.dump());
  CHECK(hung["data"]["text"].get<std::string>().find("no WATCHDOG=1") == 0);
  CHECK(up.wait_output("hook sees " + std::to_string(before) + " waiting"));
  REQUIRE(wait_gone(before));
}

TEST_CASE("a start that takes too long is seen by the hook, and it is said what it does") {
  Supervised up(pool(1, hook("a start,"), "exec @BIN@/t_http --fd {fd} --boot-ms 60000", "300ms"));
  up.start();
  CHECK(up.wait_output("hook sees a start, waiting"));
  CHECK(up.output().find("not ready within") != std::string::npos);
}

TEST_CASE("the real server under a shell is stopped: its watchdog says so, although it is no child of ours") {
  Supervised up(pool(1, hook("it"), "@BIN@/t_http --fd 3 --beat-ms 100; true"));
  up.start();
  REQUIRE(up.wait_ready());
  const auto servers = children_of(up.pids("web")[0]);
  REQUIRE(servers.size() == 1);
  kill(servers[0], SIGSTOP);
  const Json hung = up.wait_event("child.hung", "web");
  INFO(up.output());
  REQUIRE(hung.is_object());
  CHECK(hung["data"]["text"].get<std::string>().find("is stopped by a signal") != std::string::npos);
  CHECK(up.wait_output("hook sees it stopped"));
  REQUIRE(wait_gone(servers[0]));
  REQUIRE(up.wait_ready());
}

TEST_CASE("workers that answer 503 are replaced one after the other, and no request is cut off") {
  Supervised up(pool(3, "health = { http = \"/\", interval = \"100ms\", timeout = \"1s\", failures = 2 }\n",
                     "exec @BIN@/t_http --fd {fd} --unwell ill"));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  up.folder().write("ill", "");
  REQUIRE(up.wait_event("child.replaced", "web").is_object());
  for (const pid_t pid : before) REQUIRE(wait_gone(pid));
  CHECK(up.wait_output("is not well: answered 503, replacing it"));
  CHECK(up.output().find("hangs for") == std::string::npos);
  CHECK(up.output().find("SIGKILL") == std::string::npos);
  unlink(up.folder().file("ill").c_str());
  REQUIRE(up.wait_ready());
  CHECK(up.stop() == 0);
}

// Saves while something is under way: what on_change does with them, and what the child is told. Real
// processes; a start or a build stands still at a FIFO until the test opens it.
#include <signal.h>

#include <fstream>

#include "support/catch.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

// Prints what it was started with, and is ready when somebody has opened the gate of its generation; the
// first one at once.
std::string gated(const std::string& watch_more, const std::string& more = {}) {
  return "[service.a]\n"
         "command = \"echo generation $RUNMAIN_GENERATION has `cat src/main`; "
         "[ $RUNMAIN_GENERATION = 1 ] || @BIN@/t_child gate @DIR@/gate$RUNMAIN_GENERATION; "
         "exec @BIN@/t_child ready pause\"\n"
         "shell = true\nready = { notify = true }\nwatch = { paths = [\"src\"]" +
         watch_more + " }\n" + more;
}

// Generation 1 is ready, generation 2 is at its gate.
void start_second(Supervised& up) {
  up.folder().write("src/main", "one");
  up.start();
  REQUIRE(up.wait_ready());
  up.folder().write("src/main", "two");
  REQUIRE(up.wait_output("generation 2 has two"));
  REQUIRE(up.wait_output("at the gate"));
}

void open_gate(Supervised& up, int generation) {
  std::ofstream(up.folder().file("gate" + std::to_string(generation)));
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("restart: a save during a start ends that start, and the next one has the save") {
  Supervised up(gated(""));
  start_second(up);
  const auto before = up.pids("a");
  REQUIRE(before.size() == 2);
  up.folder().write("src/main", "three");
  REQUIRE(up.wait_output("generation 3 has three"));
  open_gate(up, 3);
  REQUIRE(serves(up, 3));
  for (const pid_t pid : before) CHECK(wait_gone(pid));
  CHECK(up.service("a")["reloads"] == 1);
  CHECK(up.service("a")["restarts"] == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("queue: a save during a start waits for it, and is one more start then") {
  Supervised up(gated(", on_change = \"queue\""));
  start_second(up);
  up.folder().write("src/main", "three");
  REQUIRE(up.wait_event("reload.queued", "a").is_object());
  CHECK(up.service("a")["workers"].size() == 2);
  open_gate(up, 2);
  REQUIRE(up.wait_output("generation 3 has three"));
  open_gate(up, 3);
  REQUIRE(serves(up, 3));
  CHECK(up.stop() == 0);
}

TEST_CASE("ignore: a save during a start is dropped and said, the next one after it counts") {
  Supervised up(gated(", on_change = \"ignore\""));
  start_second(up);
  up.folder().write("src/main", "three");
  REQUIRE(up.wait_event("reload.ignored", "a").is_object());
  open_gate(up, 2);
  REQUIRE(serves(up, 2));
  up.folder().write("src/main", "four");
  REQUIRE(up.wait_output("generation 3 has four"));
  open_gate(up, 3);
  REQUIRE(serves(up, 3));
  CHECK(up.output().find("has three") == std::string::npos);
  CHECK(up.stop() == 0);
}

TEST_CASE("signal: a save sends it to every worker and restarts none") {
  Supervised up(
      "[service.a]\ncommand = \"trap 'echo worker $RUNMAIN_WORKER heard' USR1; @BIN@/t_child ready pause & "
      "while :; do wait; done\"\n"
      "shell = true\nworkers = 2\nready = { notify = true }\n"
      "watch = { paths = [\"src\"], on_change = { signal = \"USR1\" } }\n");
  up.folder().write("src/main", "one");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("a");
  for (int save = 1; save <= 3; ++save) {
    up.folder().write("src/main", std::to_string(save));
    REQUIRE(up.wait_event("reload.signalled", "a").is_object());
  }
  CHECK(up.wait_output("worker 0 heard"));
  CHECK(up.wait_output("worker 1 heard"));
  CHECK(up.wait_output("main → SIGUSR1 sent"));
  CHECK(up.pids("a") == before);
  CHECK(up.stop() == 0);
}

TEST_CASE("a save during a build ends that build; what is built last is what runs") {
  Supervised up(
      "[service.a]\ncommand = [\"sh\", \"built\"]\nready = { after = \"1ms\" }\n[service.a.watch]\npaths = "
      "[\"src\"]\n"
      "build = { shell = true, command = \"echo building `cat src/main`; "
      "grep -q quick src/main || @BIN@/t_child gate @DIR@/gate; cp src/main built\" }\n");
  up.folder().write("src/main", "echo quick one; exec sleep 60\n");
  up.start();
  REQUIRE(up.wait_output("quick one"));
  REQUIRE(up.wait_ready());
  up.folder().write("src/main", "echo slow two; exec sleep 60\n");
  REQUIRE(up.wait_output("building echo slow two"));
  REQUIRE(up.wait_output("at the gate"));
  up.folder().write("src/main", "echo quick three; exec sleep 60\n");
  REQUIRE(up.wait_event("reload.done", "a").is_object());
  CHECK(up.wait_output("\nquick three"));
  CHECK(up.output().find("\nslow two") == std::string::npos);
  CHECK(count(up.output(), "build failed") == 0);
  CHECK(up.service("a")["reloads"] == 1);
  CHECK(up.stop() == 0);
}

TEST_CASE("a child is told why it was started and what has changed") {
  Supervised up(
      "[service.a]\ncommand = \"echo because of $RUNMAIN_REASON: `cat $RUNMAIN_CHANGED </dev/null | sort | "
      "tr '\\\\n' ' '`.; "
      "exec @BIN@/t_child ready pause\"\n"
      "shell = true\nready = { notify = true }\nwatch = { paths = [\"src\"], settle = \"200ms\" }\n");
  up.folder().write("src/main", "one");
  up.folder().write("src/a name", "one");
  up.start();
  REQUIRE(up.wait_output("because of start: ."));
  REQUIRE(up.wait_ready());
  up.folder().write("src/main", "two");
  REQUIRE(up.wait_output("because of change: " + up.folder().file("src/main") + " ."));
  REQUIRE(serves(up, 2));
  kill(up.pids("a").at(0), SIGKILL);
  REQUIRE(up.wait_output("because of crash: ."));
  REQUIRE(serves(up, 2));
  up.folder().write("src/a name", "two");
  REQUIRE(up.wait_output("because of change: " + up.folder().file("src/a name") + " ."));
  REQUIRE(serves(up, 3));
  CHECK(up.cli({"reload", "a"}).status == 0);
  REQUIRE(serves(up, 4));
  CHECK(up.wait_output("because of change: ."));
  CHECK(up.stop() == 0);
}

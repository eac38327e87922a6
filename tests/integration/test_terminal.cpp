// A person at a terminal, a shell, `runmain up` in it and a program on a pty: who gets which key, and in what
// state the terminal is left.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

#include "support/catch.hpp"
#include "support/job_shell.hpp"

using namespace runmain::test;

namespace {

// One service on a pty: t_child doing this.
std::string at_pty(const std::string& actions, const std::string& more = {}) {
  return "[service.a]\ncommand = [\"@BIN@/t_child\", " + actions +
         "]\npty = true\nready = { after = \"1ms\" }\n" + more;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// Waits until the supervisor knows that a child waits at its terminal (again), as `times` say.
bool waits(JobShell& shell, int times = 1) {
  if (!shell.reaches_control()) return false;
  Control events(shell.control_path());
  events.send("events", {{"follow", true}});
  for (Json line; (line = events.next()).is_object();) {
    if (line.contains("item") && line["item"]["type"] == "child.waits" && --times == 0) return true;
  }
  return false;
}

pid_t program_of(const JobShell& shell) {
  for (const pid_t child : children_of(shell.keeper_pid())) {
    if (child != shell.head_pid() && child != observer_of(shell.keeper_pid())) return child;
  }
  return -1;
}

// Waits until this process is blocked in a system call that /proc/PID/syscall begins with.
bool comes_to(pid_t pid, const std::vector<std::string>& calls) {
  const auto end = std::chrono::steady_clock::now() + kGuard;
  for (std::string call; std::chrono::steady_clock::now() < end;) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/syscall");
    std::getline(in, call);
    for (const std::string& wanted : calls) {
      if (call.starts_with(wanted)) return true;
    }
  }
  return false;
}

// read(2) of its stdin: after it was continued it has to get there again.
bool comes_to_read(pid_t pid) { return comes_to(pid, {std::to_string(SYS_read) + " 0x0 "}); }

bool comes_to_epoll(pid_t pid) {
  std::vector<std::string> calls{std::to_string(SYS_epoll_pwait) + " "};
#ifdef SYS_epoll_wait
  calls.push_back(std::to_string(SYS_epoll_wait) + " ");
#endif
  return comes_to(pid, calls);
}

const char* const kKeys = "r restart, p pause";

}  // namespace

TEST_CASE("a program has a terminal of its own, as large as ours, and its prompt is seen before its answer") {
  JobShell shell(
      at_pty("\"tty\", \"prompt\", \"name? \", \"read-tty\", \"columns\", \"90\", \"tty\", \"pause\""));
  CHECK(shell.shows("tty: in out leads 100x30"));
  REQUIRE(shell.shows("name? "));
  REQUIRE(waits(shell));
  shell.resize(90, 20);
  shell.type("bob\r");
  CHECK(shell.shows("read: bob"));
  CHECK(shell.shows("tty: in out leads 90x20"));
  const Ran logs = shell.cli({"logs"});
  CHECK(count(logs.out, "name? bob") == 1);
  CHECK(count(logs.out, "\r") == 0);
}

TEST_CASE("keys are runmain's while nobody waits for them: help, restart, pause, quit") {
  JobShell shell(at_pty("\"pause\"", "watch = { paths = [\"@DIR@/src\"] }\n"));
  REQUIRE(shell.shows("a: ready"));
  shell.type("?");
  CHECK(shell.shows(kKeys));
  shell.type("r");
  CHECK(shell.shows("generation 2 serves"));
  shell.type("p");
  CHECK(shell.shows("paused"));
  Control events(shell.control_path());
  events.send("events", {{"follow", true}});
  shell.folder().write("src/one", "2");
  for (Json line; (line = events.next()).is_object() && line["item"]["type"] != "reload.settling";) {
  }
  shell.type("p");
  CHECK(shell.shows("going on"));
  CHECK(shell.shows("generation 3 serves"));
  shell.type("\x1b[1;2q");  // a key that sends letters is none of them
  shell.type("c");
  CHECK(shell.shows("\x1b[2J"));
  shell.type("q");
  CHECK(shell.shows("nothing is left"));
  CHECK(shell.wait_end() == 0);
  CHECK((shell.modes().c_lflag & (ICANON | ECHO)) == (ICANON | ECHO));
}

TEST_CASE("a program that waits for a line gets it, whatever it is made of, and the keys are ours again") {
  for (const char* action : {"read-tty", "thread-read-tty", "poll-tty", "select-tty", "epoll-tty"}) {
    CAPTURE(action);
    JobShell shell(at_pty("\"prompt\", \"? \", \"" + std::string(action) + "\", \"pause\""));
    REQUIRE(waits(shell));
    shell.type("rpcq?\r");
    CHECK(shell.shows("read: rpcq?"));
    shell.type("?");
    CHECK(shell.shows(kKeys));
    shell.type("q");
    CHECK(shell.wait_end() == 0);
  }
}

TEST_CASE("a password is not shown, and Ctrl-] means runmain while it is asked for") {
  JobShell shell(at_pty("\"prompt\", \"password: \", \"secret-tty\", \"pause\""));
  REQUIRE(shell.shows("password: "));
  REQUIRE(waits(shell));
  shell.type("xyzzy");
  shell.type("\x1d?");
  CHECK(shell.shows(kKeys));
  shell.type("\r");
  CHECK(shell.shows("read: xyzzy"));
  CHECK(count(shell.screen(), "xyzzy") == 1);
}

TEST_CASE(
    "a paste of 10,000 characters is whole where its beginning went, also if that one looks away meanwhile") {
  JobShell shell(
      at_pty("\"prompt\", \"? \", \"read-tty\", \"gate\", \"@DIR@/gate\", \"lines-tty\", \"pause\""));
  REQUIRE(waits(shell));
  std::string paste;
  while (paste.size() < 10'000) paste += std::string(49, 'q') + "\r";
  shell.type(paste + "the end\r");
  CHECK(shell.shows("at the gate"));
  std::ofstream(shell.folder().file("gate"));  // a FIFO: opening it is what the program waits for
  CHECK(shell.shows("lines: 199, bytes: 9751"));
  shell.type("\x1d?");
  CHECK(shell.shows(kKeys));
  shell.type("\x1dq");
  CHECK(shell.wait_end() == 0);
}

TEST_CASE("a raw program gets every key, Ctrl-C and Ctrl-Z too; Ctrl-] q ends it") {
  JobShell shell(at_pty("\"raw-tty\", \"pause\""));
  REQUIRE(shell.shows("keys"));
  shell.type("q");
  CHECK(shell.shows("key 71"));
  shell.type("\x03");
  CHECK(shell.shows("key 03"));
  shell.type("\x1a");
  CHECK(shell.shows("key 1a"));
  shell.type("\r");
  CHECK(shell.shows("key 0a"));  // its line discipline still makes a newline of it
  shell.type("\x1d\x1d");
  CHECK(shell.shows("key 1d"));
  shell.type("\x1dq");
  CHECK(shell.shows("nothing is left"));
  CHECK(shell.wait_end() == 0);
}

TEST_CASE(
    "Ctrl-C ends a program that waits for a line, and runmain when none does; Ctrl-] Ctrl-C is runmain's") {
  JobShell shell(at_pty("\"prompt\", \"? \", \"read-tty\", \"pause\""));
  REQUIRE(waits(shell));
  shell.type("\x03");
  CHECK(shell.shows("killed by SIGINT"));
  REQUIRE(waits(shell, 2));
  shell.type("x\r");
  CHECK(shell.shows("read: x"));
  shell.type("\x03");
  CHECK(shell.shows("nothing is left"));
  CHECK(shell.wait_end() == 0);
  JobShell other(at_pty("\"prompt\", \"? \", \"read-tty\", \"pause\""));
  REQUIRE(waits(other));
  other.type("\x1d");
  other.type("\x03");
  CHECK(other.wait_end() == 0);
}

TEST_CASE(
    "a server that also listens to its terminal gets its keys; Ctrl-C is runmain's, and saves reload it") {
  JobShell shell(at_pty("\"serve-tty\"", "watch = { paths = [\"@DIR@/src\"] }\n"));
  REQUIRE(shell.shows("serving"));
  REQUIRE(comes_to_epoll(program_of(shell)));
  shell.type("r\r");
  CHECK(shell.shows("read: r"));
  shell.folder().write("src/one", "2");
  CHECK(shell.shows("generation 2 serves"));
  shell.type("\x03");
  CHECK(shell.shows("nothing is left"));
  CHECK(shell.wait_end() == 0);
  CHECK(count(shell.screen(), "queued") == 0);
  CHECK(count(shell.screen(), "killed by SIGINT") == 0);
}

TEST_CASE("Ctrl-Z gives the terminal back and stops everything; fg brings all of it back") {
  JobShell shell(at_pty("\"prompt\", \"? \", \"read-tty\", \"pause\""));
  REQUIRE(waits(shell));
  for (int round = 0; round < 3; ++round) {
    shell.type("\x1a");
    REQUIRE(shell.shows("[stopped]"));
    CHECK((shell.modes().c_lflag & (ICANON | ECHO)) == (ICANON | ECHO));
    shell.type("fg\n");
    REQUIRE(shell.comes_to_lines(false));
    REQUIRE(comes_to_read(program_of(shell)));
  }
  shell.type("back\r");
  CHECK(shell.shows("read: back"));
  shell.type("q");
  CHECK(shell.wait_end() == 0);
}

TEST_CASE("a program that was stopped by Ctrl-Z while it started is not late when fg brings it back") {
  JobShell shell(
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"gate\", \"@DIR@/gate\", \"ready\", \"pause\"]\npty = "
      "true\n"
      "ready = { notify = true, timeout = \"2s\" }\n");
  REQUIRE(shell.shows("at the gate"));
  const auto begin = std::chrono::steady_clock::now();
  shell.type("\x1a");
  REQUIRE(shell.shows("[stopped]"));
  // The time itself is what is tested: more than the program has.
  while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(2100)) poll(nullptr, 0, 10);
  shell.type("fg\n");
  REQUIRE(shell.comes_to_lines(false));
  std::ofstream(shell.folder().file("gate"));
  CHECK(shell.shows("a: ready"));
  CHECK(count(shell.screen(), "not ready") == 0);
}

TEST_CASE(
    "a head that is killed leaves a terminal that the next one uses; without a keeper it is given back") {
  JobShell shell(at_pty("\"raw-tty\", \"pause\""));
  REQUIRE(shell.shows("keys"));
  for (int round = 0; round < 3; ++round) {
    REQUIRE(kill(shell.head_pid(), SIGKILL) == 0);
    CHECK(shell.shows("was replaced"));
    shell.type("x");
    CHECK(shell.shows("key 78"));
  }
  CHECK(shell.comes_to_lines(false));
  REQUIRE(kill(shell.keeper_pid(), SIGKILL) == 0);
  CHECK(shell.shows("its children were ended"));
  CHECK(shell.comes_to_lines(true));
}

TEST_CASE("in the background nothing is read and no mode is set; without stdin neither") {
  for (const JobShell::Start start : {JobShell::Start::background, JobShell::Start::without_stdin}) {
    JobShell shell(at_pty("\"tty\", \"pause\""), start);
    CHECK(shell.shows("tty: in out leads 100x30"));
    CHECK((shell.modes().c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG));
    shell.type("q\n");
    CHECK(shell.request("status").contains("ok"));
    CHECK(kill(shell.keeper_pid(), SIGTERM) == 0);
    CHECK(shell.wait_end() == 0);
  }
}

TEST_CASE("with its output in a pipe there are no keys: the terminal belongs to who shows the output") {
  JobShell shell(at_pty("\"tty\", \"pause\""), JobShell::Start::piped);
  CHECK(shell.shows("a: ready"));
  CHECK((shell.modes().c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG));
  shell.type("q\n");
  CHECK(shell.request("status").contains("ok"));
  shell.type("\x03");
  CHECK(shell.wait_end() == 0);
}

TEST_CASE("a terminal that is closed ends it although a program waits there") {
  JobShell shell(at_pty("\"raw-tty\", \"pause\""));
  REQUIRE(shell.shows("keys"));
  const auto children = children_of(shell.keeper_pid());
  REQUIRE(children.size() == 3);
  shell.hang_up();
  CHECK(wait_gone(shell.keeper_pid()));
  for (const pid_t child : children) CHECK(wait_gone(child));
}

TEST_CASE("of several programs the prompt is shown in its line, and the one that waits gets the keys") {
  JobShell shell(at_pty("\"prompt\", \"name? \", \"read-tty\", \"pause\"") +
                 "[service.b]\ncommand = [\"@BIN@/t_child\", \"print\", \"here\", \"pause\"]\npty = true\n"
                 "ready = { after = \"1ms\" }\n");
  REQUIRE(shell.shows("name? "));
  REQUIRE(waits(shell));
  shell.type("bob\r");
  CHECK(shell.shows("read: bob"));
  shell.type("q");
  CHECK(shell.wait_end() == 0);
}

TEST_CASE(
    "while a program waits for a person, it is not late, and saves are queued with one line; then one "
    "reload") {
  JobShell shell(
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"prompt\", \"? \", \"read-tty\", \"ready\", \"prompt\", "
      "\"more? \", \"read-tty\", \"pause\"]\npty = true\n"
      "ready = { notify = true, timeout = \"400ms\" }\nwatch = { paths = [\"@DIR@/src\"] }\n");
  REQUIRE(waits(shell));
  for (int n = 2; n < 5; ++n) shell.folder().write("src/one", std::to_string(n));
  CHECK(shell.shows("a waits at its terminal; 1 save queued"));
  shell.type("x\r");
  CHECK(shell.shows("read: x"));
  CHECK(shell.shows("? "));
  CHECK(count(shell.screen(), "not ready") == 0);
  CHECK(count(shell.screen(), "queued") == 1);
}

#include "os/linux/pty.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

// What can be read of a master up to its end (EIO) or up to `text`.
std::string read_master(int master, const std::string& text = {}) {
  std::string all;
  while (text.empty() || all.find(text) == std::string::npos) {
    if (!wait_readable(master)) break;
    char buffer[4096];
    const ssize_t n = read(master, buffer, sizeof buffer);
    if (n < 0 && errno == EAGAIN) continue;
    if (n <= 0) break;
    all.append(buffer, static_cast<std::size_t>(n));
  }
  return all;
}

SpawnPlan on_pty(const Pty& pty, std::vector<std::string> argv) {
  SpawnPlan plan = plan_for(std::move(argv));
  plan.stdio = {pty.slave.get(), pty.slave.get(), pty.slave.get()};
  plan.terminal = true;
  return plan;
}

}  // namespace

TEST_CASE("a pty has the modes and the size that it is given, and neither end is inherited") {
  TerminalShape shape;
  shape.size = winsize{33, 111, 0, 0};
  auto plain = open_pty({});
  REQUIRE(plain.ok());
  shape.modes = terminal_modes(plain->slave.get());
  REQUIRE(shape.modes);
  shape.modes->c_cc[VERASE] = 0x08;
  shape.modes->c_lflag &= ~static_cast<tcflag_t>(ECHO);
  auto pty = open_pty(shape);
  REQUIRE(pty.ok());
  CHECK(terminal_size(pty->slave.get())->ws_col == 111);
  CHECK(terminal_size(pty->master.get())->ws_row == 33);
  CHECK(terminal_modes(pty->master.get())->c_cc[VERASE] == 0x08);
  CHECK((terminal_modes(pty->master.get())->c_lflag & ECHO) == 0);
  CHECK((fcntl(pty->master.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((fcntl(pty->slave.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a slave's device is the one that a process has open") {
  auto pty = open_pty({});
  REQUIRE(pty.ok());
  struct stat st {};
  REQUIRE(fstat(pty->slave.get(), &st) == 0);
  CHECK(slave_device(pty->master.get()) == st.st_rdev);
  CHECK(foreground_group(pty->master.get()) == 0);
}

TEST_CASE("a child started on a pty leads its session, has it as controlling terminal, and can be typed to") {
  spawner();  // takes the low fds before anything else is open
  auto pty = open_pty({});
  REQUIRE(pty.ok());
  const SpawnOutcome outcome = spawner().spawn(
      on_pty(*pty, {"/bin/sh", "-c", "read line < /dev/tty; echo got $line; ps -o tpgid= -p $$"}));
  REQUIRE(outcome.pid > 0);
  Child child(outcome.pid);
  pty->slave.reset();
  CHECK(foreground_group(pty->master.get()) == child.pid());
  REQUIRE(write(pty->master.get(), "hello\n", 6) == 6);
  const std::string all = read_master(pty->master.get());
  CHECK(lacks(all, "got hello\r\n") == "");
  CHECK(lacks(all, std::to_string(child.pid())) == "");
  CHECK(child.wait() == 0);
}

TEST_CASE("what a child wrote before it died is not lost with it, and then the end is told") {
  spawner();  // takes the low fds before anything else is open
  auto pty = open_pty({});
  REQUIRE(pty.ok());
  const SpawnOutcome outcome =
      spawner().spawn(on_pty(*pty, {"/bin/sh", "-c", "printf '%2000s\\n' last; kill -9 $$"}));
  REQUIRE(outcome.pid > 0);
  Child child(outcome.pid);
  pty->slave.reset();
  CHECK(child.wait() == SIGKILL);
  CHECK(read_master(pty->master.get()).size() == 2002);
  CHECK(errno == EIO);
}

TEST_CASE("Ctrl-C typed into a cooked pty ends the foreground of its child only") {
  spawner();  // takes the low fds before anything else is open
  auto pty = open_pty({});
  REQUIRE(pty.ok());
  const SpawnOutcome outcome = spawner().spawn(on_pty(*pty, {"/bin/sh", "-c", "echo on; exec cat"}));
  REQUIRE(outcome.pid > 0);
  Child child(outcome.pid);
  REQUIRE(lacks(read_master(pty->master.get(), "on"), "on") == "");
  REQUIRE(write(pty->master.get(), "\x03", 1) == 1);
  CHECK(child.wait() == SIGINT);
}

// Real programs in every kind of waiting, each looked at until what is seen is what must be seen.
#include "os/linux/tty_wait.hpp"

#include <unistd.h>

#include <csignal>
#include <memory>

#include "os/linux/pty.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

// t_child on a pty, doing these actions.
struct OnPty {
  explicit OnPty(std::vector<std::string> argv) {
    spawner();
    auto opened = open_pty({});
    REQUIRE(opened.ok());
    pty = std::move(*opened);
    SpawnPlan plan = plan_for(std::move(argv));
    plan.stdio = {pty.slave.get(), pty.slave.get(), pty.slave.get()};
    plan.terminal = true;
    const SpawnOutcome outcome = spawner().spawn(plan);
    REQUIRE(outcome.pid > 0);
    child = std::make_unique<Child>(outcome.pid);
    pty.slave.reset();
  }
  static OnPty t_child(std::vector<std::string> actions) {
    actions.insert(actions.begin(), std::string(RUNMAIN_BIN_DIR) + "/t_child");
    return OnPty(std::move(actions));
  }
  TtyLook look() const { return look_at_tty(pty.master.get(), {child->pid()}); }
  // Whether it comes to this within the guard.
  template <class F>
  bool comes_to(F&& holds) const {
    const Time end = now() + std::chrono::seconds(10);
    while (now() < end) {
      if (holds(look())) return true;
    }
    return false;
  }
  bool comes_to(TtyWait wait) const {
    return comes_to([wait](const TtyLook& seen) { return seen.wait == wait; });
  }
  void type(const std::string& text) const {
    REQUIRE(write(pty.master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }

  Pty pty;
  std::unique_ptr<Child> child;
};

}  // namespace

TEST_CASE("a program that waits for a line of its terminal is seen, in whatever call it waits") {
  for (const char* action : {"read-tty", "thread-read-tty", "poll-tty", "select-tty", "epoll-tty"}) {
    CAPTURE(action);
    const OnPty program = OnPty::t_child({action, "pause"});
    REQUIRE(program.comes_to(TtyWait::only));
    CHECK(program.look().wants_keys());
    CHECK(program.look().stands());
    CHECK_FALSE(program.look().raw());
    program.type("x\n");
    CHECK(program.comes_to(TtyWait::none));
    CHECK_FALSE(program.look().wants_keys());
  }
}

TEST_CASE("a terminal without echo or without lines wants its keys, and says whether it takes signals") {
  const OnPty secret = OnPty::t_child({"secret-tty", "pause"});
  REQUIRE(secret.comes_to([](const TtyLook& seen) { return !seen.echo; }));
  CHECK(secret.look().wants_keys());
  CHECK(secret.look().signals);
  secret.type("word\n");
  CHECK(secret.comes_to([](const TtyLook& seen) { return seen.echo && !seen.wants_keys(); }));
  const OnPty raw = OnPty::t_child({"raw-tty", "pause"});
  REQUIRE(raw.comes_to([](const TtyLook& seen) { return !seen.lines; }));
  CHECK(raw.look().wants_keys());
  CHECK_FALSE(raw.look().signals);
}

TEST_CASE("who waits for something else, or in another group, does not want keys") {
  for (const char* script : {"sleep 60", "read x < /dev/zero & wait", "mkfifo $0; read x < $0"}) {
    CAPTURE(script);
    const TempFolder folder;
    const OnPty program({"/bin/sh", "-c", script, folder.path("fifo")});
    CHECK_FALSE(program.look().wants_keys());
    CHECK(program.look().wait != TtyWait::unknown);
  }
  const OnPty other({"/usr/bin/setsid", "-w", "cat"});  // waits for the tty, outside its foreground group
  CHECK_FALSE(other.look().wants_keys());
}

TEST_CASE("an event loop with the cooked terminal among its fds gets the keys, and does not stand still") {
  const char* python =
      "import selectors, socket, sys\n"
      "s = selectors.DefaultSelector()\n"
      "a, b = socket.socketpair()\n"
      "s.register(a, selectors.EVENT_READ)\n"
      "s.register(sys.stdin, selectors.EVENT_READ)\n"
      "s.select()\n";
  const OnPty program({"python3", "-c", python});
  REQUIRE(program.comes_to(TtyWait::also));
  CHECK(program.look().wants_keys());
  CHECK_FALSE(program.look().stands());
}

TEST_CASE("a grandchild in the foreground is seen, by /dev/tty too, and after it was stopped and continued") {
  const OnPty grandchild({"/bin/sh", "-c", "/bin/sh -c 'read line < /dev/tty'; sleep 60"});
  REQUIRE(grandchild.comes_to(TtyWait::only));
  const OnPty polls = OnPty::t_child({"poll-tty", "pause"});
  REQUIRE(polls.comes_to(TtyWait::only));
  REQUIRE(kill(polls.child->pid(), SIGSTOP) == 0);
  REQUIRE(kill(polls.child->pid(), SIGCONT) == 0);
  CHECK(polls.comes_to(TtyWait::only));
}

TEST_CASE("without the right to look, it is unknown, and the keys are not the program's") {
  if (!is_root()) return skip("needs root to become another user than the program's");
  const OnPty program = OnPty::t_child({"read-tty", "pause"});
  REQUIRE(program.comes_to(TtyWait::only));
  const std::string seen = in_child(true, [&] {
    const TtyLook look = program.look();
    return std::string(look.wait == TtyWait::unknown ? "unknown" : "known") +
           (look.wants_keys() ? " wants" : " rests");
  });
  CHECK(seen == "unknown rests");
}

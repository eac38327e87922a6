// The user's terminal in the keeper's hands: each test is a child on a terminal of its own.
#include "keeper/user_terminal.hpp"

#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "support/catch.hpp"

using namespace runmain;

namespace {

// Runs `body` as the leader of a session on a new terminal; what it returns is told.
bool on_terminal(const std::function<bool()>& body) {
  int master = -1;
  winsize size{};
  size.ws_col = 77;
  size.ws_row = 22;
  const pid_t pid = forkpty(&master, nullptr, nullptr, &size);
  if (pid == 0) {
    signal(SIGTTOU, SIG_IGN);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  const bool waited = waitpid(pid, &status, 0) == pid;
  close(master);
  return waited && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void make_raw() {
  termios modes = *os::terminal_modes(0);
  modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  os::set_terminal_modes(0, modes);
}

bool cooked() { return (os::terminal_modes(0)->c_lflag & (ICANON | ECHO)) == (ICANON | ECHO); }

}  // namespace

TEST_CASE("what a head did to the terminal is undone") {
  CHECK(on_terminal([] {
    const keeper::UserTerminal terminal;
    make_raw();
    if (cooked()) return false;
    terminal.restore();
    return cooked();
  }));
}

TEST_CASE("with the output in a pipe the terminal is a pager's, and is left as that has set it") {
  CHECK(on_terminal([] {
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], 1) != 1) return false;
    const keeper::UserTerminal terminal;
    make_raw();
    terminal.restore();
    return !cooked();
  }));
}

TEST_CASE("modes that a head has set are not remembered as what was found") {
  CHECK(on_terminal([] {
    keeper::UserTerminal terminal;
    make_raw();
    terminal.remember();
    terminal.restore();
    return cooked();
  }));
}

TEST_CASE("in the background the terminal is left alone") {
  CHECK(on_terminal([] {
    const keeper::UserTerminal terminal;
    const pid_t other = fork();
    if (other == 0) {
      setpgid(0, 0);
      pause();
      _exit(0);
    }
    setpgid(other, other);
    tcsetpgrp(0, other);
    make_raw();
    terminal.restore();
    const bool left = !cooked();
    kill(other, SIGKILL);
    return left;
  }));
}

TEST_CASE("a child's terminal is as large as ours, and has echo and lines") {
  CHECK(on_terminal([] {
    const keeper::UserTerminal terminal;
    const os::TerminalShape shape = terminal.shape();
    return shape.size && shape.size->ws_col == 77 && shape.modes && (shape.modes->c_lflag & ECHO) != 0;
  }));
}

// Whether a program waits for its terminal right now: the question behind "whose is this key?".
//
// Looks at the threads of the terminal's foreground group: the system call that a thread is blocked in
// (/proc/PID/task/TID/syscall) and the fds that it waits for there (the number, pollfd array, fd_set or epoll
// set), and whether one of them is this terminal. That takes the rights of a debugger, which an ancestor has
// (ptrace(2), Yama). Invariant: what is read of another process is only compared, in pieces of bounded size;
// no process is stopped. Bound: kTtyProcesses, kTtyThreads, kTtyFds. Non-goal: io_uring.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runmain::os {

inline constexpr std::size_t kTtyProcesses = 256;
inline constexpr std::size_t kTtyThreads = 1024;  // of all of them together
inline constexpr std::size_t kTtyFds = 256;       // of one call

enum class TtyWait : std::uint8_t {
  none,     // nobody waits for it
  unknown,  // nobody who may be looked at; there are others
  also,     // a thread waits for it among other things
  only,     // a thread waits for it and nothing else
};

struct TtyLook {
  bool lines = true;    // ICANON
  bool echo = true;     // ECHO
  bool signals = true;  // ISIG: its Ctrl-C is a signal
  TtyWait wait = TtyWait::none;

  bool raw() const { return !lines || !echo; }
  // A key that is pressed now is for the program.
  bool wants_keys() const { return raw() || wait == TtyWait::also || wait == TtyWait::only; }
  // It does nothing but wait for an answer, as far as can be seen: an event loop that also listens to a
  // cooked terminal does not count.
  bool stands() const { return wait == TtyWait::only || (raw() && wait == TtyWait::also); }
};

// `master` is the pty's, `roots` are the processes from which its users descend.
TtyLook look_at_tty(int master, const std::vector<pid_t>& roots);

}  // namespace runmain::os

// Pseudo-terminals, and small questions to terminals.
//
// A pty is a pair: what a program writes to the slave is read from the master, and the other way round, with
// the line discipline (termios(3)) between them. Invariant: both ends are close-on-exec, the master does not
// block, and neither becomes the controlling terminal of the process that opens them. Non-goal: login
// records.
#pragma once

#include <sys/ioctl.h>
#include <sys/types.h>
#include <termios.h>

#include <cstdint>
#include <optional>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

// What a new pty is set to; what is absent stays as the kernel has it (cooked, 0 by 0).
struct TerminalShape {
  std::optional<termios> modes;
  std::optional<winsize> size;
};

struct Pty {
  UniqueFd master;
  UniqueFd slave;
};

// On failure the errno: ENOSPC or EMFILE when there are too many, ENOENT without /dev/ptmx.
Result<Pty> open_pty(const TerminalShape& shape);

// Of a master these are the slave's. Empty if the fd is no terminal (any more).
std::optional<termios> terminal_modes(int fd);
std::optional<winsize> terminal_size(int fd);

// Does not wait for output, so a terminal that is stopped (Ctrl-S) holds nobody. The caller ignores or blocks
// SIGTTOU, or is in the foreground.
bool set_terminal_modes(int fd, const termios& modes);

// Our process group is the terminal's foreground group: reading from it does not stop us.
bool in_foreground(int fd);

// The number of the slave's device (st_rdev) and of its foreground group, asked of the master. 0: none.
std::uint64_t slave_device(int master);
pid_t foreground_group(int master);

}  // namespace runmain::os

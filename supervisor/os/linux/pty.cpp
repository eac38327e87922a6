#include "os/linux/pty.hpp"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

namespace runmain::os {
namespace {

constexpr unsigned kSlaveMajor = 136;  // Documentation/admin-guide/devices.txt: 136 to 143, 256 minors each
constexpr unsigned kSlavesAMajor = 256;

}  // namespace

Result<Pty> open_pty(const TerminalShape& shape) {
  Pty pty;
  pty.master.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!pty.master) return Error::from_errno("/dev/ptmx", errno);
  int locked = 0;
  if (ioctl(pty.master.get(), TIOCSPTLCK, &locked) != 0) return Error::from_errno("TIOCSPTLCK", errno);
  // By the master, not by name: /dev/pts may be another one here, or none.
  pty.slave.reset(ioctl(pty.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pty.slave) return Error::from_errno("TIOCGPTPEER", errno);
  if (shape.modes && !set_terminal_modes(pty.slave.get(), *shape.modes))
    return Error::from_errno("tcsetattr", errno);
  if (shape.size && ioctl(pty.master.get(), TIOCSWINSZ, &*shape.size) != 0)
    return Error::from_errno("TIOCSWINSZ", errno);
  return pty;
}

std::optional<termios> terminal_modes(int fd) {
  termios modes{};
  if (fd < 0 || tcgetattr(fd, &modes) != 0) return std::nullopt;
  return modes;
}

std::optional<winsize> terminal_size(int fd) {
  winsize size{};
  if (fd < 0 || ioctl(fd, TIOCGWINSZ, &size) != 0) return std::nullopt;
  return size;
}

bool set_terminal_modes(int fd, const termios& modes) { return tcsetattr(fd, TCSANOW, &modes) == 0; }

bool in_foreground(int fd) { return tcgetpgrp(fd) == getpgrp(); }

std::uint64_t slave_device(int master) {
  unsigned number = 0;
  if (ioctl(master, TIOCGPTN, &number) != 0) return 0;
  return makedev(kSlaveMajor + number / kSlavesAMajor, number % kSlavesAMajor);
}

pid_t foreground_group(int master) {
  pid_t group = 0;
  return ioctl(master, TIOCGPGRP, &group) == 0 && group > 0 ? group : 0;
}

}  // namespace runmain::os

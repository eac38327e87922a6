#include "drive/keyboard.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>

#include "os/linux/pty.hpp"

namespace runmain::drive {
namespace {

bool same(const std::optional<termios>& a, const std::optional<termios>& b) {
  return a && b && a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag &&
         std::equal(std::begin(a->c_cc), std::end(a->c_cc), std::begin(b->c_cc));
}

}  // namespace

Keyboard::Keyboard(os::Loop& loop, int fd, OnBytes on_bytes)
    : loop_(loop), fd_(fd), on_bytes_(std::move(on_bytes)) {
  if (fd < 0 || isatty(fd) == 0) {
    fd_ = -1;
    return;
  }
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  own_.reset(open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

bool Keyboard::enter(bool raw_output) {
  if (fd_ < 0 || !os::in_foreground(fd_)) return false;
  if (!found_) found_ = os::terminal_modes(fd_);
  if (!found_) return false;
  termios modes = *found_;
  modes.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR | IGNCR | ISTRIP | PARMRK);
  modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ECHONL | IEXTEN);
  modes.c_lflag |= ISIG | NOFLSH;
  if (raw_output) modes.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  modes.c_cc[VSUSP] = modes.c_cc[VQUIT] = _POSIX_VDISABLE;
  modes.c_cc[VMIN] = 1;
  modes.c_cc[VTIME] = 0;
  if (!os::set_terminal_modes(fd_, modes)) {
    found_.reset();
    return false;
  }
  set_ = os::terminal_modes(fd_);
  listen(true);
  return true;
}

void Keyboard::set_signals(bool on) {
  if (!set_ || !found_ || ((set_->c_lflag & ISIG) != 0) == on || !os::in_foreground(fd_)) return;
  set_->c_lflag ^= ISIG;
  os::set_terminal_modes(fd_, *set_);
}

void Keyboard::leave() {
  listen(false);
  if (found_ && (os::in_foreground(fd_) || same(os::terminal_modes(fd_), set_)))
    os::set_terminal_modes(fd_, *found_);
  found_.reset();
  set_.reset();
}

void Keyboard::listen(bool on) {
  if (!poll_ && on) {
    epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    if (!epoll_ || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, own_ ? own_.get() : fd_, &event) != 0) return;
    poll_ = loop_.poll(epoll_.get(), 0, [this](int) { on_readable(); });
  }
  if (poll_) poll_->want(on ? os::kReadable : 0);
}

// Somebody else may have become the foreground since: then the bytes are not ours, and reading them would
// stop us. The next enter() goes on.
void Keyboard::on_readable() {
  if (!os::in_foreground(fd_)) return listen(false);
  char bytes[4096];
  const ssize_t n = read(own_ ? own_.get() : fd_, bytes, sizeof bytes);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return listen(false);  // hung up: the keeper is told by SIGHUP
  on_bytes_({bytes, static_cast<std::size_t>(n)});
}

}  // namespace runmain::drive

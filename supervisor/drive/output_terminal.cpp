#include "drive/output_terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>

namespace runmain::drive {
namespace {

constexpr std::size_t kWriteMax = 64U << 10U;
constexpr std::size_t kCarefulMax = 256;  // a tty that poll(2) calls writable has room for so many bytes

bool wants_colour() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return (no_color == nullptr || *no_color == '\0') && (term == nullptr || std::string_view(term) != "dumb");
}

std::uint64_t count_lines(std::string_view lines) {
  return static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
}

}  // namespace

OutputTerminal::OutputTerminal(os::Loop& loop, int fd) : loop_(loop) {
  struct stat st {};
  if (fd < 0 || fstat(fd, &st) != 0) return;
  fd_ = fd;
  if (isatty(fd) != 0) {
    kind_ = Kind::tty;
    colour_ = wants_colour();
  } else if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
    kind_ = Kind::pipe;
  } else {
    kind_ = Kind::file;
    return;
  }
  if (S_ISSOCK(st.st_mode)) {
    way_ = Way::send;
  } else {
    open_own(fd);
  }
  watch();
}

OutputTerminal::~OutputTerminal() = default;

// A file description is shared with the shell and others: O_NONBLOCK on it would hit them too.
void OutputTerminal::open_own(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  own_.reset(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (own_) {
    fd_ = own_.get();
  } else {
    way_ = Way::careful;
  }
}

void OutputTerminal::watch() {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLOUT;
  if (!epoll_ || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd_, &event) != 0) {
    kind_ = Kind::file;  // always writable, such as /dev/null
    return;
  }
  poll_ = loop_.poll(epoll_.get(), 0, [this](int) { on_writable(); });
}

std::size_t OutputTerminal::room() const {
  return buffer_.size() < kTerminalBufferMax ? kTerminalBufferMax - buffer_.size() : 0;
}

void OutputTerminal::put(std::string_view bytes) {
  buffer_.append(bytes);
  accepted_ += bytes.size();
}

void OutputTerminal::drop(std::string_view lines) {
  const std::uint64_t n = count_lines(lines);
  dropped_ += n;
  dropped_ever_ += n;
}

void OutputTerminal::note_dropped() {
  const std::string note =
      "… " + std::to_string(dropped_) + (dropped_ == 1 ? " line" : " lines") + " not shown";
  if (note.size() + 4 > buffer_.room()) return;
  begin_line();
  noted_ += std::exchange(dropped_, 0);
  put(note);
  put(end_of_line());
}

// A line of another one is not gone on with.
void OutputTerminal::begin_line() {
  if (line_open_) put(end_of_line());
  line_open_ = false;
}

void OutputTerminal::print(std::string_view line) {
  if (!active()) return;
  if (dropped_ > 0) note_dropped();
  if (line.size() + 4 > buffer_.room()) {
    drop("\n");
    return;
  }
  begin_line();
  put(line);
  put(end_of_line());
  pump();
}

void OutputTerminal::clear() {
  constexpr std::string_view kWipe = "\x1b[H\x1b[2J\x1b[3J";  // ECMA-48 CUP, ED 2; ED 3 as xterm has it
  if (kind_ != Kind::tty || kWipe.size() > buffer_.room()) return;
  put(kWipe);
  line_open_ = false;
  pump();
}

// Once lines were dropped, all are until half of the buffer is out: what is shown stays together.
void OutputTerminal::show(std::string_view lines, bool goes_on) {
  if (!active() || lines.empty()) return;
  if (raw_) {
    converted_.clear();
    for (const char c : lines) {
      if (c == '\n') converted_.push_back('\r');
      converted_.push_back(c);
    }
    lines = converted_;
  }
  if (dropped_ > 0) {
    if (buffer_.size() > kTerminalBufferMax / 2) return drop(lines);
    note_dropped();
  }
  std::string_view fit = lines;
  if (fit.size() > room()) fit = fit.substr(0, fit.substr(0, room()).rfind('\n') + 1);
  if (!fit.empty() && !goes_on) begin_line();
  put(fit);
  if (!fit.empty()) line_open_ = false;
  if (fit.size() < lines.size()) drop(lines.substr(fit.size()));
  pump();
}

void OutputTerminal::show_open(std::string_view text, bool goes_on) {
  if (!tty() || dropped_ > 0 || text.empty() || text.size() + 4 > room()) return;
  if (!goes_on) begin_line();
  put(text);
  line_open_ = true;
  pump();
}

void OutputTerminal::pass(std::string_view bytes) {
  if (!active() || bytes.empty()) return;
  put(bytes);
  line_open_ = bytes.back() != '\n';
  pump();
}

long OutputTerminal::write_some() {
  std::size_t size = std::min(buffer_.size(), kWriteMax);
  if (way_ == Way::send) return send(fd_, buffer_.view().data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (way_ == Way::careful) {
    pollfd p{fd_, POLLOUT, 0};
    if (::poll(&p, 1, 0) == 0) {
      errno = EAGAIN;
      return -1;
    }
    size = std::min(size, kCarefulMax);
  }
  return write(fd_, buffer_.view().data(), size);
}

void OutputTerminal::pump() {
  while (buffer_.size() > 0) {
    const long n = write_some();
    if (n > 0) {
      buffer_.drop_front(static_cast<std::size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    give_up(n < 0 ? errno : EIO);
    return;
  }
  if (buffer_.size() == 0) noted_ = 0;
  if (buffer_.size() == 0 || waiting_ || !poll_) return;
  waiting_ = true;
  poll_->want(os::kReadable);
}

void OutputTerminal::give_up(int error) {
  drop(buffer_.view());
  dropped_ += std::exchange(noted_, 0);
  buffer_.clear();
  if (kind_ == Kind::file && (error == ENOSPC || error == EDQUOT || error == EFBIG)) return;
  kind_ = Kind::none;
  if (poll_) poll_->want(os::kReadable);  // a broken fd counts as writable: on_writable() tells who waits
}

// The only place that ends the waiting: whoever has emptied the buffer before, those who wait for room are
// told.
void OutputTerminal::on_writable() {
  if (active()) pump();
  if (dropped_ > 0 && active() && buffer_.size() == 0) {
    note_dropped();
    pump();
  }
  if (!active()) {
    poll_.reset();
  } else if (buffer_.size() == 0) {
    waiting_ = false;
    poll_->want(0);
  }
  if (on_room_) on_room_();
}

bool OutputTerminal::flush(Duration at_most) {
  const Time until = os::Loop::now() + at_most;
  for (;;) {
    if (active()) pump();
    if (dropped_ > 0 && active() && buffer_.size() == 0) {
      note_dropped();
      pump();
    }
    const Duration left = until - os::Loop::now();
    if (buffer_.size() == 0 || left.count() <= 0) break;
    pollfd p{fd_, POLLOUT, 0};
    ::poll(&p, 1, static_cast<int>(to_ms(left)) + 1);
  }
  return buffer_.size() == 0;
}

}  // namespace runmain::drive

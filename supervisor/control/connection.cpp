#include "control/connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace runmain::control {
namespace {

constexpr std::size_t kReadOnce = 16U << 10U;

}  // namespace

Connection::Connection(os::Loop& loop, os::UniqueFd fd, const Limits& limits, std::function<void()> woken)
    : fd_(std::move(fd)), limits_(limits), woken_(std::move(woken)) {
  line_since_ = idle_since_ = sent_at_ = os::Loop::now();
  poll_ = loop.poll(fd_.get(), 0, [this](int events) { on_ready(events); });
  show_interest();
}

void Connection::show_interest() {
  // A full inbox stops reading: what follows stays in the kernel until the request before it is answered.
  const bool reads = !half_closed_ && in_.size() <= kRequestMax;
  const int wanted = (reads ? os::kReadable : 0) | (pending() ? os::kWritable : 0);
  if (wanted == wanted_) return;
  wanted_ = wanted;
  poll_->want(wanted);
}

void Connection::on_ready(int events) {
  if (dead_) return;
  if ((events & os::kWritable) != 0) write_some();
  if ((events & os::kReadable) != 0 && !dead_) read_some();
  if (!dead_) show_interest();
  // The server may destroy this connection in the call, and the function with it.
  const auto woken = woken_;
  woken();
}

void Connection::read_some() {
  char buffer[kReadOnce];
  const std::size_t room = kRequestMax + 1 - std::min(in_.size(), kRequestMax + 1);
  if (room == 0) return;
  const ssize_t n = recv(fd_.get(), buffer, std::min(room, sizeof buffer), MSG_DONTWAIT);
  if (n > 0) {
    if (in_.empty()) line_since_ = os::Loop::now();
    in_.append(buffer, static_cast<std::size_t>(n));
    return;
  }
  if (n == 0) {
    half_closed_ = true;
    return;
  }
  if (errno != EAGAIN && errno != EINTR) dead_ = true;
}

void Connection::write_some() {
  if (!pending()) return;
  const ssize_t n = send(fd_.get(), out_.data() + sent_, out_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) {
    if (errno != EAGAIN && errno != EINTR) dead_ = true;
    return;
  }
  sent_at_ = os::Loop::now();
  sent_ += static_cast<std::size_t>(n);
  if (sent_ == out_.size()) {
    out_.clear();
    if (out_.capacity() > kPendingMax / 4) out_.shrink_to_fit();
    sent_ = 0;
    streaming_ = false;
    if (finishing_) dead_ = true;
  } else if (sent_ > kPendingMax / 4) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
}

std::optional<std::string> Connection::next_line() {
  if (dead_ || finishing_ || pending()) return std::nullopt;
  const std::size_t end = in_.find('\n', scanned_);
  if (end == std::string::npos) {
    scanned_ = in_.size();
    return std::nullopt;
  }
  std::string line = in_.substr(0, end);
  in_.erase(0, end + 1);
  scanned_ = 0;
  line_since_ = os::Loop::now();
  show_interest();
  return line;
}

void Connection::answer(std::string_view bytes) {
  if (dead_) return;
  if (!pending()) sent_at_ = os::Loop::now();
  out_.append(bytes);
  streaming_ = false;
  show_interest();
}

bool Connection::stream(std::string_view bytes) {
  if (dead_ || bytes.size() > room()) return false;
  if (!pending()) sent_at_ = os::Loop::now();
  out_.append(bytes);
  streaming_ = true;
  show_interest();
  return true;
}

// We still wait to be writable, which is at once: then `woken` is called.
void Connection::flush() {
  if (!dead_) write_some();
}

void Connection::finish() {
  finishing_ = true;
  if (!pending()) dead_ = true;
}

void Connection::note_answered() {
  asked_ = true;
  idle_since_ = os::Loop::now();
}

bool Connection::peer_gone() const {
  pollfd p{fd_.get(), 0, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

Time Connection::deadline(bool busy) const {
  if (pending() && !streaming_) return sent_at_ + limits_.stalled;
  if (busy) return kNever;
  if (!in_.empty()) return line_since_ + limits_.request;
  return asked_ ? idle_since_ + limits_.idle : line_since_ + limits_.request;
}

}  // namespace runmain::control

#include "control/line_connection.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>

namespace runmain::control {
namespace {

constexpr std::size_t kReadOnce = 64U << 10U;
constexpr int kBacklogPauseMs = 5;

Time now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

// Milliseconds for poll(2), rounded up; -1: no limit.
int poll_timeout(Time deadline) {
  if (deadline == kNever) return -1;
  const Duration left = deadline - now();
  if (left.count() <= 0) return 0;
  return static_cast<int>(std::min<long long>(to_ms(left) + 1, INT_MAX));
}

}  // namespace

Time deadline_after(Duration limit) { return now() + limit; }

Result<LineConnection> LineConnection::connect(const std::string& path, Time deadline, std::size_t line_max,
                                               LineFaults faults) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error::from_errno(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  os::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Error::from_errno("connect " + path, errno);
    // The backlog is full, and a unix socket offers nothing to wait for.
    if (now() >= deadline) return faults.slow;
    poll(nullptr, 0, kBacklogPauseMs);
  }
  return LineConnection(std::move(fd), line_max, std::move(faults));
}

Result<void> LineConnection::wait_for(short events, Time deadline) const {
  for (;;) {
    pollfd p{fd_.get(), events, 0};
    const int n = poll(&p, 1, poll_timeout(deadline));
    if (n > 0) return {};
    if (n == 0 && now() >= deadline) return faults_.slow;
    if (n < 0 && errno != EINTR) return Error::from_errno("poll", errno);
  }
}

Result<void> LineConnection::send(const std::string& line, Time deadline) {
  for (std::size_t sent = 0; sent < line.size();) {
    const ssize_t n = ::send(fd_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      if (auto writable = wait_for(POLLOUT, deadline); !writable) return writable;
    } else if (errno != EINTR) {
      return faults_.ended;
    }
  }
  return {};
}

Result<std::string> LineConnection::read(Time deadline) {
  for (;;) {
    if (const std::size_t end = in_.find('\n', scanned_); end != std::string::npos) {
      std::string line = in_.substr(taken_, end - taken_);
      taken_ = scanned_ = end + 1;
      return line;
    }
    in_.erase(0, taken_);
    taken_ = 0;
    scanned_ = in_.size();
    if (in_.size() > line_max_) return faults_.too_long;
    if (auto readable = wait_for(POLLIN, deadline); !readable) return readable.error();
    char buffer[kReadOnce];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      in_.append(buffer, static_cast<std::size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      return faults_.ended;
    }
  }
}

}  // namespace runmain::control

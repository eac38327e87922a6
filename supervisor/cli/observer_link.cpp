#include "cli/observer_link.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "control/client.hpp"

namespace runmain::cli {
namespace {

constexpr std::size_t kReadOnce = 64U << 10U;
constexpr int kBacklogPauseMs = 5;

Time now() { return control::deadline_after(Duration::zero()); }

Error too_slow() { return Error{"the observer does not answer", {}, {}, ETIMEDOUT}; }
Error hung_up() { return Error{"the observer ended the connection", {}, {}, ECONNRESET}; }

Result<void> wait_for(int fd, short events, Time deadline) {
  for (;;) {
    const long long left = deadline == kNever ? -1 : std::max<long long>(0, to_ms(deadline - now()) + 1);
    pollfd p{fd, events, 0};
    const int n = poll(&p, 1, static_cast<int>(std::min<long long>(left, INT_MAX)));
    if (n > 0) return {};
    if (n == 0 && now() >= deadline) return too_slow();
    if (n < 0 && errno != EINTR) return Error::from_errno("poll", errno);
  }
}

}  // namespace

Result<ObserverLink> ObserverLink::connect(const std::string& path, Time deadline) {
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
    if (now() >= deadline) return too_slow();
    poll(nullptr, 0, kBacklogPauseMs);
  }
  return ObserverLink(std::move(fd));
}

Result<void> ObserverLink::ask(const control::Json& question, Time deadline) {
  const std::string line = control::to_line(question) + "\n";
  for (std::size_t sent = 0; sent < line.size();) {
    const ssize_t n = send(fd_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      if (auto writable = wait_for(fd_.get(), POLLOUT, deadline); !writable) return writable;
    } else if (errno != EINTR) {
      return hung_up();
    }
  }
  return {};
}

Result<control::Json> ObserverLink::next(Time deadline) {
  for (;;) {
    if (const std::size_t end = in_.find('\n', scanned_); end != std::string::npos) {
      const std::string line = in_.substr(taken_, end - taken_);
      taken_ = scanned_ = end + 1;
      control::Json json = control::from_line(line);
      if (!json.is_object()) return Error{"the observer says something else than JSON", {}, {}, EPROTO};
      return json;
    }
    in_.erase(0, taken_);
    taken_ = 0;
    scanned_ = in_.size();
    if (in_.size() > kLineMax) return Error{"the observer's line is too long", {}, {}, EPROTO};
    if (auto readable = wait_for(fd_.get(), POLLIN, deadline); !readable) return readable.error();
    char buffer[kReadOnce];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      in_.append(buffer, static_cast<std::size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      return hung_up();
    }
  }
}

}  // namespace runmain::cli

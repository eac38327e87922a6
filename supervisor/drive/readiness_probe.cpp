#include "drive/readiness_probe.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "os/linux/reuseport.hpp"
#include "os/linux/sock_diag.hpp"

namespace runmain::drive {
namespace {

std::optional<ProbeTarget> ip_target(const std::string& host, std::uint16_t port) {
  ProbeTarget t;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&t.address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&t.address);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    t.size = sizeof *v4;
    t.host = host + ":" + std::to_string(port);
  } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    t.size = sizeof *v6;
    t.host = "[" + host + "]:" + std::to_string(port);
  } else {
    return std::nullopt;
  }
  return t;
}

// unix(7): a path ends with NUL, an abstract name begins with one and has no end but the size.
std::optional<ProbeTarget> unix_target(const std::string& name) {
  ProbeTarget t;
  auto* un = reinterpret_cast<sockaddr_un*>(&t.address);
  if (name.empty() || name.size() >= sizeof un->sun_path) return std::nullopt;
  const bool abstract = name.front() == '@';
  un->sun_family = AF_UNIX;
  std::memcpy(un->sun_path, name.data(), name.size());
  if (abstract) un->sun_path[0] = '\0';
  t.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1));
  t.host = "localhost";
  return t;
}

std::optional<std::uint16_t> port_number(const std::string& text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

}  // namespace

Result<std::vector<ProbeTarget>> probe_targets(const std::string& address) {
  const Error none{"\"" + address + "\" is no address to connect to", {}, "HOST:PORT or unix:PATH", EINVAL};
  std::vector<ProbeTarget> out;
  if (address.rfind("unix:", 0) == 0) {
    if (auto t = unix_target(address.substr(5))) out.push_back(*t);
  } else if (const std::size_t colon = address.rfind(':'); colon != std::string::npos) {
    std::string host = address.substr(0, colon);
    const auto port = port_number(address.substr(colon + 1));
    if (!port) return none;
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    if (!bracketed && host.find(':') != std::string::npos) return none;
    std::vector<std::string> hosts = {host};
    if (host.empty() || host == "localhost") hosts = {"127.0.0.1", "::1"};
    if (host == "::") hosts = {"::1", "127.0.0.1"};
    if (host == "0.0.0.0") hosts = {"127.0.0.1"};
    for (const std::string& h : hosts) {
      if (auto t = ip_target(h, *port)) out.push_back(*t);
    }
  }
  if (out.empty()) return none;
  return out;
}

Result<std::string> probe_request(const std::string& path, const std::string& host) {
  const bool clean = std::all_of(path.begin(), path.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > ' ' && byte != 0x7f;
  });
  if (path.empty() || path.front() != '/' || !clean || path.size() > kProbePathMax) {
    return Error{"the http path must begin with / and have no blanks or control characters", {}, {}, EINVAL};
  }
  return "GET " + path + " HTTP/1.1\r\nHost: " + host +
         "\r\nUser-Agent: runmain\r\nAccept: */*\r\nConnection: close\r\n\r\n";
}

std::optional<int> http_status(std::string_view bytes) {
  static constexpr std::string_view kShape = "HTTP/1.d ddd";
  for (;;) {
    for (std::size_t i = 0; i < std::min(bytes.size(), kShape.size()); ++i) {
      const bool digit = bytes[i] >= '0' && bytes[i] <= '9';
      if (kShape[i] == 'd' ? !digit : bytes[i] != kShape[i]) return 0;
    }
    if (bytes.size() <= kShape.size())
      return std::nullopt;  // the byte after it shows that the number has ended
    const char after = bytes[kShape.size()];
    if (after != ' ' && after != '\r' && after != '\n') return 0;
    const int status = (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + (bytes[11] - '0');
    if (status < 100) return 0;
    if (status >= 200) return status;
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos) return std::nullopt;
    bytes.remove_prefix(end + 4);
  }
}

Probe::Probe(os::Loop& loop, const ProbeTarget& target, std::string request,
             std::function<bool(std::uint64_t)> owns, std::function<void()> wake, Time now, Duration at_most)
    : target_(target),
      request_(std::move(request)),
      owns_(std::move(owns)),
      deadline_(now + at_most),
      next_(now),
      fd_(socket(target_.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  // Of sockets that each belong to a slot, the child's may get no clients yet.
  const int tos = os::kLookTos;
  if (fd_ && target_.address.ss_family == AF_INET)
    setsockopt(fd_.get(), IPPROTO_IP, IP_TOS, &tos, sizeof tos);
  if (fd_ && target_.address.ss_family == AF_INET6)
    setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos);
  if (fd_) poll_ = loop.poll(fd_.get(), 0, [wake = std::move(wake)](int) { wake(); });
}

std::optional<Probe::Outcome> Probe::step(Time now) {
  if (!fd_) return Outcome::failed;
  next_ = deadline_;
  if (state_ == State::connecting) {
    if (auto outcome = connecting()) return outcome;
  }
  if (state_ == State::unaccepted) {
    if (auto outcome = unaccepted(now)) return outcome;
  }
  if (state_ == State::answering) {
    if (auto outcome = answering()) return outcome;
  }
  // At last, because what is there counts, even if we come late to see it.
  if (now >= deadline_) return Outcome::failed;
  return std::nullopt;
}

// connect(2) again tells how the first one went.
std::optional<Probe::Outcome> Probe::connecting() {
  int result = 0;
  do {
    result = connect(fd_.get(), reinterpret_cast<const sockaddr*>(&target_.address), target_.size);
  } while (result != 0 && errno == EINTR);
  if (result == 0 || errno == EISCONN) {
    state_ = State::unaccepted;
    poll_->want(os::kReadable);
    return std::nullopt;
  }
  if (errno != EINPROGRESS && errno != EALREADY) return Outcome::failed;  // EAGAIN: a unix backlog is full
  poll_->want(os::kWritable);
  return std::nullopt;
}

std::optional<Probe::Outcome> Probe::unaccepted(Time now) {
  const auto inode = os::peer_inode(fd_.get());
  if (!inode) return Outcome::failed;
  if (*inode == 0) {
    // Bytes or an end from a socket that belongs to nobody: it was accepted and closed before we could look.
    if (readable()) return Outcome::failed;
    next_ = std::min(deadline_, now + pause_);
    pause_ = std::min<Duration>(pause_ * 2, kAcceptCheckSlowest);
    return std::nullopt;
  }
  if (!owns_(*inode)) return Outcome::foreign;
  if (request_.empty()) return Outcome::counted;
  const ssize_t sent = send(fd_.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request_.size()))
    return Outcome::failed;  // a fresh socket has room for it
  state_ = State::answering;
  poll_->want(os::kReadable);
  return std::nullopt;
}

std::optional<Probe::Outcome> Probe::answering() {
  for (;;) {
    char bytes[1024];
    const std::size_t room = std::min(sizeof bytes, kProbeBytes - answer_.size());
    const ssize_t n = recv(fd_.get(), bytes, room, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::nullopt;
    if (n <= 0) return Outcome::failed;
    answer_.append(bytes, static_cast<std::size_t>(n));
    if (const auto status = http_status(answer_)) {
      status_ = *status;
      return *status >= 200 && *status < 400 ? Outcome::counted : Outcome::failed;
    }
    if (answer_.size() >= kProbeBytes) return Outcome::failed;
  }
}

bool Probe::readable() const {
  pollfd p{fd_.get(), POLLIN, 0};
  return poll(&p, 1, 0) > 0;
}

}  // namespace runmain::drive

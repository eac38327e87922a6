#include "app/doctor_requests.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "os/linux/fd.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/sock_diag.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

constexpr Duration kHeldBack = std::chrono::seconds(2);  // the last line, until the acceptor is known
constexpr Duration kHeldBackAmongOthers = std::chrono::milliseconds(100);
constexpr int kLookMs = 2;
constexpr int kPauseMs = 50;
constexpr int kLooksMax = 20;  // at who has the socket, each kLookMs
constexpr std::string_view kHttp = "HTTP/1.";
constexpr Duration kAnswerMax = std::chrono::seconds(10);
constexpr std::size_t kRequestsMin = 4;
constexpr std::size_t kRequestsMax = 24;
constexpr std::size_t kTogetherMax = 4;  // connections that are open at once

doctor::Nanoseconds nanoseconds(Time time) { return time.time_since_epoch().count(); }

int milliseconds_until(Time deadline) {
  return static_cast<int>(std::clamp<long long>(to_ms(deadline - os::Loop::now()) + 1, 0, 60'000));
}

bool wait(int fd, short events, int timeout_ms) {
  pollfd one{fd, events, 0};
  return poll(&one, 1, timeout_ms) > 0;
}

// Connected by then, or not valid. `failure` is the errno, 0 for too late.
os::UniqueFd connect_to(const sockaddr* address, socklen_t size, Time deadline, int& failure) {
  failure = 0;
  os::UniqueFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    failure = errno;
    return {};
  }
  if (connect(fd.get(), address, size) == 0) return fd;
  if (errno != EINPROGRESS) {
    failure = errno;
    return {};
  }
  if (!wait(fd.get(), POLLOUT, milliseconds_until(deadline))) return {};
  socklen_t length = sizeof failure;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &failure, &length);
  return failure == 0 ? std::move(fd) : os::UniqueFd();
}

os::UniqueFd connect_to_loopback(std::uint16_t port, Time deadline) {
  int failure = 0;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (auto fd = connect_to(reinterpret_cast<sockaddr*>(&v4), sizeof v4, deadline, failure)) return fd;
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = in6addr_loopback;
  return connect_to(reinterpret_cast<sockaddr*>(&v6), sizeof v6, deadline, failure);
}

// The status of an answer's first line; 0: it is none of HTTP.
int status_of(std::string_view answer) {
  if (!answer.starts_with("HTTP/1.") || answer.size() < 12) return 0;
  return static_cast<int>(os::parse_number(answer.substr(9, 3)).value_or(0));
}

bool send_text(int fd, std::string_view text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

struct Conversation {
  os::UniqueFd fd;
  doctor::Request request;

  void begin(std::uint16_t port, const std::string& path) {
    if (!fd) return;
    const std::string head = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                             "\r\nUser-Agent: runmain-doctor\r\nAccept: */*\r\n";
    if (!send_text(fd.get(), head)) fd.reset();
  }

  // The latest owner counts: a primary of Node's cluster accepts, and hands the socket to who answers.
  void look(const std::vector<pid_t>& pids) {
    const auto inode = os::peer_inode(fd.get());
    const pid_t owner = inode ? DoctorProcesses::owner_of_inode(pids, *inode) : 0;
    if (owner != 0 && owner != request.pid) request.pid = owner;
  }

  void find_acceptor(const std::vector<pid_t>& pids, Duration limit) {
    const Time until = os::Loop::now() + limit;
    while (fd && request.pid == 0 && os::Loop::now() < until) {
      look(pids);
      if (request.pid == 0 && wait(fd.get(), POLLIN, kLookMs))
        return;  // it has hung up, or answers half a request
    }
  }

  // Where several have the socket for a moment, the one that keeps it has it a moment later.
  void look_after(const std::vector<pid_t>& pids) {
    std::vector<pid_t> others;
    for (const pid_t pid : pids) {
      if (pid != request.pid) others.push_back(pid);
    }
    const pid_t before = request.pid;
    look(others);
    if (request.pid == 0) request.pid = before;
  }

  doctor::Request complete(const std::vector<pid_t>& pids, Time deadline,
                           const std::function<bool()>& go_on) {
    request.begin = request.end = nanoseconds(os::Loop::now());
    if (!fd) return request;
    find_acceptor(pids, kHeldBack);
    look_after(pids);
    if (!send_text(fd.get(), "\r\n")) return request;
    std::string answer;
    for (int looks = 0; os::Loop::now() < deadline && go_on(); ++looks) {
      if (looks < kLooksMax || request.pid == 0) look_after(pids);
      const int pause = looks < kLooksMax ? kLookMs : std::min(kPauseMs, milliseconds_until(deadline));
      if (!wait(fd.get(), POLLIN, pause)) continue;
      char buffer[4096];
      const ssize_t n = recv(fd.get(), buffer, sizeof buffer, 0);
      if (n <= 0) break;
      answer.append(buffer, static_cast<std::size_t>(n));
      if (answer.find("\r\n\r\n") != std::string::npos) break;
      if (answer.size() >= kHttp.size() && !answer.starts_with(kHttp)) break;  // it speaks something else
    }
    request.status = status_of(answer);
    request.end = nanoseconds(os::Loop::now());
    fd.reset();  // a worker that keeps it alive would take no other
    return request;
  }
};

}  // namespace

std::vector<doctor::Request> ask(std::uint16_t port, const std::string& path, const std::vector<pid_t>& pids,
                                 std::size_t count, Duration limit, const std::function<bool()>& go_on) {
  std::vector<Conversation> all;
  const Time deadline = os::Loop::now() + limit;
  for (std::size_t i = 0; i < count; ++i) {
    Conversation one;
    one.fd = connect_to_loopback(port, deadline);
    if (i > 0 && !one.fd) break;
    one.begin(port, path);
    // A server with one worker takes the second one later.
    one.find_acceptor(pids, count == 1 ? kHeldBack : kHeldBackAmongOthers);
    all.push_back(std::move(one));
  }
  std::vector<doctor::Request> requests;
  for (Conversation& one : all) requests.push_back(one.complete(pids, deadline, go_on));
  return requests;
}

void drive_requests(DoctorProcesses& processes, std::uint16_t port, const std::string& path,
                    std::vector<doctor::Request>& requests, const std::function<bool()>& go_on) {
  while (requests.size() < kRequestsMax && go_on()) {
    processes.look();
    const auto& living = processes.living();
    const auto count = [&](auto is) {
      return static_cast<std::size_t>(
          std::count_if(processes.seen().begin(), processes.seen().end(), [&](const auto& p) {
            return std::find(living.begin(), living.end(), p.pid) != living.end() && is(p);
          }));
    };
    const std::size_t listening = count([](const doctor::Process& p) { return p.listens; });
    const std::size_t served = count([](const doctor::Process& p) { return p.requests > 0; });
    // A parent that only holds the socket never answers.
    const bool all_met = listening <= 1 || served >= listening;
    if (requests.size() >= (all_met ? kRequestsMin : kRequestsMin * listening)) break;
    const std::size_t together = std::clamp<std::size_t>(listening, 1, kTogetherMax);
    for (const doctor::Request& request : ask(port, path, processes.living(), together, kAnswerMax, go_on)) {
      requests.push_back(request);
      if (request.pid != 0) processes.count_request(request.pid);
    }
    if (requests.back().status == 0) (void)poll(nullptr, 0, kPauseMs);
  }
  processes.look();
}

bool parse_url(std::string_view text, UrlParts& parts) {
  const std::size_t scheme = text.find("://");
  if (scheme == std::string_view::npos) {
    parts.scheme = "http";
  } else {
    parts.scheme = std::string(text.substr(0, scheme));
    text.remove_prefix(scheme + 3);
  }
  const std::size_t slash = std::min(text.find('/'), text.size());
  parts.path = slash == text.size() ? "/" : std::string(text.substr(slash));
  std::string_view host = text.substr(0, slash);
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    const auto port = os::parse_number(host.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) return false;
    parts.port = static_cast<std::uint16_t>(*port);
    host = host.substr(0, colon);
  }
  if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
  parts.host = std::string(host);
  return !parts.host.empty();
}

doctor::Reach reach_of(const std::string& endpoint, Duration limit) {
  using doctor::Reach;
  UrlParts url;
  if (!parse_url(endpoint, url)) return Reach::refused;
  const std::uint16_t port = url.port != 0 ? url.port : url.scheme == "https" ? 443 : 80;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(url.host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return Reach::refused;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, freeaddrinfo);
  const Time deadline = os::Loop::now() + limit;
  Reach reach = Reach::refused;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    int failure = 0;
    const os::UniqueFd fd = connect_to(one->ai_addr, one->ai_addrlen, deadline, failure);
    if (!fd) {
      if (failure == 0) reach = Reach::silent;
      continue;
    }
    // HTTP/1.1 and HTTP/2 (its preface, and SETTINGS without any) both get bytes back from who is alive; what
    // only speaks TLS answers a plain request with an alert.
    const std::string request =
        url.port == 4317 || url.path == "/"
            ? std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string("\0\0\0\4\0\0\0\0\0", 9)
            : "POST " + url.path + " HTTP/1.1\r\nHost: " + url.host +
                  "\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: "
                  "close\r\n\r\n";
    if (!send_text(fd.get(), request)) return Reach::refused;
    return wait(fd.get(), POLLIN, milliseconds_until(deadline)) ? Reach::answers : Reach::silent;
  }
  return reach;
}

}  // namespace runmain::app

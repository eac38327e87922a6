#include "server.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>

#include "child_runtime/context_carrier.hpp"
#include "pages.hpp"

namespace hello {
namespace {

using namespace std::chrono_literals;

constexpr auto kRequestTime = 30s;  // from a connection, or the first byte, to the whole request
constexpr auto kIdleTime = 60s;     // between two requests
constexpr auto kWriteTime = 30s;
constexpr auto kCloseTime = 1s;  // for the client to see our end and close its side
constexpr auto kDrainCloseTime = 200ms;
// For the first request of a connection that was accepted before the drain.
constexpr auto kDrainFreshTime = 1s;
constexpr auto kDrainIdleTime = 100ms;  // for a request that crosses our drain on its way
constexpr auto kPauseTime = 50ms;       // without accepting, when there is no room
constexpr std::size_t kConnectionsMax = 10'000;
constexpr std::size_t kInputMax = 65536;  // bytes of requests that wait behind one that is being answered
constexpr int kAcceptsPerTurn = 16;       // leave some to the other workers
constexpr int kAcceptsAtDrain = 8192;
constexpr int kDiscardsPerTurn = 64;

// What epoll tells with an event. A listener is its fd plus kListenerKey.
constexpr std::uint64_t kSignalKey = 1;
constexpr std::uint64_t kChannelKey = 2;
constexpr std::uint64_t kListenerKey = 16;
constexpr std::uint64_t kFirstConnection = std::uint64_t{1} << 32U;

void check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
}

void add_to(int epoll, int fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

// A span that is not current: other requests run before this one's answer is through.
runmain::Span start_span_of(const Request& request) {
  runmain::SpanOptions options;
  options.kind = runmain::SpanKind::server;
  options.parent = runmain::extract_context(request.trace);
  runmain::Span span =
      runmain::start_span(std::string(request.method) + " " + std::string(request.path), options);
  span.set_attribute("http.request.method", request.method);
  span.set_attribute("url.path", request.path);
  return span;
}

}  // namespace

Server::Server() : last_id_(kFirstConnection) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  check(sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask");
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  check(epoll_, "epoll_create1");
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  check(signals_, "signalfd");
  add_to(epoll_, signals_, EPOLLIN, kSignalKey);
}

Server::~Server() {
  for (const auto& [id, c] : connections_) close(c.fd);
  for (const int fd : listeners_) close(fd);
  close(signals_);
  close(epoll_);
}

void Server::add_listener(int fd) {
  // All workers share the open socket and with it this flag; each of them wants it.
  check(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), "fcntl");
  // Exclusive: one connection wakes one worker.
  add_to(epoll_, fd, EPOLLIN | EPOLLEXCLUSIVE, kListenerKey + static_cast<std::uint64_t>(fd));
  listeners_.push_back(fd);
}

void Server::every(std::chrono::milliseconds interval, std::function<void()> action) {
  interval_ = interval;
  action_ = std::move(action);
}

void Server::run() {
  if (const int channel = runmain::channel_fd(); channel >= 0) add_to(epoll_, channel, EPOLLIN, kChannelKey);
  runmain::on_drain([this](std::chrono::milliseconds) { begin_drain(); });
  beat();
  runmain::ready();
  epoll_event events[64];
  while (!draining_ || !connections_.empty()) {
    const int n = epoll_wait(epoll_, events, 64, wait_ms());
    for (int i = 0; i < n; ++i) {
      const std::uint64_t key = events[i].data.u64;
      if (key == kSignalKey) {
        on_signal();
      } else if (key == kChannelKey) {
        runmain::dispatch();
      } else if (key >= kFirstConnection) {
        on_event(key, events[i].events);
      } else if (!draining_) {
        accept_from(static_cast<int>(key - kListenerKey), kAcceptsPerTurn);
      }
    }
    beat();
    expire();
  }
  runmain::drained();
}

void Server::on_signal() {
  signalfd_siginfo info{};
  while (read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    runmain::drain_requested_by_signal();
  }
}

// ---- accepting

void Server::accept_from(int listener, int limit) {
  for (int i = 0; i < limit; ++i) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      add_connection(fd);
      continue;
    }
    if (errno == ECONNABORTED || errno == EINTR) continue;
    // No room for another fd: the connection waits in the backlog, or another worker takes it.
    if (errno != EAGAIN && !draining_ && !resume_at_) poll_listeners(false);
    return;
  }
}

void Server::add_connection(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
             sizeof on);  // fails on a unix socket, which has no need of it
  const std::uint64_t id = ++last_id_;
  Connection& c = connections_[id];
  c.fd = fd;
  c.id = id;
  expect_request(c);
  read_some(c);  // the request is often there already
  settle(c);
  if (connections_.size() >= kConnectionsMax && !draining_ && !resume_at_) poll_listeners(false);
}

void Server::poll_listeners(bool on) {
  for (const int fd : listeners_) {
    if (on) {
      add_to(epoll_, fd, EPOLLIN | EPOLLEXCLUSIVE, kListenerKey + static_cast<std::uint64_t>(fd));
    } else {
      epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    }
  }
  resume_at_.reset();
  if (!on) resume_at_ = Clock::now() + kPauseTime;
}

// ---- the drain

void Server::begin_drain() {
  draining_ = true;
  runmain::stopping();
  std::vector<std::uint64_t> before;
  for (const auto& [id, c] : connections_) before.push_back(id);
  // First out of the epoll set, then accept once more: a connection whose wake-up came to us wakes nobody
  // else.
  poll_listeners(false);
  resume_at_.reset();
  for (const int fd : listeners_) {
    accept_from(fd, kAcceptsAtDrain);
    close(fd);
  }
  listeners_.clear();
  for (const std::uint64_t id : before) {
    Connection& c = connections_.at(id);
    if (c.state == State::reading) read_some(c);
    if (c.state == State::reading) expect_request(c);
    settle(c);
  }
}

// ---- one connection

void Server::set_deadline(Connection& c, Clock::duration from_now) {
  deadlines_.erase({c.deadline, c.id});
  c.deadline = Clock::now() + from_now;
  deadlines_.insert({c.deadline, c.id});
}

void Server::expect_request(Connection& c) {
  c.state = State::reading;
  const bool idle = !c.fresh && c.in.empty();
  if (!draining_) {
    set_deadline(c, idle ? Clock::duration(kIdleTime) : Clock::duration(kRequestTime));
    return;
  }
  set_deadline(c, idle ? Clock::duration(kDrainIdleTime) : Clock::duration(kDrainFreshTime));
  // Whoever is connected may still ask: "drained" is said when all have gone, and then little time is left.
  if (!c.in_flight) c.in_flight.emplace();
}

void Server::on_event(std::uint64_t id, std::uint32_t events) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;  // removed earlier in this turn
  Connection& c = found->second;
  switch (c.state) {
    case State::reading: read_some(c); break;
    case State::writing:
      write_some(c);
      take_requests(c);
      break;
    case State::closing: discard(c); break;
    default:
      if ((events & (EPOLLERR | EPOLLHUP)) != 0) c.state = State::dead;
  }
  settle(c);
}

void Server::read_some(Connection& c) {
  char buffer[16384];
  while (c.in.size() < kInputMax && !c.peer_done) {
    const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      c.state = State::dead;
      return;
    }
    c.peer_done = n == 0;
    c.in.append(buffer, static_cast<std::size_t>(n));
  }
  take_requests(c);
}

// Answers the requests that are whole, one after the other, as long as answers can be written at once.
void Server::take_requests(Connection& c) {
  while (c.state == State::reading) {
    const ParseResult parsed = parse_request(c.in);
    if (parsed.state == Parse::incomplete) {
      if (c.peer_done) c.state = State::dead;
      if (!c.in.empty() && !c.in_flight) {
        c.in_flight.emplace();
        expect_request(c);
      }
      return;
    }
    if (!c.in_flight) c.in_flight.emplace();
    if (parsed.state == Parse::complete) {
      take(c, parsed.request);
      c.in.erase(0, parsed.consumed);
    } else {
      c.keep = c.head_only = false;
      c.answer = parsed.state == Parse::bad ? Answer{400, "That was no HTTP request.\n"}
                                            : Answer{431, "The request's head is too large.\n"};
    }
    if (c.state == State::reading) send_answer(c);
  }
}

void Server::take(Connection& c, const Request& request) {
  c.keep = request.keep_alive;
  c.head_only = request.method == "HEAD";
  c.span.emplace(start_span_of(request));
  Page page;
  {
    const runmain::Activation current(c.span->context());  // what the page does is below it
    page = page_for(request);
  }
  c.span->set_attribute("http.response.status_code", page.answer.status);
  c.answer = std::move(page.answer);
  if (page.delay <= 0ms) return;
  c.state = State::waiting;
  set_deadline(c, page.delay);
}

void Server::send_answer(Connection& c) {
  c.keep = c.keep && !draining_ && !c.peer_done;
  c.out = render(c.answer, c.keep, c.head_only);
  c.sent = 0;
  c.state = State::writing;
  set_deadline(c, kWriteTime);
  write_some(c);
}

void Server::write_some(Connection& c) {
  while (c.sent < c.out.size()) {
    const ssize_t n = send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) {
      c.state = State::dead;
      return;
    }
    c.sent += static_cast<std::size_t>(n);
  }
  answered(c);
}

void Server::answered(Connection& c) {
  c.in_flight.reset();
  c.span.reset();  // ended
  c.fresh = false;
  if (c.keep) {
    expect_request(c);
    return;
  }
  // A close with unread bytes would be a reset, which can destroy the answer on its way.
  shutdown(c.fd, SHUT_WR);
  c.state = State::closing;
  set_deadline(c, draining_ ? Clock::duration(kDrainCloseTime) : Clock::duration(kCloseTime));
  discard(c);
}

void Server::discard(Connection& c) {
  char buffer[16384];
  for (int i = 0; i < kDiscardsPerTurn; ++i) {
    const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n == 0 || errno != EAGAIN) c.state = State::dead;
    return;
  }
}

void Server::settle(Connection& c) {
  if (c.state == State::dead) {
    deadlines_.erase({c.deadline, c.id});
    close(c.fd);
    connections_.erase(c.id);
    return;
  }
  const std::uint32_t wanted = c.state == State::waiting   ? 0U
                               : c.state == State::writing ? std::uint32_t{EPOLLOUT}
                                                           : std::uint32_t{EPOLLIN};
  if (wanted == c.watched) return;
  epoll_event event{};
  event.events = wanted;
  event.data.u64 = c.id;
  epoll_ctl(epoll_, c.watched == kUnwatched ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c.fd, &event);
  c.watched = wanted;
}

// ---- time

void Server::on_deadline(Connection& c) {
  if (c.state == State::waiting) {
    send_answer(c);
    take_requests(c);
    return;
  }
  const auto passed = c.deadline;
  if (c.state == State::reading) read_some(c);  // a last look: what has come is answered
  if (c.deadline == passed) c.state = State::dead;
}

void Server::beat() {
  const auto now = Clock::now();
  if (interval_ <= 0ms || now < beat_at_) return;
  beat_at_ = now + interval_;
  action_();
}

void Server::expire() {
  const auto now = Clock::now();
  if (resume_at_ && *resume_at_ <= now) poll_listeners(true);
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Connection& c = connections_.at(deadlines_.begin()->second);
    on_deadline(c);
    settle(c);
  }
}

int Server::wait_ms() const {
  auto next = Clock::time_point::max();
  if (!deadlines_.empty()) next = deadlines_.begin()->first;
  if (resume_at_) next = std::min(next, *resume_at_);
  if (interval_ > 0ms) next = std::min(next, beat_at_);
  if (next == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
  return static_cast<int>(std::clamp<long long>(left.count(), 0, 60'000));
}

}  // namespace hello

#include "support/span_sink.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace runmain::test {

namespace {
constexpr std::uint64_t kNumbersMax = 1ULL << 32U;  // what a stream can count to
}

struct SpanSink::Connection {
  int fd = -1;
  std::string in;
};

SpanSink::SpanSink(bool keep) : keep_(keep) {
  open_listener();
  if (pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
  thread_ = std::thread([this] { serve(); });
}

SpanSink::~SpanSink() {
  stop_ = true;
  (void)!write(wake_[1], "x", 1);
  thread_.join();
  for (const int fd : {listener_, wake_[0], wake_[1]}) {
    if (fd >= 0) close(fd);
  }
}

void SpanSink::open_listener() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port_);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      listen(listener_, SOMAXCONN) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::abort();
  port_ = ntohs(address.sin_port);
}

void SpanSink::set_mode(Mode mode) {
  mode_ = mode;
  (void)!write(wake_[1], "x", 1);
}

void SpanSink::serve() {
  std::vector<Connection> connections;
  while (!stop_) {
    const bool refused = mode_ == Mode::refused;
    if (refused && listener_ >= 0) {
      close(listener_);
      listener_ = -1;
      for (const Connection& c : connections) close(c.fd);
      connections.clear();
    }
    if (!refused && listener_ < 0) open_listener();
    std::vector<pollfd> fds{{wake_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Connection& c : connections) fds.push_back({c.fd, POLLIN, 0});
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    char drop[64];
    if (fds[0].revents != 0) (void)!read(wake_[0], drop, sizeof drop);
    for (std::size_t i = connections.size(); i-- > 0;) {
      if (fds[i + 2].revents == 0 || read_some(connections[i])) continue;
      close(connections[i].fd);
      connections.erase(connections.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (fds[1].revents == 0) continue;
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) connections.push_back({fd, {}});
  }
  for (const Connection& c : connections) close(c.fd);
}

bool SpanSink::read_some(Connection& c) {
  static thread_local char buffer[1U << 18U];
  const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  c.in.append(buffer, static_cast<std::size_t>(n));
  const std::size_t head = c.in.find("\r\n\r\n");
  if (head == std::string::npos) return true;
  const std::size_t field = c.in.find("Content-Length: ");
  if (field == std::string::npos || field > head) return false;
  const std::size_t length = std::stoul(c.in.substr(field + 16));
  if (c.in.size() < head + 4 + length) return true;
  ++requests_;
  const Mode mode = mode_;
  const bool traces = c.in.compare(0, 16, "POST /v1/traces ") == 0;
  if (mode == Mode::ok && traces) take(c.in.substr(head + 4, length));
  c.in.erase(0, head + 4 + length);
  return mode == Mode::silent || answer(c.fd);
}

bool SpanSink::answer(int fd) const {
  const std::string text =
      mode_ == Mode::too_many
          ? "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
          : "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
  return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// ExportTraceServiceRequest { ResourceSpans { Resource 1, ScopeSpans 2 { Span 2 } } 1 }
void SpanSink::take(const std::string& body) {
  const std::lock_guard lock(mutex_);
  otlp::Fields request(body);
  otlp::Field resource_spans;
  while (request.next(resource_spans)) {
    std::string instance;
    otlp::Fields parts(resource_spans.bytes);
    otlp::Field part;
    while (parts.next(part)) {
      if (part.number == 1) instance = otlp::read_attributes(part.bytes, 1).get("service.instance.id");
      if (part.number != 2) continue;
      otlp::Fields scope(part.bytes);
      otlp::Field one;
      while (scope.next(one)) {
        if (one.number == 2) take_span(instance, one.bytes);
      }
      if (scope.bad()) ++bad_;
    }
    if (parts.bad()) ++bad_;
  }
  if (request.bad()) ++bad_;
}

namespace {

// The whole number that attribute `key` (of one letter) has, without looking at the rest: a hundred thousand
// spans a second come here.
struct Numbers {
  std::int64_t thread = 0;
  std::uint64_t n = 0;
  bool bad = false;
};

Numbers numbers_of(std::string_view span) {
  Numbers out;
  otlp::Fields fields(span);
  otlp::Field f;
  while (fields.next(f)) {
    if (f.number != 9) continue;
    otlp::Fields pair(f.bytes);
    otlp::Field part;
    char key = 0;
    while (pair.next(part)) {
      if (part.number == 1) key = part.bytes.size() == 1 ? part.bytes[0] : '\0';
      if (part.number != 2 || (key != 't' && key != 'n')) continue;
      otlp::Fields any(part.bytes);
      otlp::Field value;
      if (!any.next(value) || value.number != 3) continue;
      if (key == 't') out.thread = static_cast<std::int64_t>(value.value);
      if (key == 'n') out.n = value.value;
    }
  }
  out.bad = fields.bad();
  return out;
}

}  // namespace

void SpanSink::take_span(const std::string& instance, std::string_view bytes) {
  const Numbers numbers = numbers_of(bytes);
  if (numbers.bad) ++bad_;
  if (keep_) {
    kept_.push_back(otlp::read_span(bytes));
    if (kept_.back().bad) ++bad_;
  }
  if (numbers.n == 0) return;
  if (numbers.n > kNumbersMax) {
    ++bad_;
    return;
  }
  Stream& s = streams_[{instance, numbers.thread}];
  if (s.came.size() <= numbers.n) s.came.resize(std::max(2 * s.came.size(), numbers.n + 1));
  if (s.came[numbers.n]) {
    ++s.again;
    return;
  }
  s.came[numbers.n] = true;
  ++s.spans;
  s.highest = std::max(s.highest, numbers.n);
}

std::map<SpanSink::Key, SpanSink::Stream> SpanSink::streams() const {
  const std::lock_guard lock(mutex_);
  return streams_;
}

std::vector<otlp::Span> SpanSink::spans() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

}  // namespace runmain::test

#include "app/graceful_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "os/linux/proc.hpp"

namespace runmain::app {
namespace {

using graceful::Client;
using graceful::Nanoseconds;
using graceful::Outcome;

constexpr Nanoseconds kMillisecond = 1'000'000;
constexpr Nanoseconds kTrickle = 8 * kMillisecond;      // between two bytes
constexpr Nanoseconds kSlowRead = 10 * kMillisecond;    // between two bytes
constexpr Nanoseconds kFastAfter = 500 * kMillisecond;  // into the drain a slow reader has read slowly enough
constexpr std::size_t kHeldBack = 4;                    // the end of a trickled request
constexpr int kSmallBuffer = 4096;

Error not_an_address(const std::string& listen) { return Error{"no address of a client: " + listen}; }

bool is_waiting_for_drain(Client client) { return client == Client::hesitant || client == Client::trickled; }

}  // namespace

Result<GracefulTarget> target_of(const std::string& listen) {
  GracefulTarget target;
  if (listen.starts_with("unix:")) {
    auto* name = reinterpret_cast<sockaddr_un*>(&target.name);
    const std::string path = listen.substr(5);
    if (path.empty() || path.size() >= sizeof name->sun_path) return not_an_address(listen);
    name->sun_family = AF_UNIX;
    std::memcpy(name->sun_path, path.data(), path.size());
    if (path.front() == '@') name->sun_path[0] = '\0';
    target.size =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (path.front() == '@' ? 0 : 1));
    target.host = "localhost";
    return target;
  }
  const std::size_t colon = listen.rfind(':');
  if (colon == std::string::npos) return not_an_address(listen);
  std::string host = listen.substr(0, colon);
  const auto port = os::parse_number(listen.substr(colon + 1));
  if (!port || *port == 0 || *port > 65535) return not_an_address(listen);
  if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
  if (host.empty() || host == "0.0.0.0" || host == "*") host = "127.0.0.1";
  if (host == "::") host = "::1";
  target.host = (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(*port);
  auto* v4 = reinterpret_cast<sockaddr_in*>(&target.name);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&target.name);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<std::uint16_t>(*port));
    target.size = sizeof *v4;
  } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<std::uint16_t>(*port));
    target.size = sizeof *v6;
  } else {
    return not_an_address(listen);
  }
  return target;
}

GracefulClient::GracefulClient(const GracefulTarget& target, GracefulPlan plan, Nanoseconds now)
    : target_(target), plan_(std::move(plan)), due_(now) {
  const bool repeats = plan_.client == Client::fresh || plan_.client == Client::kept;
  if (repeats) due_ += plan_.delay;
  if (!repeats || plan_.delay == 0) connect(now);
}

std::string GracefulClient::request() const {
  std::string text = "GET " + plan_.path + " HTTP/1.1\r\nHost: " + target_.host +
                     "\r\nUser-Agent: runmain-check-graceful\r\nAccept: */*\r\n";
  if (plan_.client != Client::kept && plan_.client != Client::idle) text += "Connection: close\r\n";
  return text + "\r\n";
}

void GracefulClient::connect(Nanoseconds now) {
  begin_ = std::max(due_, begin_);
  before_ = 0;
  crossed_ = false;
  reader_ = {};
  fd_.reset(socket(target_.name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd_.get() < 0) {
    record(Outcome::refused, now);
    return;
  }
  if (plan_.client == Client::slow_reader)
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &kSmallBuffer, sizeof kSmallBuffer);
  const int yes = 1;
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  phase_ = Phase::connecting;
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&target_.name), target_.size) == 0) {
    prepare(now);
  } else if (errno != EINPROGRESS) {
    // A unix socket whose queue is full says EAGAIN.
    record(Outcome::refused, now);
  }
}

// It is connected.
void GracefulClient::prepare(Nanoseconds now) {
  phase_ = Phase::idle;
  last_byte_ = now;
  switch (plan_.client) {
    case Client::silent:
    case Client::hesitant: return;
    default: begin_request(now);
  }
}

void GracefulClient::begin_request(Nanoseconds now) {
  if (plan_.client == Client::hesitant) begin_ = now;
  if (before_ > 0) begin_ = due_;
  out_ = request();
  if (plan_.client == Client::half) out_.resize(out_.size() / 2);
  sent_ = 0;
  crossed_ = false;
  reader_ = {};
  phase_ = Phase::sending;
  send_some(now);
}

bool GracefulClient::drain_has_begun(Nanoseconds now) const {
  return finishing_ || (drain_ != 0 && now >= drain_ + plan_.delay);
}

std::size_t GracefulClient::allowed_to_send(Nanoseconds now) const {
  const std::size_t left = out_.size() - sent_;
  if (plan_.client != Client::trickled || finishing_) return left;
  if (left <= kHeldBack) return drain_has_begun(now) ? left : 0;
  return now >= last_byte_ + kTrickle ? 1 : 0;
}

std::size_t GracefulClient::allowed_to_read(Nanoseconds now) const {
  constexpr std::size_t kAll = 65536;
  if (plan_.client != Client::slow_reader || finishing_) return kAll;
  if (drain_ != 0 && now >= drain_ + kFastAfter) return kAll;
  return now >= last_byte_ + kSlowRead ? 1 : 0;
}

bool GracefulClient::wants_owner() const {
  return owner_ == 0 && is_connected() && !over_ && plan_.client != Client::fresh &&
         plan_.client != Client::kept;
}

bool GracefulClient::is_prepared() const {
  if (plan_.client != Client::trickled || over_) return true;
  return phase_ == Phase::sending && out_.size() - sent_ <= kHeldBack;
}

short GracefulClient::wanted() const {
  switch (phase_) {
    case Phase::none: return 0;
    case Phase::connecting: return POLLOUT;
    case Phase::sending: {
      const bool waits = plan_.client == Client::trickled || sent_ == out_.size();
      return static_cast<short>(POLLIN | (waits ? 0 : POLLOUT));
    }
    case Phase::waiting: return plan_.client == Client::slow_reader && !finishing_ ? 0 : POLLIN;
    case Phase::idle: return POLLIN;
  }
  return 0;
}

Nanoseconds GracefulClient::wakes_at() const {
  if (over_) return 0;
  if (phase_ == Phase::none || (phase_ == Phase::idle && plan_.client == Client::kept)) return due_;
  if (phase_ == Phase::idle && is_waiting_for_drain(plan_.client))
    return drain_ == 0 ? 0 : drain_ + plan_.delay;
  if (phase_ == Phase::sending && plan_.client == Client::trickled)
    return out_.size() - sent_ > kHeldBack ? last_byte_ + kTrickle : drain_ == 0 ? 0 : drain_ + plan_.delay;
  if (phase_ == Phase::waiting && plan_.client == Client::slow_reader) return last_byte_ + kSlowRead;
  if (phase_ == Phase::idle || plan_.limit == 0 || plan_.client == Client::half) return 0;
  return begin_ + plan_.limit;
}

void GracefulClient::step(Nanoseconds now, bool ready) {
  if (over_) return;
  if (phase_ == Phase::connecting && ready) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      record(error == ECONNRESET ? Outcome::reset : Outcome::refused, now);
      return;
    }
    prepare(now);
    return;
  }
  if (phase_ == Phase::none && now >= due_) connect(now);
  if (phase_ == Phase::idle) {
    if (see_end_while_idle(now)) return;
    const bool asks = plan_.client == Client::kept && now >= due_ && !finishing_;
    if (asks || (plan_.client == Client::hesitant && drain_has_begun(now))) begin_request(now);
    return;
  }
  if (phase_ == Phase::sending) send_some(now);
  if (phase_ == Phase::sending || phase_ == Phase::waiting) read_some(now);
  const bool is_late =
      plan_.limit != 0 && now >= begin_ + plan_.limit && plan_.client != Client::half &&
      (phase_ == Phase::waiting || phase_ == Phase::connecting || phase_ == Phase::sending) &&
      (plan_.client != Client::trickled || phase_ == Phase::waiting);
  if (!over_ && is_late) record(Outcome::timed_out, now);
}

bool GracefulClient::see_end_while_idle(Nanoseconds now) {
  char byte = 0;
  const ssize_t n = recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  record(n == 0 ? Outcome::closed : n > 0 ? Outcome::not_http : Outcome::reset_idle, now);
  return true;
}

// The server's end had arrived before what we have just sent.
bool GracefulClient::is_peer_closed() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (target_.name.ss_family == AF_UNIX || getsockopt(fd_.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
    return false;
  return info.tcpi_state == TCP_CLOSE_WAIT;
}

void GracefulClient::send_some(Nanoseconds now) {
  while (phase_ == Phase::sending) {
    const std::size_t allowed = allowed_to_send(now);
    if (allowed == 0) return;
    // Its time counts from what makes it whole.
    if (plan_.client == Client::trickled && out_.size() - sent_ <= kHeldBack) begin_ = now;
    const ssize_t n = send(fd_.get(), out_.data() + sent_, allowed, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {
      if (sent_ > 0) return;  // what it has answered is read first
      // Nothing of the request was ever taken.
      record(errno == ECONNRESET ? Outcome::reset_idle : Outcome::crossed, now);
      return;
    }
    if (sent_ == 0 && is_peer_closed()) crossed_ = true;
    sent_ += static_cast<std::size_t>(n);
    last_byte_ = now;
    if (sent_ == out_.size() && plan_.client != Client::half) phase_ = Phase::waiting;
    if (sent_ == out_.size()) return;
  }
}

void GracefulClient::read_some(Nanoseconds now) {
  char bytes[65536];
  const std::size_t allowed = allowed_to_read(now);
  if (allowed == 0) return;
  const ssize_t n = recv(fd_.get(), bytes, std::min(allowed, sizeof bytes), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    end_by(n < 0 ? errno : 0, now);
    return;
  }
  last_byte_ = now;
  const auto state = reader_.feed({bytes, static_cast<std::size_t>(n)});
  if (state == graceful::AnswerReader::State::bad) {
    record(Outcome::not_http, now);
  } else if (state == graceful::AnswerReader::State::done) {
    after_answer(now);
  }
}

void GracefulClient::end_by(int error, Nanoseconds now) {
  using State = graceful::AnswerReader::State;
  if (error == 0 && reader_.end() == State::done) {
    after_answer(now);
    return;
  }
  if (reader_.state() != State::nothing) {
    record(Outcome::cut, now);
    return;
  }
  int behind = error;  // a reset that came behind the FIN
  socklen_t size = sizeof behind;
  if (error == 0) getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &behind, &size);
  // Half a request that was never to be completed: it was let go.
  if (plan_.client == Client::half) {
    record(Outcome::closed, now);
  } else if (plan_.client != Client::trickled && (crossed_ || error == EPIPE || behind == EPIPE)) {
    record(before_ > 0 || plan_.client == Client::hesitant ? Outcome::crossed : Outcome::dropped, now);
  } else {
    record(error == ECONNRESET || behind == ECONNRESET ? Outcome::reset : Outcome::dropped, now);
  }
}

void GracefulClient::after_answer(Nanoseconds now) {
  record(Outcome::answered, now);
  if (over_ || fd_.get() < 0) return;
  ++before_;
  phase_ = Phase::idle;
}

void GracefulClient::drop_connection() {
  fd_.reset();
  phase_ = Phase::none;
  owner_ = 0;
}

void GracefulClient::record(Outcome outcome, Nanoseconds now) {
  graceful::Ask ask;
  ask.client = plan_.client;
  ask.outcome = outcome;
  ask.status = reader_.status();
  ask.begin = begin_;
  ask.end = now;
  ask.drain = drain_;
  ask.before = before_;
  ask.last = reader_.is_last();
  ask.body_bytes = reader_.body_bytes();
  asks_.push_back(ask);
  ++done_;
  const bool repeats = plan_.client == Client::fresh || plan_.client == Client::kept;
  const bool stays = outcome == Outcome::answered && !ask.last &&
                     (plan_.client == Client::kept || plan_.client == Client::idle);
  // An idle one that was closed is no request, and the next one is due as it was.
  const bool counts = outcome != Outcome::closed && outcome != Outcome::reset_idle;
  if (repeats && counts) due_ = std::max(due_ + plan_.interval, now);
  if (repeats && plan_.times != 0 && done_ >= plan_.times) finishing_ = true;
  over_ = !stays && (!repeats || finishing_);
  if (stays && finishing_ && repeats) over_ = true;
  if (!stays || over_) drop_connection();
}

void GracefulClient::finish() {
  finishing_ = true;
  const bool repeats = plan_.client == Client::fresh || plan_.client == Client::kept;
  if (repeats && (phase_ == Phase::none || (phase_ == Phase::idle && before_ > 0))) {
    over_ = true;
    drop_connection();
  }
}

void GracefulClient::close(Nanoseconds now) {
  if (!over_ && phase_ != Phase::none) record(Outcome::open, now);
  over_ = true;
  drop_connection();
}

std::vector<graceful::Ask> GracefulClient::take_asks() { return std::exchange(asks_, {}); }

}  // namespace runmain::app

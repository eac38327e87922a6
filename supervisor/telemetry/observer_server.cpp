#include "telemetry/observer_server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "telemetry/observer_json.hpp"

namespace runmain::telemetry {
namespace {

constexpr int kAcceptsATurn = 16;
constexpr std::size_t kReadOnce = 4096;
constexpr std::size_t kPumpBytes = 64U << 10U;  // spans wait here, not with each client
constexpr Duration kLookAtStalled = std::chrono::seconds(1);

}  // namespace

ObserverServer::ObserverServer(os::Loop& loop, Observer& observer, ServerLimits limits)
    : loop_(loop), observer_(observer), limits_(limits) {
  timer_ = loop_.timer([this] { on_timer(); });
  grown_ = loop_.timer([this] {
    grown_set_ = false;
    for (Client& client : clients_) {
      if (client.work == Work::traces) pump(client);
    }
    tidy();
  });
  added_ = observer_.store().on_added([this] {
    const bool followed = std::any_of(clients_.begin(), clients_.end(),
                                      [](const Client& client) { return client.work == Work::traces; });
    if (followed && !std::exchange(grown_set_, true)) grown_->set(os::Loop::now());
  });
}

ObserverServer::~ObserverServer() = default;

// ---- clients

void ObserverServer::listen(os::UniqueFd listener) {
  accepting_.reset();
  listener_ = std::move(listener);
  // Other processes may accept there, too: readable is no promise.
  if (!listener_ || !os::set_nonblocking(listener_.get(), true)) return;
  accepting_ = loop_.poll(listener_.get(), os::kReadable, [this](int) { accept_some(); });
}

void ObserverServer::accept_some() {
  for (int i = 0; i < kAcceptsATurn; ++i) {
    os::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // No fd is free: it stays in the queue, and asking again at once would spin.
      if (errno != EAGAIN) {
        accepting_->want(0);
        check_later();
      }
      return;
    }
    ++counters_.accepted;
    const auto peer = os::peer_of(fd.get());
    if (!peer || (peer->uid != geteuid() && peer->uid != 0)) {
      ++counters_.refused_uid;
      continue;
    }
    if (!make_room()) {
      ++counters_.refused_full;
      const std::string line = error_line("too many clients");
      [[maybe_unused]] const ssize_t n =
          send(fd.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      continue;
    }
    Client& client = clients_.emplace_back();
    client.fd = std::move(fd);
    client.sent_at = os::Loop::now();
    client.poll =
        loop_.poll(client.fd.get(), os::kReadable, [this, &client](int events) { on_ready(client, events); });
  }
}

// Who asks nothing gives way.
bool ObserverServer::make_room() {
  if (clients_.size() < limits_.clients) return true;
  const auto idle = std::find_if(clients_.begin(), clients_.end(), [](const Client& client) {
    return client.work == Work::none && client.pending() == 0;
  });
  if (idle == clients_.end()) return false;
  idle->dead = true;
  tidy();
  return true;
}

void ObserverServer::on_ready(Client& client, int events) {
  if ((events & os::kWritable) != 0) write_some(client);
  if ((events & os::kReadable) != 0 && !client.dead) read_some(client);
  if (!client.dead) serve(client);
  tidy();
}

void ObserverServer::read_some(Client& client) {
  char buffer[kReadOnce];
  const ssize_t n = recv(client.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n > 0) {
    client.in.append(buffer, static_cast<std::size_t>(n));
  } else if (n == 0) {
    client.half_closed = true;
  } else if (errno != EAGAIN && errno != EINTR) {
    client.dead = true;
  }
}

void ObserverServer::write_some(Client& client) {
  if (client.pending() == 0) return;
  const ssize_t n =
      send(client.fd.get(), client.out.data() + client.sent, client.pending(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) {
    client.dead = errno != EAGAIN && errno != EINTR;
    return;
  }
  client.sent += static_cast<std::size_t>(n);
  client.sent_at = os::Loop::now();
  if (client.pending() > 0 && client.sent < kPumpBytes) return;
  client.out.erase(0, client.sent);
  client.sent = 0;
}

// What it has asked, as far as there is room for the answer.
void ObserverServer::serve(Client& client) {
  if (client.work == Work::traces) pump(client);
  while (!client.dead && client.work == Work::none && client.pending() == 0) {
    const std::size_t end = client.in.find('\n');
    if (end == std::string::npos) break;
    const std::string line = client.in.substr(0, end);
    client.in.erase(0, end + 1);
    handle(client, line);
  }
  if (client.in.size() > limits_.request) {
    // Else it goes on asking without listening.
    if (client.work == Work::none && client.pending() == 0) fail(client, "a request is one line of 4 KiB");
    client.dead = true;
  }
  const bool idle = client.work == Work::none && client.pending() == 0;
  if (client.half_closed && (idle || client.follows)) client.dead = true;
  if (!client.dead) show_interest(client);
}

// Something is there that it does not take: its socket can be full to the byte.
bool ObserverServer::waits(const Client& client) const {
  const bool more = client.work == Work::traces && client.seen < observer_.store().last_number();
  return client.pending() > 0 || more;
}

void ObserverServer::show_interest(Client& client) {
  const bool reads = !client.half_closed && client.in.size() <= limits_.request;
  client.poll->want((reads ? os::kReadable : 0) | (waits(client) ? os::kWritable : 0));
  if (waits(client)) check_later();
}

void ObserverServer::check_later() {
  if (!std::exchange(checking_, true)) timer_->set(os::Loop::now() + kLookAtStalled);
}

void ObserverServer::on_timer() {
  checking_ = false;
  if (accepting_) accepting_->want(os::kReadable);
  const Time now = os::Loop::now();
  for (Client& client : clients_) {
    if (!waits(client)) continue;
    if (now - client.sent_at < limits_.stalled) {
      check_later();
      continue;
    }
    client.dead = true;
    ++counters_.cut_off;
  }
  tidy();
}

void ObserverServer::tidy() {
  for (auto at = clients_.begin(); at != clients_.end();) {
    if (!at->dead) {
      ++at;
      continue;
    }
    const bool wanted = at->wants_store;
    at = clients_.erase(at);
    if (wanted) observer_.want_store(false);
  }
}

// ---- requests

void ObserverServer::handle(Client& client, const std::string& line) {
  const char* why = "";
  const auto request = line.size() > limits_.request ? std::nullopt : parse_request(line, why);
  if (!request) return fail(client, why);
  if (request->verb == "status") return answer(client, status_line(observer_.status()));
  client.follows = request->verb == "follow" || request->follow;
  if (request->verb == "follow") {
    client.work = Work::facts;
    for (const ObserverFact& untold : take_untold()) answer(client, fact_line(untold));
    return;
  }
  client.work = Work::traces;
  client.query = request->query;
  client.seen = 0;
  client.kept = observer_.store().on();
  if (!std::exchange(client.wants_store, true)) observer_.want_store(true);
  pump(client);
}

void ObserverServer::answer(Client& client, const std::string& line) {
  if (client.pending() == 0) client.sent_at = os::Loop::now();
  client.out += line;
  write_some(client);
}

void ObserverServer::fail(Client& client, const char* why) {
  ++counters_.bad_requests;
  answer(client, error_line(why));
}

// As many spans as it has read room for.
void ObserverServer::pump(Client& client) {
  const TraceStore& store = observer_.store();
  while (!client.dead && client.pending() < kPumpBytes) {
    const auto next = store.next(client.seen, client.query);
    if (!next) {
      client.seen = std::max(client.seen, store.last_number());
      if (!client.follows) {
        client.work = Work::none;
        client.out += end_line(client.kept);
      }
      break;
    }
    client.seen = next->first;
    if (client.pending() == 0) client.sent_at = os::Loop::now();
    client.out += span_line(*next->second);
  }
  write_some(client);
  if (!client.dead) show_interest(client);
}

void ObserverServer::tell(const ObserverFact& fact) {
  const auto follows = [](const Client& client) { return client.work == Work::facts && !client.dead; };
  if (std::none_of(clients_.begin(), clients_.end(), follows)) {
    if (untold_.size() >= kUntoldMax) untold_.pop_front();
    untold_.push_back(fact);
    return;
  }
  std::string line;
  for (Client& client : clients_) {
    if (client.work != Work::facts || client.dead) continue;
    if (line.empty()) line = fact_line(fact);
    if (client.pending() + line.size() > limits_.pending) {
      client.dead = true;
      ++counters_.cut_off;
      continue;
    }
    answer(client, line);
    if (!client.dead) show_interest(client);
  }
  tidy();
}

}  // namespace runmain::telemetry

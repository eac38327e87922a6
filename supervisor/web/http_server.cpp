#include "web/http_server.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace runmain::web {
namespace {

constexpr int kAcceptsATurn = 16;
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);  // where no fd is free

}  // namespace

struct HttpServer::Client {
  enum class Stage { reading, writing, closing, kept };
  std::uint64_t number = 0;
  os::UniqueFd fd;
  std::unique_ptr<os::Poll> poll;
  Stage stage = Stage::reading;
  std::string in;
  std::string out;
  Time deadline{};
  bool keep = false;
  bool dead = false;
};

HttpServer::HttpServer(os::Loop& loop, os::UniqueFd listener, Handler handler)
    : loop_(loop), listener_(std::move(listener)), handler_(std::move(handler)) {
  timer_ = loop_.timer([this] { on_timer(); });
  accepting_ = loop_.poll(listener_.get(), os::kReadable, [this](int) { accept_some(); });
}

HttpServer::~HttpServer() = default;

void HttpServer::accept_some() {
  for (int i = 0; i < kAcceptsATurn && clients_.size() < kHttpClientsMax; ++i) {
    os::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) {  // the connection stays in the backlog, and asking again at once would spin
        accept_again_ = os::Loop::now() + kAcceptPause;
      }
      break;
    }
    auto client = std::make_unique<Client>();
    client->number = ++last_;
    client->fd = std::move(fd);
    client->deadline = os::Loop::now() + kHttpPatience;
    client->poll = loop_.poll(client->fd.get(), os::kReadable,
                              [this, number = last_](int events) { on_ready(number, events); });
    clients_.emplace(last_, std::move(client));
  }
  arm();
}

void HttpServer::on_ready(std::uint64_t number, int events) {
  const auto found = clients_.find(number);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  if ((events & os::kReadable) != 0) read_some(client);
  if (!client.dead && client.stage != Client::Stage::reading) write_some(client);
  if (client.dead) clients_.erase(number);
  arm();
}

void HttpServer::read_some(Client& client) {
  char buffer[4096];
  const ssize_t n = recv(client.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    client.dead = true;
    return;
  }
  if (client.stage != Client::Stage::reading) return;  // a body, or what comes after: nobody wants it
  client.in.append(buffer, static_cast<std::size_t>(n));
  switch (look_at_head(client.in)) {
    case HeadState::incomplete: return;
    case HeadState::complete: return answer(client);
    case HeadState::not_http: ++counters_.not_http; client.dead = true;
  }
}

void HttpServer::answer(Client& client) {
  const auto request = parse_head(client.in);
  client.in.clear();
  client.in.shrink_to_fit();
  if (!request) {
    ++counters_.not_http;
    client.dead = true;
    return;
  }
  Reply reply = handler_(*request);
  ++counters_.answered;
  client.out = std::move(reply.bytes);
  client.keep = reply.keep;
  client.stage = Client::Stage::writing;
  client.deadline = os::Loop::now() + kHttpPatience;
}

void HttpServer::write_some(Client& client) {
  while (!client.out.empty()) {
    const ssize_t n =
        send(client.fd.get(), client.out.data(), client.out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      client.dead = errno != EAGAIN;
      break;
    }
    client.out.erase(0, static_cast<std::size_t>(n));
  }
  if (client.out.empty() && client.stage == Client::Stage::writing) {
    client.stage = client.keep ? Client::Stage::kept : Client::Stage::closing;
    // Until the peer closes, too: closing with its bytes unread would reset what it has not read yet.
    if (!client.keep) shutdown(client.fd.get(), SHUT_WR);
    client.deadline = client.keep ? kNever : os::Loop::now() + kHttpPatience;
  }
  client.poll->want(os::kReadable | (client.out.empty() ? 0 : os::kWritable));
}

void HttpServer::push(const std::string& bytes) {
  for (auto& [number, client] : clients_) {
    if (client->stage != Client::Stage::kept) continue;
    if (client->out.size() + bytes.size() > kHttpPendingMax) {
      ++counters_.dropped;
      client->dead = true;
      continue;
    }
    client->out += bytes;
    write_some(*client);
  }
  std::erase_if(clients_, [](const auto& entry) { return entry.second->dead; });
  arm();
}

void HttpServer::retire() {
  accepting_.reset();
  listener_.reset();
}

void HttpServer::on_timer() {
  const Time now = os::Loop::now();
  std::erase_if(clients_, [&](const auto& entry) {
    if (entry.second->deadline > now) return false;
    ++counters_.timed_out;
    return true;
  });
  arm();
}

void HttpServer::arm() {
  const bool paused = accept_again_ > os::Loop::now();
  Time next = paused && accepting_ ? accept_again_ : kNever;
  if (accepting_) accepting_->want(!paused && clients_.size() < kHttpClientsMax ? os::kReadable : 0);
  for (const auto& [number, client] : clients_) next = std::min(next, client->deadline);
  timer_->set(next);
}

}  // namespace runmain::web

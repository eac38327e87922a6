#include "control/server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/wall_time.hpp"

namespace runmain::control {
namespace {

constexpr int kAcceptsATurn = 16;
constexpr std::chrono::seconds kHalfClosedCheck{1};

std::string item_line(const std::string& id, const std::string& item) {
  return "{\"id\":" + id + ",\"item\":" + item + "}\n";
}

std::string gap_line(const std::string& id, std::uint64_t skipped) {
  return item_line(id, "{\"skipped\":" + std::to_string(skipped) + "}");
}

}  // namespace

Server::Server(os::Loop& loop, int listener, Backend& backend, const Limits& limits)
    : loop_(loop), listener_(listener), backend_(backend), limits_(limits) {
  timer_ = loop_.timer([this] { on_timer(); });
  accepting_ = loop_.poll(listener_, os::kReadable, [this](int) { accept_some(); });
}

Server::~Server() = default;

void Server::accept_some() {
  const Scope scope(*this);
  for (int i = 0; i < kAcceptsATurn; ++i) {
    os::UniqueFd fd(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      accept_one(std::move(fd));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    // No free fd or no memory: the connection stays in the backlog, and asking again at once would spin.
    if (errno != EAGAIN) pause_accepting();
    return;
  }
}

void Server::pause_accepting() {
  ++counters_.accept_failed;
  accepting_->want(0);
  accept_again_ = os::Loop::now() + limits_.accept_pause;
}

void Server::accept_one(os::UniqueFd fd) {
  ++counters_.accepted;
  const auto peer = os::peer_of(fd.get());
  if (!peer.ok() || (peer->uid != geteuid() && peer->uid != 0)) {
    ++counters_.refused_uid;
    return;
  }
  if (!make_room()) {
    ++counters_.refused_full;
    const Json busy{{"id", nullptr},
                    {"error", {{"code", kBusy}, {"message", "too many clients"}, {"at", ""}, {"hint", ""}}}};
    const std::string line = to_line(busy) + "\n";
    [[maybe_unused]] const ssize_t sent =
        send(fd.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  Client& client = clients_[++last_client_];
  client.connection = std::make_unique<Connection>(loop_, std::move(fd), limits_, [this, &client] {
    const Scope scope(*this);
    serve(client);
  });
}

// A client that asks nothing gives way to one that may: the one that has been silent longest.
bool Server::make_room() {
  if (clients_.size() < kClientsMax) return true;
  for (auto at = clients_.begin(); at != clients_.end(); ++at) {
    if (at->second.work != Work::none || at->second.connection->pending()) continue;
    clients_.erase(at);
    return true;
  }
  return false;
}

void Server::serve(Client& client) {
  Connection& connection = *client.connection;
  if (client.work == Work::logs || client.work == Work::events) pump(client);
  while (client.work == Work::none) {
    const auto line = connection.next_line();
    if (!line) break;
    handle(client, *line);
  }
  if (connection.dead()) return;
  const bool idle = client.work == Work::none && !connection.pending();
  if (idle && connection.overfull()) {
    ++counters_.bad_requests;
    client.id = "null";
    fail(client, kBadRequest, Error{"a request has at most " + std::to_string(kRequestMax) + " bytes"});
    connection.finish();
  } else if (!idle && connection.inbox_full()) {
    connection.kill();  // it goes on asking without listening
  } else if (idle && connection.half_closed()) {
    connection.kill();
  } else if (connection.half_closed() && connection.peer_gone()) {
    connection.kill();
  }
}

void Server::tidy() {
  Time next = accept_again_;
  for (auto at = clients_.begin(); at != clients_.end();) {
    if (at->second.connection->dead()) {
      at = clients_.erase(at);
    } else {
      next = std::min(next, deadline_of(at->second));
      ++at;
    }
  }
  timer_->set(next);
}

Time Server::deadline_of(Client& client) {
  const bool busy = client.work != Work::none;
  // epoll does not tell that a peer who had closed one half has closed the other.
  const bool looks = busy && client.connection->half_closed();
  if (looks && client.look_at == kNever) client.look_at = os::Loop::now() + kHalfClosedCheck;
  return std::min({client.connection->deadline(busy), client.deadline, client.look_at});
}

void Server::on_timer() {
  const Scope scope(*this);
  const Time now = os::Loop::now();
  if (now >= accept_again_) {
    accept_again_ = kNever;
    accepting_->want(os::kReadable);
  }
  for (auto& [number, client] : clients_) {
    if (now >= client.look_at) {
      client.look_at = kNever;  // until tidy()
      if (client.connection->peer_gone()) client.connection->kill();
    }
    if (now >= client.connection->deadline(client.work != Work::none)) {
      ++counters_.timed_out;
      client.connection->kill();
    } else if (now >= client.deadline) {
      fail(client, kTimedOut, Error{"not ready in time"});
      serve(client);
    }
  }
}

void Server::reply(Client& client, Json ok) {
  Json json = Json::object();
  json["ok"] = std::move(ok);
  const std::string rest = to_line(json).substr(1);
  client.connection->answer("{\"id\":" + client.id + "," + rest + "\n");
  end_work(client);
}

void Server::fail(Client& client, const char* code, const Error& error, const Json& output) {
  Json json{{"error", {{"code", code}, {"message", error.message}, {"at", error.at}, {"hint", error.hint}}}};
  if (!output.empty()) json["error"]["output"] = output;
  client.connection->answer("{\"id\":" + client.id + "," + to_line(json).substr(1) + "\n");
  end_work(client);
}

void Server::end_work(Client& client) {
  client.connection->note_answered();
  client.work = Work::none;
  client.deadline = kNever;
  client.request = 0;
  client.services.clear();
  client.backlog.clear();
  client.follow = false;
  client.skipped = 0;
}

void Server::answered(std::uint64_t request, const std::string& error) {
  if (commanding_) {
    early_answers_[request] = error;
    return;
  }
  const Scope scope(*this);
  // Probes are for the workers of that reload, whoever still waits for it.
  if (const auto doctored = doctored_.extract(request)) backend_.set_doctor(doctored.mapped(), "");
  for (auto& [number, client] : clients_) {
    if (client.work != Work::command || client.request != request) continue;
    if (error.empty()) {
      reply(client, Json::object());
    } else {
      fail(client, kFailed, Error{error}, output_of_failed(client));
    }
    return;
  }
}

// Sends what there is from before the request as the reader takes it; then a stream that does not follow
// ends.
void Server::pump(Client& client) {
  while (!client.backlog.empty()) {
    if (!client.connection->stream(item_line(client.id, client.backlog.front()))) return;
    client.backlog.pop_front();
  }
  if (!client.follow) {
    reply(client, Json::object());
  } else if (client.skipped > 0 && client.connection->room() >= kPendingMax / 2) {
    if (client.connection->stream(gap_line(client.id, client.skipped))) client.skipped = 0;
  }
}

void Server::push_line(Client& client, const std::string& item) {
  Connection& connection = *client.connection;
  // Lines from before the request go first; those that come meanwhile wait behind them, within the same
  // bound.
  if (!client.backlog.empty()) {
    if (client.skipped == 0 && client.backlog.size() < kLinesMax) {
      client.backlog.push_back(item);
      return;
    }
  } else {
    // After a gap, go on only when half of the room is free again, so that not every second line is a gap.
    const bool enough = client.skipped == 0 || connection.room() >= kPendingMax / 2;
    const std::string gap = client.skipped == 0 ? "" : gap_line(client.id, client.skipped);
    if (enough && connection.stream(gap + item_line(client.id, item))) {
      client.skipped = 0;
      return;
    }
  }
  ++client.skipped;
  ++counters_.lines_skipped;
}

void Server::log_line(const LogLine& line) {
  std::string item;
  for (auto& [number, client] : clients_) {
    if (client.work != Work::logs || !client.follow || client.connection->dead()) continue;
    if (!client.services.empty() && client.services.count(line.service) == 0) continue;
    if (item.empty()) item = to_line(log_json(line, numbered_.count(line.service) != 0));
    push_line(client, item);
  }
}

void Server::fact(const core::Fact& fact, std::string_view service_name) {
  const Scope scope(*this);
  FactLine line{++last_seq_, wall_of(fact.time, os::Loop::now(), wall_now_ns()), std::string(service_name),
                fact};
  std::string item;
  for (auto& [number, client] : clients_) {
    if (client.work != Work::events || !client.follow || client.connection->dead()) continue;
    if (item.empty()) item = to_line(event_json(line));
    const bool queued = !client.backlog.empty();
    if (queued && client.backlog.size() < 2 * kFactsKept) {
      client.backlog.push_back(item);
    } else if (queued || !client.connection->stream(item_line(client.id, item))) {
      ++counters_.followers_dropped;
      client.connection->kill();
    }
  }
  facts_.push_back(std::move(line));
  if (facts_.size() > kFactsKept) facts_.pop_front();
}

void Server::changed() {
  const auto waits = [](const auto& entry) { return entry.second.work == Work::wait; };
  if (std::none_of(clients_.begin(), clients_.end(), waits)) return;
  const Scope scope(*this);
  const core::Snapshot snapshot = backend_.snapshot();
  for (auto& [number, client] : clients_) {
    if (client.work == Work::wait) look_at_wait(client, snapshot);
  }
}

void Server::flush() {
  bool died = false;
  for (auto& [number, client] : clients_) {
    client.connection->flush();
    died = died || client.connection->dead();
  }
  if (died && depth_ == 0) tidy();
}

bool Server::follows_logs() const {
  return std::any_of(clients_.begin(), clients_.end(), [](const auto& entry) {
    return entry.second.work == Work::logs && entry.second.follow;
  });
}

}  // namespace runmain::control

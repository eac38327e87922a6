#include "telemetry/receiver.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <variant>

#include "base/text.hpp"

namespace runmain::telemetry {
namespace {

constexpr int kAcceptsATurn = 16;
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);  // where no fd or no place is free
constexpr Duration kEvictableAfter = std::chrono::seconds(1);      // a client that rests between requests
constexpr std::size_t kReadSize = 64U << 10U;
constexpr std::size_t kRefusalPartMax = 80;  // bytes of a stranger's that are told
constexpr const char* kComeAgain = "Retry-After: 1\r\n";

OtlpAnswer full_answer(OtlpEncoding encoding, std::string_view message) {
  OtlpAnswer answer = fault_answer(encoding, 503, message);
  answer.fields = kComeAgain;
  return answer;
}

std::string refusal_text(int status, const HttpRequest& request) {
  std::string text = std::to_string(status);
  for (const std::string& part : {request.method, request.path}) {
    if (!part.empty()) text += " " + printable(part.substr(0, kRefusalPartMax), false);
  }
  if (request.user_agent.empty()) return text;
  return text + " (" + printable(request.user_agent.substr(0, kRefusalPartMax), false) + ")";
}

std::uint16_t port_of(const sockaddr_storage& name) {
  if (name.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(name).sin_port);
  if (name.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(name).sin6_port);
  return 0;
}

class Within {
 public:
  explicit Within(bool& flag) : flag_(flag), before_(flag) { flag_ = true; }
  ~Within() { flag_ = before_; }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  bool& flag_;
  bool before_;
};

}  // namespace

struct Receiver::Link {
  Receiver* receiver = nullptr;
};

struct Receiver::Client {
  enum class Stage : std::uint8_t { reading, saving, writing, lingering };

  std::uint64_t number = 0;
  os::UniqueFd fd;
  std::uint16_t peer_port = 0;
  std::unique_ptr<os::Poll> poll;
  int wanted = 0;
  Stage stage = Stage::reading;
  HttpReader reader;
  std::string in;  // what came, from `at` on not looked at: it comes after a request that has no answer yet
  std::size_t at = 0;
  std::size_t held = 0;               // of its body
  std::optional<OtlpCall> call;       // of the request that is read
  std::optional<OtlpAnswer> refusal;  // the same: to be told when all of it is there
  std::uint64_t request = 0;          // that is being saved
  OtlpAnswer answer;                  // to that
  std::string out;
  bool keeps_alive = true;  // after `out`
  bool trusted = false;     // it has shown a token
  bool timed = false;       // a request has begun: `deadline` is its
  bool dead = false;
  Time deadline{};

  bool rests() const { return stage == Stage::reading && !timed && at == in.size(); }
  bool has_more() const { return stage == Stage::reading && at < in.size(); }
  OtlpEncoding encoding() const {
    if (call) return call->encoding;
    return reader.request().content_type == media_type(OtlpEncoding::protobuf) ? OtlpEncoding::protobuf
                                                                               : OtlpEncoding::json;
  }
  void watch() {
    int events = 0;
    if (stage == Stage::reading || stage == Stage::lingering) events |= os::kReadable;
    if (!out.empty()) events |= os::kWritable;
    if (events != wanted) poll->want(events);
    wanted = events;
  }
};

Receiver::Receiver(os::Loop& loop, os::UniqueFd listener, std::string secret, Take take,
                   ReceiverLimits limits)
    : loop_(loop),
      listener_(std::move(listener)),
      secret_(std::move(secret)),
      take_(std::move(take)),
      limits_(limits),
      buffer_(kReadSize, '\0'),
      link_(std::make_shared<Link>()) {
  link_->receiver = this;
  timer_ = loop_.timer([this] { on_timer(); });
  accepting_ = loop_.poll(listener_.get(), os::kReadable, [this](int) { accept_some(); });
}

Receiver::~Receiver() { link_->receiver = nullptr; }

// ---- connections

void Receiver::accept_some() {
  for (int i = 0; i < kAcceptsATurn; ++i) {
    // That somebody waits is known of the first one only.
    if (clients_.size() >= limits_.clients && (i > 0 || !make_room())) break;
    sockaddr_storage peer{};
    socklen_t peer_size = sizeof peer;
    os::UniqueFd fd(accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &peer_size,
                            SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // The connection stays in the backlog, and asking again at once would spin.
      if (errno != EAGAIN) accept_again_ = os::Loop::now() + kAcceptPause;
      break;
    }
    const int on = 1;
    (void)setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto client = std::make_unique<Client>();
    client->number = ++last_client_;
    client->fd = std::move(fd);
    client->peer_port = port_of(peer);
    client->reader = HttpReader(limits_.http);
    client->deadline = os::Loop::now() + limits_.request;
    client->wanted = os::kReadable;
    client->poll = loop_.poll(client->fd.get(), os::kReadable,
                              [this, number = last_client_](int events) { on_ready(number, events); });
    clients_.emplace(last_client_, std::move(client));
    ++counters_.connections;
  }
  tidy();
}

// Others of this machine may connect, too: who has shown no token goes first, then who rests longest.
bool Receiver::make_room() {
  const Time now = os::Loop::now();
  Client* goes = nullptr;
  for (const auto& [number, client] : clients_) {
    if (!client->trusted || client->stage == Client::Stage::lingering) {
      goes = client.get();
      break;
    }
    const bool may_go = client->rests() && now >= client->deadline - limits_.idle + kEvictableAfter;
    if (may_go && (goes == nullptr || client->deadline < goes->deadline)) goes = client.get();
  }
  if (goes == nullptr) {
    accept_again_ = now + kAcceptPause;
    return false;
  }
  ++counters_.evicted;
  hold(*goes, 0);
  clients_.erase(goes->number);
  return true;
}

void Receiver::on_ready(std::uint64_t number, int events) {
  const auto found = clients_.find(number);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  {
    const Within within(busy_);
    if ((events & os::kWritable) != 0 || !client.out.empty()) write_some(client);
    const bool reads = client.stage == Client::Stage::reading || client.stage == Client::Stage::lingering;
    if (!client.dead && reads && (events & os::kReadable) != 0 && !client.has_more()) read_some(client);
    if (!client.dead) go_on(client);
  }
  tidy();
}

void Receiver::read_some(Client& client) {
  const ssize_t n = recv(client.fd.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    client.dead = true;
    return;
  }
  if (client.stage == Client::Stage::lingering) return;
  client.in.assign(buffer_, 0, static_cast<std::size_t>(n));
  client.at = 0;
}

void Receiver::retire() {
  retired_ = true;
  accepting_.reset();
  listener_.reset();
  for (const auto& [number, client] : clients_) {
    if (client->rests()) client->dead = true;
  }
  tidy();
}

// ---- requests

void Receiver::go_on(Client& client) {
  while (!client.dead && client.stage == Client::Stage::reading && step(client)) {
  }
  if (client.at == client.in.size()) {
    client.in = std::string();
    client.at = 0;
  }
}

// False: it takes more bytes.
bool Receiver::step(Client& client) {
  switch (client.reader.state()) {
    case HttpReader::State::decide: begin_request(client); return true;
    case HttpReader::State::complete: end_request(client); return true;
    case HttpReader::State::failed: on_broken(client); return true;
    default: break;
  }
  if (client.at == client.in.size()) return false;
  feed(client);
  return true;
}

void Receiver::feed(Client& client) {
  client.at += client.reader.feed(std::string_view(client.in).substr(client.at));
  const bool within = client.reader.is_within();
  if (client.timed != within) {  // not, if all that came was an empty line behind the last request
    client.timed = within;
    client.deadline = os::Loop::now() + (within ? limits_.request : limits_.idle);
  }
  hold(client, client.reader.body().size());
  if (held_ <= limits_.held || client.held == 0) return;
  ++counters_.full;
  client.refusal = full_answer(client.encoding(), "too much is on its way here");
  const bool complete = client.reader.state() == HttpReader::State::complete;
  if (complete) {
    (void)client.reader.take_body();
  } else {
    client.reader.skip_body();
  }
  hold(client, 0);
}

void Receiver::hold(Client& client, std::size_t bytes) {
  held_ = held_ - client.held + bytes;
  client.held = bytes;
}

void Receiver::begin_request(Client& client) {
  using Why = OtlpRefusal::Why;
  const HttpRequest& request = client.reader.request();
  auto judged = judge_head(request, secret_);
  if (const auto* call = std::get_if<OtlpCall>(&judged)) {
    client.call = *call;
    client.trusted = true;
    if (request.awaits_continue && client.at == client.in.size()) {
      client.out += kContinue;
      write_some(client);
    }
    client.reader.keep_body();
    return;
  }
  auto& refusal = std::get<OtlpRefusal>(judged);
  ++(refusal.why == Why::no_token        ? counters_.no_token
     : refusal.why == Why::foreign_token ? counters_.foreign_token
                                         : counters_.refused);
  // Whether its body will come cannot be known then.
  if (request.awaits_continue) return respond(client, refusal.answer, false);
  client.refusal = std::move(refusal.answer);
  client.reader.skip_body();
}

void Receiver::end_request(Client& client) {
  if (client.refusal) return respond(client, *client.refusal, true);
  take(client, *client.call);
}

void Receiver::take(Client& client, const OtlpCall& call) {
  auto intake = take_in(call, client.reader.take_body(), limits_.otlp);
  hold(client, 0);
  if (!intake) {
    ++counters_.bad_data;
    return respond(client, fault_answer(call.encoding, intake.error().code, intake.error().message), true);
  }
  const Intake& in = **intake;
  const OtlpAnswer answer = answer_of(call, in);
  if (in.items.empty() && in.invalid == 0) {
    ++counters_.requests;
    return respond(client, answer, true);
  }
  const std::uint64_t request = ++last_request_;
  client.stage = Client::Stage::saving;
  client.request = request;
  client.answer = answer;
  client.deadline = os::Loop::now() + limits_.answer;
  const auto saved = [link = link_, number = client.number, request] {
    if (link->receiver != nullptr) link->receiver->on_saved(number, request);
  };
  const Received received{call.worker, call.signal,   in.items, in.invalid,
                          in.repaired, client.number, request,  client.peer_port};
  if (take_(received, saved) == Taken::ok) {
    ++(in.items.empty() ? counters_.bad_data : counters_.requests);
    return;
  }
  ++counters_.full;
  if (client.stage != Client::Stage::saving || client.request != request) return;
  respond(client, full_answer(call.encoding, "no room; it comes again"), true);
}

// Others may be in the middle of something: what comes after this request on its connection waits for a turn
// of its own.
void Receiver::on_saved(std::uint64_t number, std::uint64_t request) {
  const auto found = clients_.find(number);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  if (client.dead || client.stage != Client::Stage::saving || client.request != request) return;
  const OtlpAnswer answer = std::move(client.answer);
  respond(client, answer, true);
  tidy();
}

void Receiver::on_broken(Client& client) {
  const HttpFault& fault = client.reader.fault();
  ++counters_.bad_http;
  if (fault.status == 505) ++counters_.grpc;
  hold(client, 0);
  respond(client, fault_answer(client.encoding(), fault.status, fault.message), false);
}

// ---- answers

void Receiver::respond(Client& client, const OtlpAnswer& answer, bool keeps_alive) {
  const HttpRequest& request = client.reader.request();
  if (answer.status >= 400 && answer.status != 503) last_refusal_ = refusal_text(answer.status, request);
  client.keeps_alive = keeps_alive && request.keeps_alive && !retired_;
  client.out += to_bytes(answer, client.keeps_alive, request.method == "HEAD");
  client.stage = Client::Stage::writing;
  client.request = 0;
  client.deadline = os::Loop::now() + limits_.answer;
  write_some(client);
}

void Receiver::write_some(Client& client) {
  std::size_t done = 0;
  while (done < client.out.size()) {
    const ssize_t n = send(client.fd.get(), client.out.data() + done, client.out.size() - done,
                           MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      client.dead = errno != EAGAIN;
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  client.out.erase(0, done);
  if (!client.dead && client.out.empty() && client.stage == Client::Stage::writing) after_answer(client);
}

void Receiver::after_answer(Client& client) {
  client.timed = false;
  client.call.reset();
  client.refusal.reset();
  client.answer = {};
  if (client.keeps_alive) {
    client.reader.next();
    client.stage = Client::Stage::reading;
    client.deadline = os::Loop::now() + limits_.idle;
    return;
  }
  // Closing with its bytes unread would reset the connection, and with it the answer.
  shutdown(client.fd.get(), SHUT_WR);
  client.stage = Client::Stage::lingering;
  client.deadline = os::Loop::now() + limits_.linger;
  client.in = std::string();
  client.at = 0;
}

// ---- time

void Receiver::on_timer() {
  const Time now = os::Loop::now();
  {
    const Within within(busy_);
    for (const auto& [number, client] : clients_) {
      if (client->dead) continue;
      if (client->has_more()) {
        go_on(*client);
      } else if (client->deadline <= now) {
        on_deadline(*client);
      }
    }
  }
  tidy();
}

void Receiver::on_deadline(Client& client) {
  switch (client.stage) {
    case Client::Stage::reading:
      if (!client.timed) {
        client.dead = true;
        return;
      }
      ++counters_.slow;
      hold(client, 0);
      return respond(client, fault_answer(client.encoding(), 408, "the request took too long"), false);
    case Client::Stage::saving:
      ++counters_.late;
      return respond(client, full_answer(client.encoding(), "what came could not be kept in time"), false);
    case Client::Stage::writing: ++counters_.slow; break;
    case Client::Stage::lingering: break;
  }
  client.dead = true;
}

// After whatever happened: who is dead goes, and the loop is told what is waited for.
void Receiver::tidy() {
  if (busy_) return;  // who is busy does it then
  const Time now = os::Loop::now();
  Time next = kNever;
  for (auto it = clients_.begin(); it != clients_.end();) {
    Client& client = *it->second;
    if (client.dead) {
      hold(client, 0);
      it = clients_.erase(it);
      continue;
    }
    client.watch();
    next = std::min(next, client.has_more() ? now : client.deadline);
    ++it;
  }
  if (accepting_) {
    const bool paused = accept_again_ > now;
    accepting_->want(paused ? 0 : os::kReadable);
    if (paused) next = std::min(next, accept_again_);
  }
  timer_->set(next);
}

}  // namespace runmain::telemetry

#include "app/observer_client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/text.hpp"

namespace runmain::app {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kReadOnce = 16U << 10U;
constexpr std::size_t kReadsATurn = 16;
constexpr std::size_t kTextMax = 500;  // bytes of a line for a person
constexpr std::size_t kNestingMax = 16;
constexpr std::string_view kFollow = "{\"v\":1,\"verb\":\"follow\"}\n";

struct Known {
  const char* fact;
  Tone tone;
};

constexpr std::array<Known, 8> kKnown{{{"destination.fails", Tone::bad},
                                       {"destination.recovers", Tone::good},
                                       {"destination.warns", Tone::bad},
                                       {"ledger.ended", Tone::faint},
                                       {"spans.duplicated", Tone::bad},
                                       {"spans.doubled", Tone::bad},
                                       {"mailbox.refused", Tone::bad},
                                       {"lane.aside", Tone::bad}}};

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// -1: it is not there, or no number.
std::int64_t number_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
}

// "web, generation 3": whom a text is about that does not say it itself.
std::string subject_of(const Json& fact, const std::string& text) {
  const std::string service = text_of(fact, "service");
  if (service.empty() || text.starts_with(service)) return {};
  const std::int64_t generation = number_of(fact, "generation");
  return service + (generation > 0 ? ", generation " + std::to_string(generation) : "") + ": ";
}

Json parsed(std::string_view line) {
  bool too_deep = false;
  const auto callback = [&too_deep](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > static_cast<int>(kNestingMax);
    return !too_deep;
  };
  Json json = Json::parse(line, callback, false);
  return too_deep ? Json() : json;
}

}  // namespace

std::optional<Line> line_of_fact(const Json& fact) {
  if (!fact.is_object()) return std::nullopt;
  const std::string type = text_of(fact, "fact");
  const auto known =
      std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& k) { return type == k.fact; });
  std::string text = text_of(fact, "text");
  if (known == kKnown.end() || text.empty()) return std::nullopt;
  Line line{known->tone, {}};
  if (type == "ledger.ended") {
    const std::string imbalance = text_of(fact, "imbalance");
    if (number_of(fact, "ended") == 0 && number_of(fact, "reconstructed") <= 0 && imbalance.empty())
      return std::nullopt;  // nothing was to be told of
    if (!imbalance.empty() || text.find("does not balance") != std::string::npos) line.tone = Tone::bad;
    if (!imbalance.empty() && text.find(imbalance) == std::string::npos) text += ": " + imbalance;
  }
  text = printable(subject_of(fact, text) + text, false);
  if (text.size() > kTextMax) {
    std::size_t end = kTextMax;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
    text = text.substr(0, end) + "…";
  }
  line.text = std::move(text);
  return line;
}

ObserverClient::ObserverClient(os::Loop& loop, std::string path, std::function<void(const Line&)> say)
    : loop_(loop),
      path_(std::move(path)),
      say_(std::move(say)),
      retry_timer_(loop.timer([this] {
        waits_ = false;
        connect();
      })),
      window_timer_(loop.timer([this] { end_window(); })) {}

void ObserverClient::start() {
  if (!fd_ && !waits_ && !path_.empty()) connect();
}

void ObserverClient::connect() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path_.c_str(), path_.size());
  fd_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const bool connected =
      fd_ && ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      send(fd_.get(), kFollow.data(), kFollow.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
          static_cast<ssize_t>(kFollow.size());
  if (!connected) return lose();
  in_.clear();
  poll_ = loop_.poll(fd_.get(), os::kReadable, [this](int) { on_readable(); });
}

void ObserverClient::lose() {
  poll_.reset();
  fd_.reset();
  waits_ = true;
  retry_timer_->set(os::Loop::now() + retry_);
  retry_ = std::min(retry_ * 2, kRetryMax);
}

void ObserverClient::on_readable() {
  if (hear() == Heard::end) lose();
}

// The observer is told that we hear no more, and hangs up when all that it has told is on its way.
void ObserverClient::end() {
  retry_timer_->cancel();
  waits_ = true;  // start() does nothing any more
  if (!fd_) return;
  poll_.reset();
  ::shutdown(fd_.get(), SHUT_WR);
  const Time limit = os::Loop::now() + kFarewell;
  while (hear() != Heard::end && os::Loop::now() < limit) {
    pollfd readable{fd_.get(), POLLIN, 0};
    ::poll(&readable, 1, static_cast<int>(to_ms(limit - os::Loop::now())) + 1);
  }
  fd_.reset();
  end_window();
}

ObserverClient::Heard ObserverClient::hear() {
  char buffer[kReadOnce];
  for (std::size_t i = 0; i < kReadsATurn; ++i) {
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Heard::all;
    if (n <= 0) return Heard::end;
    in_.append(buffer, static_cast<std::size_t>(n));
    std::size_t taken = 0;
    for (std::size_t end = in_.find('\n'); end != std::string::npos; end = in_.find('\n', taken)) {
      take_line(std::string_view(in_).substr(taken, end - taken));
      taken = end + 1;
    }
    in_.erase(0, taken);
    if (in_.size() > kLineMax) return Heard::end;
  }
  return Heard::more;
}

void ObserverClient::take_line(std::string_view line) {
  retry_ = kRetryFirst;  // it is one that talks
  if (line.size() > kLineMax) return;
  if (const auto said = line_of_fact(parsed(line))) say_within_bounds(*said);
}

void ObserverClient::say_within_bounds(const Line& line) {
  if (said_ == 0) window_timer_->set(os::Loop::now() + kLinesWithin);
  if (++said_ > kLinesMax) {
    ++more_;
  } else {
    say_(line);
  }
}

void ObserverClient::end_window() {
  if (more_ > 0)
    say_({Tone::faint, "telemetry: " + std::to_string(more_) + (more_ == 1 ? " line" : " lines") + " more"});
  said_ = more_ = 0;
}

}  // namespace runmain::app

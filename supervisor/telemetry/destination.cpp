#include "telemetry/destination.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/text.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

namespace runmain::telemetry {
namespace {

using Type = DestinationFact::Type;

constexpr std::size_t kTextMax = 200;  // of a stranger's words

DestinationFact fact_of(Type type, const Parcel& parcel, std::uint64_t items, std::string text = {}) {
  return {type, parcel.worker, parcel.request.signal, items, std::move(text)};
}

std::string items_text(const Parcel& parcel, std::uint64_t items) {
  static constexpr const char* kNames[] = {"span", "metric", "log record"};
  return std::to_string(items) + " " + kNames[static_cast<std::size_t>(parcel.request.signal)] +
         (items == 1 ? "" : "s");
}

std::string words_of(const std::string& stranger) {
  return printable(std::string_view(stranger).substr(0, kTextMax), false);
}

// Why it has not worked, for people.
std::string reason_of(const Answer& answer) {
  if (answer.how == Answer::How::too_long) return "its answer is too long";
  if (answer.how != Answer::How::answered) return words_of(answer.error);
  const std::string said = answer.json ? std::string() : status_message(answer.body);
  return "HTTP " + std::to_string(answer.status) + (said.empty() ? "" : ": " + words_of(said));
}

}  // namespace

bool is_retryable(int status) { return status == 429 || status == 502 || status == 503 || status == 504; }

std::optional<std::chrono::seconds> parse_retry_after(const std::string& text, std::int64_t wall_seconds) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return std::nullopt;
  const std::string value = text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
  if (value.find_first_not_of("0123456789") == std::string::npos) {
    constexpr std::size_t kDigitsMax = 9;  // beyond 30 years
    return std::chrono::seconds(std::stoll(value.substr(0, kDigitsMax)));
  }
  for (const char* form :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"}) {
    std::tm parts{};
    const char* end = strptime(value.c_str(), form, &parts);
    if (end == nullptr || *end != '\0') continue;
    return std::chrono::seconds(std::max<std::int64_t>(0, timegm(&parts) - wall_seconds));
  }
  return std::nullopt;
}

Destination::Destination(std::string name, DestinationLimits limits, std::uint64_t seed)
    : name_(std::move(name)), limits_(limits), random_state_(seed) {}

std::vector<Parcel> Destination::offer(Parcel parcel) {
  bytes_ += parcel.request.bytes.size();
  if (parcel.number == 0) ++unspilled_;
  entries_.push_back({++last_id_, std::move(parcel)});
  std::vector<Parcel> overflow;
  for (auto at = entries_.begin(); at != entries_.end() && bytes_ > limits_.queue_bytes;) {
    if (at->in_flight) {
      ++at;
      continue;
    }
    bytes_ -= at->parcel.request.bytes.size();
    overflow.push_back(std::move(at->parcel));
    if (at->parcel.number == 0) --unspilled_;
    at = entries_.erase(at);
  }
  return overflow;
}

std::optional<Destination::Attempt> Destination::next(Time now, Facts& facts) {
  const std::uint32_t limit = failing() ? 1 : limits_.in_flight;
  if (now < not_before_ || in_flight_ >= limit) return std::nullopt;
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return !entry.in_flight; });
  if (found == entries_.end()) return std::nullopt;
  found->in_flight = true;
  ++in_flight_;
  Parcel& parcel = found->parcel;
  if (parcel.may_have_arrived && !std::exchange(parcel.resend_told, false))
    facts.push_back(fact_of(Type::resent, parcel, parcel.request.items));
  return Attempt{found->id, &parcel.request};
}

Time Destination::next_deadline() const {
  const bool waits =
      std::any_of(entries_.begin(), entries_.end(), [](const Entry& e) { return !e.in_flight; });
  const std::uint32_t limit = failing() ? 1 : limits_.in_flight;
  return waits && in_flight_ < limit ? not_before_ : kNever;
}

void Destination::answer(std::uint64_t id, const Answer& answer, Time now, std::int64_t wall_seconds,
                         Facts& facts) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [id](const Entry& entry) { return entry.id == id && entry.in_flight; });
  if (found == entries_.end()) return;
  --in_flight_;
  found->in_flight = false;
  const bool whole = answer.how == Answer::How::answered;
  const bool again = whole ? is_retryable(answer.status) : answer.how != Answer::How::too_long;
  if (again) return retry(*found, answer, now, wall_seconds, facts);
  // A success whose words are too long for us is a success.
  const bool success = answer.status / 100 == 2 && (whole || answer.how == Answer::How::too_long);
  if (success) {
    taken(*found, answer, now, facts);
  } else {
    refused(*found, answer, now, facts);
  }
  if (found->parcel.number != 0) {
    facts.push_back(fact_of(Type::finished, found->parcel, 0));
    facts.back().number = found->parcel.number;
  }
  bytes_ -= found->parcel.request.bytes.size();
  if (found->parcel.number == 0) --unspilled_;
  entries_.erase(found);
}

void Destination::taken(const Entry& entry, const Answer& answer, Time now, Facts& facts) {
  const Parcel& parcel = entry.parcel;
  recovered(now, facts);
  std::string body = answer.body;
  if (answer.json) {
    auto bytes = from_json(response_message(parcel.request.signal), body);
    body = bytes ? std::move(*bytes) : std::string();
  }
  const auto partial = read_partial_success(body);
  const std::int64_t most = parcel.request.items;
  const auto rejected =
      static_cast<std::uint64_t>(partial ? std::clamp<std::int64_t>(partial->rejected, 0, most) : 0);
  const std::uint64_t exported = parcel.request.items - rejected;
  if (exported > 0) facts.push_back(fact_of(Type::exported, parcel, exported));
  if (rejected > 0) facts.push_back(fact_of(Type::rejected, parcel, rejected));
  if (!partial || (rejected == 0 && partial->message.empty())) return;
  const std::string said = partial->message.empty() ? "" : ": " + words_of(partial->message);
  warn(entry, rejected > 0 ? "rejects " + items_text(parcel, rejected) : "says", said, answer.status, now,
       facts);
}

void Destination::refused(const Entry& entry, const Answer& answer, Time now, Facts& facts) {
  const Parcel& parcel = entry.parcel;
  // It is there, and answers.
  recovered(now, facts);
  facts.push_back(fact_of(Type::rejected, parcel, parcel.request.items));
  warn(entry, "rejects " + items_text(parcel, parcel.request.items), ": " + reason_of(answer), answer.status,
       now, facts);
}

void Destination::retry(Entry& entry, const Answer& answer, Time now, std::int64_t wall_seconds,
                        Facts& facts) {
  entry.parcel.may_have_arrived = entry.parcel.may_have_arrived || answer.how == Answer::How::cut_off;
  ++failures_;
  const double doublings = std::min<double>(failures_ - 1, 30);
  const auto first = static_cast<double>(limits_.backoff_first.count());
  const double most =
      std::min(first * std::exp2(doublings), static_cast<double>(limits_.backoff_max.count()));
  Duration delay{static_cast<Duration::rep>(most * (0.5 + random() / 2))};
  if (const auto asked = parse_retry_after(answer.retry_after, wall_seconds)) {
    // Not all come at the same moment, either.
    delay = std::min<Duration>(*asked, limits_.retry_after_max) +
            Duration{static_cast<Duration::rep>(first * random())};
  }
  not_before_ = std::max(not_before_, now + delay);
  if (failures_ > 1) return;
  failing_since_ = now;
  facts.push_back(fact_of(Type::fails, entry.parcel, 0, reason_of(answer) + ", retrying"));
}

void Destination::recovered(Time now, Facts& facts) {
  if (failures_ == 0) return;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - failing_since_).count();
  facts.push_back({Type::recovers,
                   {},
                   Signal::traces,
                   0,
                   "after " + std::to_string(seconds) + " s and " + std::to_string(failures_) +
                       (failures_ == 1 ? " attempt" : " attempts")});
  failures_ = 0;
  not_before_ = now;
}

void Destination::warn(const Entry& entry, const std::string& what, const std::string& why, int status,
                       Time now, Facts& facts) {
  std::string reason = why;  // but for numbers in the words of a stranger
  std::erase_if(reason, [](char c) { return c >= '0' && c <= '9'; });
  reason += std::to_string(status);
  const bool known = reason == warned_ && warned_at_ != kNever && now - warned_at_ < limits_.tell_again;
  if (known) return;
  warned_ = reason;
  warned_at_ = now;
  facts.push_back(fact_of(Type::warns, entry.parcel, 0, name_ + " " + what + why));
}

std::vector<Parcel> Destination::take_all() {
  std::vector<Parcel> all;
  for (Entry& entry : entries_) {
    entry.parcel.may_have_arrived = entry.parcel.may_have_arrived || entry.in_flight;
    all.push_back(std::move(entry.parcel));
  }
  entries_.clear();
  unspilled_ = 0;
  bytes_ = 0;
  in_flight_ = 0;
  return all;
}

std::map<ChildKey, std::uint64_t> Destination::unspilled() const {
  std::map<ChildKey, std::uint64_t> items;
  if (unspilled_ == 0)
    return items;  // as always with a spill: asked at each save, and there may be thousands
  for (const Entry& entry : entries_) {
    if (entry.parcel.number == 0) items[entry.parcel.worker] += entry.parcel.request.items;
  }
  return items;
}

std::map<ChildKey, std::uint64_t> Destination::give_up_unspilled() {
  std::map<ChildKey, std::uint64_t> items = unspilled();
  std::erase_if(entries_, [this](const Entry& entry) {
    if (entry.parcel.number != 0) return false;
    bytes_ -= entry.parcel.request.bytes.size();
    in_flight_ -= entry.in_flight ? 1 : 0;
    return true;
  });
  unspilled_ = 0;
  return items;
}

// In [0, 1): splitmix64.
double Destination::random() {
  std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
  return static_cast<double>((z ^ (z >> 31U)) >> 11U) / static_cast<double>(1ULL << 53U);
}

}  // namespace runmain::telemetry

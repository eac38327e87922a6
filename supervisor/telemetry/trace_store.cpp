#include "telemetry/trace_store.hpp"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/identity.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kNodes = 224;  // of the containers, about
constexpr Duration kCount = std::chrono::seconds(1);
constexpr unsigned kShareMax = 20;
constexpr std::size_t kSharings = 32;   // over that the two oldest count as one, of the looser share
constexpr std::size_t kLooked = 16;     // members of a trace that are looked at one by one
constexpr std::size_t kGoneMin = 1024;  // entries of spans that are gone, which are not worth a pass

std::string random_key() {
  std::random_device device;
  std::string key;
  while (key.size() < 16) key.push_back(static_cast<char>(device()));
  return key;
}

}  // namespace

std::size_t StoredSpan::size() const {
  std::size_t all = sizeof *this + kNodes + service.capacity() + instance_id.capacity() + name.capacity() +
                    status_text.capacity() + attributes.capacity() * sizeof attributes[0];
  for (const auto& [key, value] : attributes) all += key.capacity() + value.capacity();
  return all;
}

bool TraceQuery::matches(const StoredSpan& span) const {
  return (!service || *service == span.service) && (!generation || *generation == span.worker.generation) &&
         (!duplicates || span.duplicate);
}

std::shared_ptr<void> TraceStore::on_added(std::function<void()> added) {
  std::erase_if(added_, [](const auto& one) { return one.expired(); });
  auto call = std::make_shared<std::function<void()>>(std::move(added));
  added_.push_back(call);
  return call;
}

std::size_t TraceStore::Hash::operator()(const TraceId& id) const {
  return static_cast<std::size_t>(siphash24(key, {reinterpret_cast<const char*>(id.data()), id.size()}));
}

TraceStore::TraceStore(TraceStoreLimits limits) : limits_(limits), traces_(0, Hash{random_key()}) {}

// Most traces are short: to look at each member is quicker then.
std::optional<std::uint64_t> TraceStore::Trace::first_with(std::uint64_t id) const {
  if (!by_id.empty()) {
    const auto found = by_id.find(id);
    return found == by_id.end() ? std::nullopt : std::optional(found->second);
  }
  for (const Member& member : members) {
    if (member.id == id) return member.number;
  }
  return std::nullopt;
}

void TraceStore::Trace::add(std::uint64_t number, std::uint64_t id) {
  members.push_back({number, id});
  if (members.size() == kLooked) {
    for (const Member& member : members) by_id.try_emplace(member.id, member.number);
  } else if (members.size() > kLooked) {
    by_id.try_emplace(id, number);
  }
}

void TraceStore::set_on(bool on) {
  on_ = on;
  if (on) return;
  entries_.clear();
  spans_ = 0;
  traces_.clear();
  by_age_.clear();
  bytes_ = 0;
}

void TraceStore::at(Time now) {
  if (now - counted_since_ < kCount) return;
  const std::chrono::duration<double> took = now - counted_since_;
  const std::chrono::duration<double> history = limits_.history;
  const double wanted = static_cast<double>(offered_) * (history / took);
  double room = static_cast<double>(limits_.spans);
  if (spans_ > 0) {
    const double each = static_cast<double>(bytes_) / static_cast<double>(spans_);
    room = std::min(room, static_cast<double>(limits_.bytes) / each);
  }
  share_ = 0;
  while (share_ < kShareMax && wanted > room * static_cast<double>(1U << share_)) ++share_;
  counted_since_ = now;
  offered_ = 0;
  note_share();
}

void TraceStore::note_share() {
  if (sharings_.back().share != share_) sharings_.push_back({traces_begun_, share_});
  const std::uint64_t oldest = traces_begun_ - by_age_.size();
  while (sharings_.size() > 1 && sharings_[1].first <= oldest) sharings_.pop_front();
  if (sharings_.size() > kSharings) {
    sharings_[1] = {sharings_[0].first, std::min(sharings_[0].share, sharings_[1].share)};
    sharings_.pop_front();
  }
  loosest_ = share_;
  for (const Sharing& sharing : sharings_) loosest_ = std::min(loosest_, sharing.share);
}

// A trace goes on being kept whatever the share is by now. In a flood most are left out, and few of these are
// looked for: none that would have been at any time since the oldest trace here.
bool TraceStore::is_left_out(const TraceId& id) const {
  if (share_ == 0) return false;
  const std::uint64_t hash = traces_.hash_function()(id);
  if (hash >> (64U - share_) == 0) return false;
  return (loosest_ > 0 && hash >> (64U - loosest_) != 0) || !traces_.contains(id);
}

bool TraceStore::has_room(const Trace& trace, std::size_t size) const {
  return trace.members.size() < std::max<std::size_t>(limits_.spans / 2, 1) &&
         trace.bytes + size <= limits_.bytes / 2;
}

bool TraceStore::add(const Source& source, const Item& item) {
  if (!on_ || item.signal != Signal::traces) return false;
  ++offered_;
  if (is_left_out(item.ids.trace)) {
    ++counters_.spans_left_out;
    return false;
  }
  auto decoded = decode_span(item.bytes, limits_);
  if (!decoded) return false;
  auto span = std::make_unique<StoredSpan>(std::move(*decoded));
  const std::size_t size = span->size() + source.service.size() + source.instance_id.size();
  const auto [at, is_new] = traces_.try_emplace(span->ids.trace);
  Trace& trace = at->second;
  if (!has_room(trace, size)) {
    ++counters_.spans_refused;
    if (is_new) traces_.erase(at);
    return false;
  }
  span->worker = source.worker;
  span->service = source.service;
  span->instance_id = source.instance_id;
  span->reconstructed = item.reconstructed;
  const std::uint64_t number = ++last_number_;
  if (is_new) {
    by_age_.push_back(span->ids.trace);
    ++traces_begun_;
  }
  const bool duplicate = find_duplicate(trace, number, *span);
  trace.bytes += size;
  bytes_ += size;
  entries_.push_back({number, std::move(span)});
  ++spans_;
  ++counters_.added;
  counters_.duplicates += duplicate ? 1 : 0;
  drop_over_limit();
  for (const auto& one : added_) {
    if (const auto call = one.lock()) (*call)();
  }
  return duplicate;
}

bool TraceStore::find_duplicate(Trace& trace, std::uint64_t number, StoredSpan& span) {
  std::uint64_t id = 0;
  std::memcpy(&id, span.ids.span.data(), sizeof id);
  const auto first = trace.first_with(id);
  trace.add(number, id);
  if (!first) return false;
  find(*first)->span->duplicate = span.duplicate = true;
  return true;
}

std::deque<TraceStore::Entry>::iterator TraceStore::find(std::uint64_t number) {
  return std::lower_bound(entries_.begin(), entries_.end(), number,
                          [](const Entry& entry, std::uint64_t n) { return entry.number < n; });
}

void TraceStore::drop(std::uint64_t number) {
  const auto at = entries_.front().number == number ? entries_.begin() : find(number);
  at->span.reset();
  --spans_;
  while (!entries_.empty() && !entries_.front().span) entries_.pop_front();
}

void TraceStore::drop_over_limit() {
  while ((bytes_ > limits_.bytes || spans_ > limits_.spans) && by_age_.size() > 1) {
    const auto oldest = traces_.find(by_age_.front());
    for (const Trace::Member& member : oldest->second.members) drop(member.number);
    counters_.spans_gone += oldest->second.members.size();
    ++counters_.traces_gone;
    bytes_ -= oldest->second.bytes;
    traces_.erase(oldest);
    by_age_.pop_front();
  }
  if (entries_.size() > 2 * spans_ + kGoneMin) {
    std::erase_if(entries_, [](const Entry& entry) { return !entry.span; });
  }
}

std::optional<std::pair<std::uint64_t, const StoredSpan*>> TraceStore::next(std::uint64_t after,
                                                                            const TraceQuery& query) const {
  auto at = std::upper_bound(entries_.begin(), entries_.end(), after,
                             [](std::uint64_t n, const Entry& entry) { return n < entry.number; });
  for (; at != entries_.end(); ++at) {
    if (at->span && query.matches(*at->span)) return std::pair{at->number, at->span.get()};
  }
  return std::nullopt;
}

}  // namespace runmain::telemetry

#include "telemetry/trace_store.hpp"

#include <algorithm>
#include <cstring>

namespace runmain::telemetry {
namespace {

constexpr std::size_t kNodes = 224;  // of the maps, about

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

void TraceStore::set_on(bool on) {
  on_ = on;
  if (on) return;
  spans_.clear();
  traces_.clear();
  by_age_.clear();
  bytes_ = 0;
}

bool TraceStore::add(const Source& source, const Item& item) {
  if (!on_ || item.signal != Signal::traces) return false;
  auto span = decode_span(item.bytes, limits_);
  if (!span) return false;
  const TraceId id = span->ids.trace;
  const auto known = traces_.find(id);
  const std::size_t size = span->size() + source.service.size() + source.instance_id.size();
  const bool too_long = known != traces_.end() &&
                        (known->second.numbers.size() >= std::max<std::size_t>(limits_.spans / 2, 1) ||
                         known->second.bytes + size > limits_.bytes / 2);
  if (too_long || size > limits_.bytes / 2) {
    ++counters_.spans_refused;
    return false;
  }
  span->worker = source.worker;
  span->service = source.service;
  span->instance_id = source.instance_id;
  span->reconstructed = item.reconstructed;
  const std::uint64_t number = ++last_number_;
  Trace& trace = known != traces_.end() ? known->second : traces_[id];
  if (trace.numbers.empty()) {
    trace.first = number;
    by_age_[number] = id;
  }
  const bool duplicate = find_duplicate(trace, number, *span);
  trace.numbers.push_back(number);
  trace.bytes += size;
  bytes_ += size;
  spans_.emplace(number, std::move(*span));
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
  const auto [first, is_new] = trace.by_id.try_emplace(id, number);
  if (is_new) return false;
  spans_.at(first->second).duplicate = span.duplicate = true;
  return true;
}

void TraceStore::drop_over_limit() {
  while ((bytes_ > limits_.bytes || spans_.size() > limits_.spans) && by_age_.size() > 1) {
    const auto oldest = traces_.find(by_age_.begin()->second);
    for (const std::uint64_t number : oldest->second.numbers) spans_.erase(number);
    counters_.spans_gone += oldest->second.numbers.size();
    ++counters_.traces_gone;
    bytes_ -= oldest->second.bytes;
    traces_.erase(oldest);
    by_age_.erase(by_age_.begin());
  }
}

std::optional<std::pair<std::uint64_t, const StoredSpan*>> TraceStore::next(std::uint64_t after,
                                                                            const TraceQuery& query) const {
  for (auto at = spans_.upper_bound(after); at != spans_.end(); ++at) {
    if (query.matches(at->second)) return std::pair{at->first, &at->second};
  }
  return std::nullopt;
}

}  // namespace runmain::telemetry

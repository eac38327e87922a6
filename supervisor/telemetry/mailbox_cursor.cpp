#include "telemetry/mailbox_cursor.hpp"

#include <algorithm>

namespace runmain::telemetry {
namespace {

void raise(std::uint64_t& seen, std::uint64_t now) { seen = std::max(seen, std::min(now, kCounterMax)); }

void sum(std::uint64_t& to, std::uint64_t more) {
  to = std::min(to + std::min(more, kCounterMax), kCounterMax);
}

// The same for each counter of two.
template <class F>
void each(LaneCounters& to, const LaneCounters& from, F&& apply) {
  apply(to.started, from.started);
  apply(to.ended, from.ended);
  apply(to.not_sampled, from.not_sampled);
  apply(to.cut, from.cut);
  apply(to.dictionary_full, from.dictionary_full);
  apply(to.open_full, from.open_full);
  for (std::size_t i = 0; i < to.lost.size(); ++i) apply(to.lost[i], from.lost[i]);
}

}  // namespace

std::uint64_t LaneCounters::lost_all() const {
  std::uint64_t all = 0;
  for (const std::uint64_t n : lost) sum(all, n);
  return all;
}

void LaneCounters::merge(const LaneCounters& now) { each(*this, now, raise); }

void LaneCounters::add(const LaneCounters& other) { each(*this, other, sum); }

bool LaneCounters::within_a_step(const LaneCounters& now) const {
  bool all = true;
  LaneCounters before = *this;
  each(before, now, [&all](std::uint64_t seen, std::uint64_t then) {
    all = all && (then <= seen || then - seen <= kCounterStepMax);
  });
  return all;
}

LaneCounters LaneCursor::believed() const {
  LaneCounters all = counters;
  if (!unlikely) return all;
  all.ended = std::max(all.ended, spans + all.lost_all());
  all.started = std::max(all.started, all.ended);
  return all;
}

}  // namespace runmain::telemetry

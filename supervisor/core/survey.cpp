#include "core/survey.hpp"

#include <algorithm>
#include <array>

namespace runmain::core {

namespace {

// Counts different generations; beyond its room each counts.
class Generations {
 public:
  void add(std::uint32_t generation) {
    const auto end = seen_.begin() + static_cast<std::ptrdiff_t>(kept_);
    if (std::find(seen_.begin(), end, generation) != end) return;
    if (kept_ < seen_.size()) seen_[kept_++] = generation;
    ++count_;
  }
  std::uint32_t count() const { return count_; }

 private:
  std::array<std::uint32_t, kLingeringMax + 2> seen_{};
  std::size_t kept_ = 0;
  std::uint32_t count_ = 0;
};

std::uint8_t marks_of(const ServiceRecord& r, const Instance& i) {
  const bool current = i.key.generation == r.current;
  const bool next = r.next != 0 && i.key.generation == r.next;
  const bool ready = i.phase == WorkerState::ready;
  // What is only swept yet makes way for a replacement, unless two could fight for one port.
  const bool occupies = (i.living() || !r.overlaps()) && !i.leaving;
  std::uint8_t mark = 0;
  if (current && occupies) mark |= kOccupied;
  if (next && occupies) mark |= kNextOccupied;
  const bool there = i.living() || !r.overlaps();
  if (!next && there) mark |= kOldLiving;
  if (!next && !current && there) mark |= kOtherLiving;
  if (ready) mark |= i.leaving ? kReadyOther : current ? kReadyCurrent : next ? kReadyNext : kReadyOther;
  return mark;
}

}  // namespace

Survey survey(const ServiceRecord& r, std::vector<std::uint8_t>& marks) {
  Survey seen;
  const std::uint32_t workers = r.workers();
  marks.assign(workers, 0);
  Generations others;
  for (const Instance& i : r.instances) {
    if (i.key.is_build()) {
      seen.build = true;
      seen.build_living |= i.living();
    }
    if (!i.key.is_worker()) continue;
    const bool current = i.key.generation == r.current;
    const bool ready = i.phase == WorkerState::ready;
    seen.workers = true;
    seen.stays |= current && !i.leaving;
    seen.current_ready |= current && ready;
    seen.any_ready |= ready;
    if (!current) {
      others.add(i.key.generation);
      seen.newest_other = std::max(seen.newest_other, i.key.generation);
    }
    if (i.key.slot < workers) marks[i.key.slot] |= marks_of(r, i);
  }
  seen.others = others.count();
  bool waits = false;
  for (std::uint32_t slot = 0; slot < workers; ++slot) {
    const bool failed = r.slots[slot].current.failed;
    const bool done = r.slots[slot].current.done && !failed;
    seen.full_current += done || (marks[slot] & kReadyCurrent) != 0 ? 1 : 0;
    seen.full += done || (marks[slot] & kServes) != 0 ? 1 : 0;
    waits |= !r.slots[slot].current.done;
  }
  seen.serves = seen.full > 0 || !waits;
  return seen;
}

Time deadline_of(const State& s, const ServiceRecord& r, const Survey& seen,
                 const std::vector<std::uint8_t>& marks) {
  Time least = std::min({r.window_end, r.room_deadline, r.course.hold_until, r.look_at, r.probe_at});
  for (const Instance& i : r.instances) {
    least = std::min({least, i.deadline, i.watchdog_at, i.step_at, i.frozen_until, i.recycle_at, i.replace_at,
                      i.doubt_until});
  }
  each_vacancy(s, r, seen, marks, [&](std::uint32_t slot, std::uint32_t generation) {
    const Slot& it = r.slots[slot];
    least = std::min(least, (generation == r.current ? it.current : it.next).retry_at);
  });
  return up(s, r) && waits_for_build(r, seen) ? std::min(least, r.build_retry_at) : least;
}

ServiceState state_of(const State& s, const ServiceRecord& r, const Survey& seen,
                      const std::vector<std::uint8_t>& marks) {
  if (r.run == RunState::failed) return ServiceState::failed;
  if (r.run == RunState::done) return ServiceState::done;
  if (!up(s, r)) return r.instances.empty() ? ServiceState::stopped : ServiceState::stopping;
  if (r.run == RunState::idle) {
    if (r.roll == Roll::build) return ServiceState::building;
    const bool leftovers = r.roll == Roll::launch ? seen.workers : !r.instances.empty();
    return leftovers ? ServiceState::stopping : ServiceState::waiting;
  }
  const bool renewing = r.next != 0 || r.roll != Roll::none || r.due || r.reload_open;
  if (seen.full == r.workers()) return renewing ? ServiceState::reloading : ServiceState::ready;
  if ((seen.current_ready || r.in_gradual_roll()) && (r.next != 0 || r.roll != Roll::none))
    return ServiceState::reloading;
  if (r.roll == Roll::build) return ServiceState::building;
  bool backoff = std::any_of(r.slots.begin(), r.slots.begin() + r.workers(),
                             [](const Slot& slot) { return slot.current.failed; });
  each_vacancy(s, r, seen, marks, [&](std::uint32_t slot, std::uint32_t generation) {
    backoff |= generation == r.current && r.slots[slot].current.retry_at > s.now;
  });
  return backoff ? ServiceState::backoff : ServiceState::starting;
}

std::optional<std::uint32_t> lost_slot(const ServiceRecord& r) {
  if (r.run != RunState::running || r.next != 0 || r.roll != Roll::none || r.due) return std::nullopt;
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    if (r.slots[slot].current.failed) return slot;
  }
  return std::nullopt;
}

bool is_blocked(const State& s, const ServiceRecord& r) {
  if (!up(s, r) || r.run != RunState::idle || r.roll == Roll::build) return false;
  return std::any_of(r.needs.begin(), r.needs.end(), [&s](std::uint32_t n) {
    const ServiceRecord& need = s.services[n];
    return !need.wanted || (need.bits & (1U << kFailed | 1U << kBlocked | 1U << kShort)) != 0;
  });
}

std::uint32_t bits_of(const State& s, const ServiceRecord& r, const Survey& seen) {
  const bool blocked = is_blocked(s, r);
  const bool failed = r.configured && r.run == RunState::failed;
  const bool watch = r.configured && r.spec.watch.has_value() && !(failed && r.spec.end_on_failure);
  std::uint32_t bits = 0;
  const auto set = [&bits](Tally t, bool on) { bits |= on ? 1U << t : 0U; };
  set(kWanted, r.wanted);
  set(kUnsatisfied, r.wanted && !is_satisfied(r, seen));
  set(kActive, r.wanted && !blocked && (r.run == RunState::idle || r.run == RunState::running));
  set(kAlive, !r.instances.empty());
  set(kFailed, failed);
  set(kWatch, watch);
  set(kWatchFailed, failed && watch);
  set(kUserStopped, r.configured && r.user_stopped);
  set(kShort, up(s, r) && lost_slot(r).has_value());
  set(kBlocked, blocked);
  return bits;
}

}  // namespace runmain::core

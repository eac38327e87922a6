#include "core/survey.hpp"

#include <algorithm>

namespace runmain::core {

Survey survey(const ServiceRecord& r, std::vector<std::uint8_t>& marks) {
  Survey seen;
  const std::uint32_t workers = r.workers();
  marks.assign(workers, 0);
  for (const Instance& i : r.instances) {
    if (i.key.is_build()) {
      seen.build = true;
      seen.build_living |= i.living();
      continue;
    }
    seen.workers = true;
    const bool current = i.key.generation == r.current;
    const bool ready = i.phase == WorkerState::ready;
    seen.others |= !current;
    seen.current_ready |= current && ready;
    if (i.key.slot >= workers) continue;
    std::uint8_t& mark = marks[i.key.slot];
    // What is only swept yet makes way for a replacement, unless two could fight for one port.
    const bool occupies = i.living() || !r.overlaps();
    if (current && occupies) mark |= kOccupied;
    if (r.next != 0 && i.key.generation == r.next && occupies) mark |= kNextOccupied;
    if (ready) mark |= current ? kReadyCurrent : kReadyOther;
  }
  for (std::uint32_t slot = 0; slot < workers; ++slot) {
    const bool settled = r.slots[slot].current.done || (marks[slot] & kReadyCurrent) != 0;
    seen.full_current += settled ? 1 : 0;
    seen.full += settled || (marks[slot] & kReadyOther) != 0 ? 1 : 0;
  }
  return seen;
}

Time deadline_of(const State& s, const ServiceRecord& r, const Survey& seen,
                 const std::vector<std::uint8_t>& marks) {
  Time least = r.window_end;
  for (const Instance& i : r.instances) least = std::min({least, i.deadline, i.watchdog_at});
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
  if (seen.current_ready && (r.next != 0 || r.roll != Roll::none)) return ServiceState::reloading;
  if (r.roll == Roll::build) return ServiceState::building;
  bool backoff = false;
  each_vacancy(s, r, seen, marks, [&](std::uint32_t slot, std::uint32_t generation) {
    backoff |= generation == r.current && r.slots[slot].current.retry_at > s.now;
  });
  return backoff ? ServiceState::backoff : ServiceState::starting;
}

bool is_blocked(const State& s, const ServiceRecord& r) {
  if (!up(s, r) || r.run != RunState::idle || r.roll == Roll::build) return false;
  return std::any_of(r.needs.begin(), r.needs.end(), [&s](std::uint32_t n) {
    const ServiceRecord& need = s.services[n];
    return !need.wanted || (need.bits & (1U << kFailed | 1U << kBlocked)) != 0;
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
  set(kBlocked, blocked);
  return bits;
}

}  // namespace runmain::core

// The state as others see it.
#include "core/snapshot.hpp"

#include <algorithm>

#include "core/survey.hpp"

namespace runmain::core {
namespace {

WorkerView view_of(const Instance& i) {
  WorkerView v;
  v.key = i.key;
  v.pid = i.pid;
  v.state = i.phase;
  v.proof = i.proof;
  v.since = i.since;
  v.status_text = i.status_text;
  v.drained = i.drained;
  v.leaving = i.leaving;
  v.frozen = i.frozen;
  v.unwell = i.unwell;
  return v;
}

std::vector<Fact> history_of(const ServiceRecord& r) {
  std::vector<Fact> facts;
  facts.reserve(r.history.size());
  for (std::size_t n = 0; n < r.history.size(); ++n) {
    facts.push_back(r.history[(r.history_at + n) % r.history.size()]);
  }
  return facts;
}

ServiceView view_of(const State& s, const ServiceRecord& r, std::vector<std::uint8_t>& marks) {
  ServiceView v;
  v.id = r.id;
  v.name = r.spec.name;
  v.state = r.state;
  v.generation = r.proven != 0    ? r.proven
                 : r.current != 0 ? r.current
                                  : r.counter + (r.roll != Roll::none ? 1 : 0);
  v.restarts = r.restarts;
  v.reloads = r.reloads;
  for (const Slot& slot : r.slots) v.unhealthy = std::max(v.unhealthy, slot.current.unhealthy);
  v.since = r.since;
  v.reason = r.reason;
  for (const Instance& i : r.instances) v.workers.push_back(view_of(i));
  const Survey seen = survey(r, marks);
  v.wanted_workers = r.workers();
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    v.serving_workers += (marks[slot] & kServes) != 0 ? 1 : 0;
    v.done_workers += r.slots[slot].current.done && !r.slots[slot].current.failed ? 1 : 0;
  }
  if (r.in_gradual_roll()) {
    v.rolling_to = r.next;
    for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
      v.rolled += r.had_turn(slot) && (marks[slot] & kReadyNext) != 0 ? 1 : 0;
    }
  }
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    if (!r.slots[slot].current.failed) continue;
    WorkerView& w = v.workers.emplace_back();
    w.key = ChildKey{r.id, slot, r.current, r.slots[slot].current.attempt};
    w.state = WorkerState::failed;
    w.since = r.slots[slot].current.since;
  }
  each_vacancy(s, r, seen, marks, [&](std::uint32_t slot, std::uint32_t generation) {
    const SlotRun& run = generation == r.current ? r.slots[slot].current : r.slots[slot].next;
    if (run.retry_at <= s.now) return;
    WorkerView& w = v.workers.emplace_back();
    w.key = ChildKey{r.id, slot, generation, run.attempt};
    w.state = WorkerState::backoff;
    w.since = run.since;
    v.retry_at = std::min(v.retry_at, run.retry_at);
  });
  std::sort(v.workers.begin(), v.workers.end(),
            [](const WorkerView& a, const WorkerView& b) { return a.key < b.key; });
  v.history = history_of(r);
  return v;
}

}  // namespace

Snapshot view(const State& state) {
  Snapshot snapshot;
  snapshot.mode = state.mode;
  snapshot.shutting_down = state.shutting_down;
  snapshot.upgrading = state.upgrading;
  snapshot.upgrade_error = state.upgrade_error;
  snapshot.upgrades = state.upgrades;
  snapshot.events = state.events;
  std::vector<std::uint8_t> marks;
  for (const ServiceRecord& r : state.services) {
    if (r.configured || !r.instances.empty()) snapshot.services.push_back(view_of(state, r, marks));
  }
  return snapshot;
}

}  // namespace runmain::core

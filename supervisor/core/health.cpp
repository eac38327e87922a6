// Workers that hang or are not well: seen, told, and in the end replaced. A replacement does not wait for the
// end of one that hangs, unless the two would want one port.
#include <algorithm>
#include <utility>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {

// A ready worker's health and age, as the specification says now.
void Engine::look_after(ServiceRecord& r, Instance& i) {
  set_limits(r, i);
  watch(r, i, r.in_gradual_roll() && i.key.generation == r.next);
}

void Engine::watch(const ServiceRecord& r, Instance& i, bool closely) {
  if (std::exchange(i.watched, false)) push(StopWatching{i.key});
  i.watched = r.spec.health.kind == HealthKind::http || r.spec.health.kind == HealthKind::tcp ||
              r.spec.recycle.memory > 0;
  if (i.watched) push(WatchHealth{i.key, closely});
}

void Engine::operator()(const Frozen& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || !i->key.is_worker() || !i->works()) return;
  touch(*r);
  i->frozen = e.on;
  if (!e.on) {
    i->frozen_until = kNever;
    return;
  }
  const Duration limit = r->spec.hang.stopped;
  tell(*r, *i, FactType::child_frozen, to_ms(limit));
  if (limit > Duration::zero() && i->frozen_until == kNever) i->frozen_until = later(now_, limit);
}

void Engine::operator()(const Looked& e) {
  const auto [r, i] = find(e.key);
  if (i != nullptr) looked(*r, *i, e);
}

void Engine::looked(ServiceRecord& r, Instance& i, const Looked& e) {
  if (i.phase != WorkerState::ready || i.at_terminal) return;
  touch(r);
  if (e.well) {
    i.unwell = 0;
    i.seen_well = true;
    return;
  }
  if (e.stall == Stall::starved) return tell(r, i, FactType::child_starved, 0, e.text);
  i.unwell = std::min(i.unwell + 1, kCountMax);
  tell(r, i, FactType::child_unwell, i.unwell, e.text);
  if (i.unwell < r.spec.health.failures) return;
  const Duration since = r.spec.health.interval * (i.unwell - 1) + r.spec.health.timeout;
  hung(r, i, to_ms(since), e.text.empty() ? "not well" : e.text);
}

// The hook may look at it first; its slot gets another one at once.
void Engine::hung(ServiceRecord& r, Instance& i, std::int64_t for_ms, const std::string& how) {
  touch(r);
  tell(r, i, FactType::child_hung, for_ms, how);
  const bool of_next = r.next != 0 && i.key.generation == r.next;
  const bool in_slot = r.run == RunState::running && i.key.slot < r.workers() && !of_next &&
                       i.key.generation == r.current && !i.leaving;
  const bool awaits = r.spec.await_change && r.proven != r.current;
  if (in_slot && r.overlaps() && r.spec.restart != RestartPolicy::never && !awaits) {
    crashed(r, i, how);  // otherwise that is told of its end
    i.leaving = true;
  }
  i.why = EndWhy::hung;
  stop_looking(i);
  leave_terminal(i);
  const bool looks = std::any_of(r.instances.begin(), r.instances.end(),
                                 [](const Instance& other) { return other.key.is_hook(); });
  if (r.spec.hang.hook && !looks && !s_.shutting_down) {
    enter(i, WorkerState::hung);
    i.deadline = later(now_, r.spec.hang.hook_timeout);
    spawn_helper(r, kHookSlot, Instance(i));
  } else {
    kill_tree(r, i);
  }
  if (of_next) abort_next(r, how);
}

// Requires that `about` is no reference into r.instances.
void Engine::spawn_helper(ServiceRecord& r, std::uint32_t slot, const Instance& about) {
  Instance helper;
  helper.key = ChildKey{r.id, slot, about.key.generation, ++r.helper_attempt};
  helper.since = now_;
  helper.about = about.key;
  push(Spawn{helper.key, Reason::start, about.key, about.pid});
  r.instances.push_back(std::move(helper));
}

// One look after the other, so that each ready worker has one in every interval. A roll that is held waits
// for those at its new workers: they come first, and soon.
void Engine::look_by_command(ServiceRecord& r) {
  if (r.spec.health.kind != HealthKind::exec) {
    r.look_at = kNever;
    return;
  }
  std::int64_t ready = 0;
  const Instance* next = nullptr;
  bool busy = false;
  const bool held = r.in_gradual_roll() && r.course.hold_until != kNever;
  for (const Instance& i : r.instances) {
    busy |= i.key.is_look();
    if (!up(r) || !i.key.is_worker() || i.phase != WorkerState::ready) continue;
    if (held && i.key.generation != r.next) continue;
    ++ready;
    const auto far = [&](const Instance& it) { return std::pair(it.key.slot < r.look_slot, it.key); };
    if (next == nullptr || far(i) < far(*next)) next = &i;
  }
  if (next == nullptr || busy) {
    r.look_at = kNever;
    return;
  }
  const Duration interval = r.spec.health.interval;
  const Time at = later(now_, (held ? std::min<Duration>(interval, kCloseLooks) : interval) / ready);
  if (r.look_at == kNever || (held && r.look_at > at)) r.look_at = at;
  if (r.look_at > now_) return;
  r.look_at = kNever;
  r.look_slot = next->key.slot + 1;
  spawn_helper(r, kLookSlot, Instance(*next));
}

// A hook has had its look: the worker's turn is over. A look has told how its worker is.
void Engine::helper_ended(ServiceRecord& r, const Instance& helper, const End& end, std::int64_t number) {
  touch(r);
  if (helper.key.is_probe()) return probe_ended(r, helper, end);
  const auto [same, about] = find(helper.about);
  if (about == nullptr) return;
  if (helper.key.is_hook()) {
    if (about->phase == WorkerState::hung) kill_tree(r, *about);
    return;
  }
  if (helper.why == EndWhy::stop || !up(r)) return;
  Looked seen;
  seen.key = helper.about;
  seen.well = end.clean;
  const bool cut = number == -1 || helper.phase == WorkerState::killing;
  if (helper.phase == WorkerState::spawning) return;  // a look that could not be had says nothing
  seen.text = cut ? "the look took too long" : "the look " + end.how;
  looked(*same, *about, seen);
}

}  // namespace runmain::core

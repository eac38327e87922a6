// Workers that hang or are not well: seen, told, and in the end replaced. A replacement does not wait for the
// end of one that hangs, unless the two would want one port. One that answers that it is not well is no such
// one: it is replaced as one that is recycled.
#include <algorithm>
#include <csignal>
#include <utility>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {
namespace {

// As the hook is told: what it does, or, where that cannot be seen, what it was noticed by.
std::string kind_of(const Instance& i) {
  if (i.stall != Stall::unknown && i.stall != Stall::starved) return name_of(i.stall);
  return i.why == EndWhy::watchdog ? "watchdog" : i.why == EndWhy::not_ready ? "not_ready" : "health";
}

}  // namespace

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

// ---- what speaks against a worker, and whether it is believed
// ------------------------------------------------------------------------------------------------

// That nothing came from a worker is no verdict: perhaps it has had no CPU. It is looked at from outside
// first.
void Engine::doubt(ServiceRecord& r, Instance& i, Doubt what) {
  touch(r);
  if (i.doubts == 0) {
    i.doubt_until = later(now_, kStallTimeout);
    push(Examine{i.key});
  }
  i.doubts = static_cast<std::uint8_t>(i.doubts | what);
}

// This does not speak against it any more. An answer that comes for nothing is ignored.
void Engine::believe(Instance& i, Doubt what) {
  i.doubts = static_cast<std::uint8_t>(i.doubts & ~what);
  if (what == kDoubtLook) i.doubted.reset();
  if (i.doubts == 0) i.doubt_until = kNever;
}

void Engine::operator()(const Looked& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr) return;
  if (e.asked) return examined(*r, e.key, e);
  looked(*r, *i, e, now_);
}

// Each step may add helpers, and that moves the instances.
void Engine::examined(ServiceRecord& r, const ChildKey& key, const Looked& seen) {
  Instance* i = find(key).second;
  if (i == nullptr || i->doubts == 0) return;
  touch(r);
  const std::uint8_t doubts = std::exchange(i->doubts, std::uint8_t{0});
  std::optional<Looked> look = std::exchange(i->doubted, std::nullopt);
  // The time that it took to find out is none in which it was well.
  const Time at = std::max(i->ready_at, std::exchange(i->doubt_until, kNever) - kStallTimeout);
  if ((doubts & kDoubtBeat) != 0) beat_missed(r, *i, seen);
  i = find(key).second;
  if ((doubts & kDoubtReady) != 0 && i->phase == WorkerState::starting) start_is_late(r, *i, seen);
  if (!look) return;
  look->stall = seen.stall;
  if (seen.stall == Stall::starved) look->text = seen.text;
  looked(r, *find(key).second, *look, at);
}

// Who had no CPU, or of whom nothing could be found out, has another period; but not for ever, unless it gets
// no CPU at all.
void Engine::beat_missed(ServiceRecord& r, Instance& i, const Looked& seen) {
  const bool starved = seen.stall == Stall::starved;
  const bool unseen = !seen.asked;
  const bool counts = unseen || (starved && seen.cpu > Duration::zero());
  i.beats_missed += counts ? 1 : 0;
  if (seen.well || ((starved || unseen) && i.beats_missed < kBeatsMissedMax)) {
    i.watchdog_at = later(now_, i.watchdog);
    if (starved) tell(r, i, FactType::child_starved, 0, seen.text);
    return;
  }
  tell(r, i, FactType::child_watchdog_missed, to_ms(i.watchdog));
  const std::string how = "no WATCHDOG=1" + (seen.text.empty() ? "" : ": " + seen.text);
  hung(r, i, {EndWhy::watchdog, seen.stall, to_ms(i.watchdog) * (i.beats_missed + 1), how});
}

// A start or a look by command has had its time. Who had no CPU has another one, but not for ever; who is in
// a debugger's hand has.
void Engine::start_is_late(ServiceRecord& r, Instance& i, const Looked& seen) {
  const bool starved = seen.stall == Stall::starved;
  i.beats_missed += starved && seen.cpu > Duration::zero() ? 1 : 0;
  if (seen.well || (starved && i.beats_missed < kBeatsMissedMax)) {
    const bool worker = i.key.is_worker();
    i.deadline = later(now_, worker ? r.spec_of(i.key.generation).ready.timeout : r.spec.health.timeout);
    if (starved && worker) tell(r, i, FactType::child_starved, 0, seen.text);
    return;
  }
  if (i.key.is_worker()) return not_ready(r, i, seen);
  kill_tree(r, i);
}

void Engine::looked(ServiceRecord& r, Instance& i, const Looked& e, Time at) {
  if (i.phase != WorkerState::ready) return;
  touch(r);
  if (e.well) {
    i.seen_well = true;
    i.seen_starved = false;
    return recovered(i);
  }
  if (i.at_terminal) return;
  i.seen_starved = e.stall == Stall::starved;
  if (e.stall == Stall::starved) return tell(r, i, FactType::child_starved, 0, e.text);
  if (i.unwell == 0) i.unwell_since = at;
  i.unwell = std::min(i.unwell + 1, kCountMax);
  tell(r, i, FactType::child_unwell, i.unwell, e.text);
  if (i.unwell < r.spec.health.failures) return;
  const std::string text = e.text.empty() ? "not well" : e.text;
  if (e.answered) return answered_unwell(r, i, text);
  const Duration since = r.spec.health.interval * (i.unwell - 1) + r.spec.health.timeout;
  hung(r, i, {EndWhy::hung, e.stall, to_ms(since), text});
}

// What it was to be replaced for is over, if it has not begun.
void Engine::recovered(Instance& i) {
  i.unwell = 0;
  if (!i.unwell_due || i.leaving) return;
  i.unwell_due = false;
  i.replace_at = kNever;
}

// It lives and says so. It is replaced as one that is recycled, and serves until then; but as after a death
// the next one waits, so that workers that can do nothing for it (a database is away) do not come and go all
// the time.
void Engine::answered_unwell(ServiceRecord& r, Instance& i, const std::string& text) {
  if (r.run != RunState::running || i.leaving || i.unwell_due) return;
  touch(r);
  if (r.next != 0 && i.key.generation == r.next) {
    tell(r, i, FactType::child_replaced, 0, text);
    return abort_next(r, "is not well: " + text);
  }
  if (i.key.generation != r.current || i.key.slot >= r.workers()) return;  // it goes anyway
  if (r.spec.restart == RestartPolicy::never) {
    i.why = EndWhy::hung;
    tell(r, i, FactType::child_replaced, 0, text);
    return begin_drain(r, i, r.spec.stop.signal, r.spec.stop.group);
  }
  // Its first look came an interval after its start, and a good one is not told.
  const bool healthy = i.unwell_since - i.ready_at >= r.spec.backoff.reset + r.spec.health.interval;
  const Duration wait = count_death(r, r.slots[i.key.slot].current, healthy);
  i.unwell_due = true;
  i.replace_at = wait == Duration::zero() ? kNever : later(now_, wait);
  tell(r, i, FactType::child_replaced, to_ms(wait), text);
}

// ---- those that hang
// ------------------------------------------------------------------------------------------------

// The hook may look at it first; its slot gets another one at once.
void Engine::hung(ServiceRecord& r, Instance& i, Hang hang) {
  touch(r);
  const bool of_next = r.next != 0 && i.key.generation == r.next;
  i.why = hang.why;
  i.stall = hang.stall;
  std::string told = hang.how;
  if (r.spec.hang.hook && !may_hook(r))
    told += "; on_hang is left out, " + std::to_string(kHooksMax) + " run";
  tell(r, i, FactType::child_hung, hang.for_ms, std::move(told));
  const bool in_slot = r.run == RunState::running && i.key.slot < r.workers() && !of_next &&
                       i.key.generation == r.current && !i.leaving;
  const bool awaits = r.spec.await_change && r.proven != r.current;
  if (in_slot && r.overlaps() && r.spec.restart != RestartPolicy::never && !awaits) {
    crashed(r, i, hang.how);  // otherwise that is told of its end
    i.leaving = true;
  }
  end_by_hook(r, i);
  if (of_next) abort_next(r, hang.how);
}

bool Engine::may_hook(const ServiceRecord& r) {
  const auto hooks = std::count_if(r.instances.begin(), r.instances.end(),
                                   [](const Instance& i) { return i.key.is_hook() && i.living(); });
  return hooks < static_cast<std::ptrdiff_t>(kHooksMax);
}

void Engine::end_by_hook(ServiceRecord& r, Instance& i) {
  stop_looking(i);
  leave_terminal(i);
  if (!r.spec.hang.hook || !up(r) || !may_hook(r)) return end_hung(r, i);
  enter(i, WorkerState::hung);
  i.deadline = later(now_, r.spec.hang.hook_timeout);
  spawn_helper(r, kHookSlot, Instance(i));
}

// A start that takes too long may be on its way still, and is asked to go. Whose watchdog was not fed is told
// so, as systemd does it: it may leave a core or a trace.
void Engine::end_hung(ServiceRecord& r, Instance& i) {
  touch(r);
  if (s_.forced) return kill_tree(r, i);
  if (i.why == EndWhy::not_ready) return begin_drain(r, i, r.spec.stop.signal, r.spec.stop.group);
  if (i.why == EndWhy::watchdog && i.stall != Stall::stopped) return begin_drain(r, i, SIGABRT, false);
  kill_tree(r, i);
}

// Requires that `about` is no reference into r.instances.
void Engine::spawn_helper(ServiceRecord& r, std::uint32_t slot, const Instance& about) {
  Instance helper;
  helper.key = ChildKey{r.id, slot, about.key.generation, ++r.helper_attempt};
  helper.since = now_;
  helper.about = about.key;
  push(Spawn{helper.key, Reason::start, about.key, about.pid, helper.key.is_hook() ? kind_of(about) : ""});
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
    if (about->phase == WorkerState::hung) end_hung(r, *about);
    return;
  }
  if (helper.why == EndWhy::stop || !up(r)) return;
  Looked seen;
  seen.key = helper.about;
  seen.well = end.clean;
  const bool cut = number == -1 || helper.phase == WorkerState::killing;
  if (helper.phase == WorkerState::spawning) return;  // a look that could not be had says nothing
  if (seen.well) return looked(*same, *about, seen, now_);
  if (about->phase != WorkerState::ready || about->at_terminal) return;
  seen.answered = !cut;
  seen.text = cut ? "the look took too long" : "the look " + end.how;
  about->doubted = std::move(seen);
  doubt(*same, *about, kDoubtLook);
}

}  // namespace runmain::core

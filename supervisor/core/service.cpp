// One service: what its state says it should have, what it has, and the difference.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {

void Engine::reconcile(ServiceRecord& r) {
  // Changes that were gathered, and nothing holds them any more.
  if (r.dirty && r.window_end == kNever && up(r) && !r.gathers()) window_ended(r);
  advance(r);
  advance_roll(r);
  recycle(r);
  succeed(r);
  stop_unwanted(r);
  fill(r);
  look_by_command(r);
  probe_by_command(r);
  distribute(r);
  close_slots(r);
  publish(r);
}

// The next step of a start or a reload, if there is one to take.
void Engine::advance(ServiceRecord& r) {
  if (!up(r) || (r.run != RunState::idle && r.run != RunState::running)) return;
  if (r.run == RunState::idle && r.roll == Roll::none) {
    if (!r.instances.empty()) return;  // leftovers of an earlier run go first
    if (!r.survivors.empty()) {
      r.due = r.due_forced = false;  // fail() would try what is due, and that is here again
      return fail(r, "could not be stopped, still alive: " + r.survivors);
    }
    if (!needs_met(r)) return;
    // Whatever was edited up to now is in what is built and started from here on.
    r.due = r.due_forced = r.dirty = false;
    r.change_since = kNever;
    r.roll = r.builds() ? Roll::build : Roll::launch;
  }
  const Survey seen = look(r);
  const bool waits = r.patient() && start_under_way(r);
  const bool begins = r.due_forced || (!r.gathers() && !waits);
  // A gradual roll comes to its end first, so that whatever is asked for meanwhile is one more.
  if (r.due && begins && !seen.build_living && !r.in_gradual_roll()) take_due(r);
  if (waits_for_build(r, seen) && r.build_retry_at <= now_) spawn_build(r);
  if (r.roll == Roll::launch) launch(r);
}

bool Engine::wants(const ServiceRecord& r, const Instance& i, const Survey& seen) {
  if (!up(r)) return false;
  if (i.key.is_build()) {
    const bool stale = r.due && (r.due_forced || (!r.gathers() && !r.patient()));
    return r.roll == Roll::build && !stale;
  }
  if (!i.key.is_worker()) return is_about_somebody(r, i);
  if (r.run != RunState::running) return false;
  const bool makes_room = r.roll == Roll::launch && !can_overlap(r, seen);
  // One too many serves on while nobody else does.
  if (i.key.slot >= r.workers()) return i.phase == WorkerState::ready && !seen.serves && !makes_room;
  if (i.leaving && i.why == EndWhy::announced) {  // it goes by itself, and in its own time
    const bool hinders = r.roll == Roll::launch && i.key.generation != r.current;
    return !(hinders && too_many_linger(r, seen));
  }
  const std::uint8_t mark = s_.slot_marks[i.key.slot];
  const bool rolls = can_roll(r, seen) || r.in_gradual_roll();
  if (r.next != 0 && i.key.generation == r.next) return true;
  if (i.key.generation == r.current && !i.leaving) {
    if (r.had_turn(i.key.slot)) return !r.course.old_first && (mark & kReadyNext) == 0;
    return r.roll != Roll::launch || can_overlap(r, seen);
  }
  // An older one, and one that is replaced, serves on until its slot has another one that is ready; where two
  // cannot be, that one waits for its end, and what is there waits for its turn in the next roll only.
  if (i.phase != WorkerState::ready || r.slots[i.key.slot].current.done) return false;
  if (!r.overlaps() && !r.in_gradual_roll()) return false;
  if (r.had_turn(i.key.slot)) return !r.course.old_first && (mark & kReadyNext) == 0;
  if ((mark & kReadyCurrent) != 0) return false;
  if (i.key.generation == r.current) return r.roll != Roll::launch || can_overlap(r, seen);
  // The next reload does not wait for an older generation, unless it takes slot by slot; and then not for
  // more of them than may linger, as their slots may never have another one that is ready.
  const bool hinders = r.roll == Roll::launch && too_many_linger(r, seen);
  if (hinders && i.key.generation < seen.newest_other) return false;
  return rolls || (r.roll != Roll::launch && r.next == 0);
}

// The worker that a hook or a look is about is still there to be looked at.
bool Engine::is_about_somebody(const ServiceRecord& r, const Instance& helper) {
  const WorkerState phase = helper.key.is_hook()    ? WorkerState::hung
                            : helper.key.is_probe() ? WorkerState::starting
                                                    : WorkerState::ready;
  return std::any_of(r.instances.begin(), r.instances.end(),
                     [&](const Instance& i) { return i.key == helper.about && i.phase == phase; });
}

void Engine::stop_unwanted(ServiceRecord& r) {
  if (r.instances.empty() || (!up(r) && !may_stop(r))) return;
  const Survey seen = look(r);
  for (Instance& i : r.instances) {
    if (wants(r, i, seen)) continue;
    // It makes room for a change; if that is withdrawn, whoever is started here instead is for that reason,
    // and not for the one that this one was started for.
    const bool counts = i.key.is_worker() && i.key.generation == r.current && i.key.slot < r.workers();
    const bool there = i.works() || (i.phase == WorkerState::draining && i.why == EndWhy::announced);
    if (counts && there && !i.leaving) r.slots[i.key.slot].current.reason = Reason::change;
    stop(r, i, EndWhy::stop);
  }
}

void Engine::fill(ServiceRecord& r) {
  if (!up(r) || r.run != RunState::running) return;
  const Survey seen = look(r);
  each_vacancy(s_, r, seen, s_.slot_marks, [&](std::uint32_t slot, std::uint32_t generation) {
    Slot& it = r.slots[slot];
    SlotRun& run = generation == r.current ? it.current : it.next;
    if (run.retry_at <= now_) spawn(r, slot, generation, run);
  });
}

// A worker's end that nobody asked for, or that its failing asked for.
void Engine::worker_died(ServiceRecord& r, Instance& i, const End& end) {
  if (!up(r) || r.run != RunState::running || i.key.slot >= r.workers()) return;
  if (i.leaving) {  // its place is taken already, or is about to be
    if (i.why != EndWhy::announced || end.clean) return;
    if (i.key.generation == r.current) (void)count_death(r, r.slots[i.key.slot].current, false);
    if (r.next != 0 && i.key.generation == r.next) abort_next(r, end.how + when_in_roll(r));
    return;
  }
  const bool on_its_own = i.why == EndWhy::none || i.why == EndWhy::announced;
  const bool finished = end.clean && on_its_own && r.spec.restart != RestartPolicy::always;
  // One that is to run for ever, and ends with success as it has announced, or after it has served, recycles
  // itself (uvicorn --limit-max-requests). Sooner than that it is a loop, which a back-off has to slow down;
  // the time that it takes to go does not count.
  const bool announced = i.why == EndWhy::announced;
  const bool served = i.was_ready && (announced ? i.served : now_ - i.ready_at >= kWorkDone);
  const bool work_done = !finished && end.clean && on_its_own && served;
  if (r.next != 0 && i.key.generation == r.next) {
    if (work_done) return begin_anew(r, i, r.slots[i.key.slot].next, end.how);
    if (!finished) return abort_next(r, end.how + when_in_roll(r));
    r.slots[i.key.slot].next.done = true;
    return r.course.gradual ? touch(r) : commit(r);
  }
  if (i.key.generation != r.current) return;
  if (finished) return slot_done(r, i.key.slot);
  if (r.spec.restart == RestartPolicy::never || (end.final && on_its_own)) {
    SlotRun& run = r.slots[i.key.slot].current;  // it counts, should somebody try the slot again
    run.retry_at = later(now_, count_death(r, run, lived_well(r, i)));
    return slot_failed(r, i.key.slot, end.how);
  }
  if (r.spec.await_change && r.proven != r.current) return fail(r, end.how + ", waits for a change");
  if (work_done) return begin_anew(r, i, r.slots[i.key.slot].current, end.how);
  crashed(r, i, end.how);
}

// Its work is done, and its slot has another one at once.
void Engine::begin_anew(const ServiceRecord& r, const Instance& i, SlotRun& run, const std::string& how) {
  tell(r, i, FactType::child_recycled, 0, how);
  if (lived_well(r, i)) run.crashes = run.unhealthy = 0;
  run.reason = Reason::recycle;
  run.retry_at = now_;
}

bool Engine::lived_well(const ServiceRecord& r, const Instance& i) const {
  return i.was_ready && now_ - i.ready_at >= r.spec.backoff.reset;
}

void Engine::crashed(ServiceRecord& r, Instance& i, const std::string& how) {
  SlotRun& run = r.slots[i.key.slot].current;
  const bool healthy = lived_well(r, i);
  run.unhealthy = healthy ? 0 : std::min(run.unhealthy + 1, kCountMax);
  run.retry_at = later(now_, count_death(r, run, healthy));
  run.reason = Reason::crash;
  run.since = now_;
  if (!i.was_ready && r.next == 0 && r.roll == Roll::none) reload_failed(r, how + " before it was ready");
  const bool exhausted = r.spec.backoff.burst > 0 && run.unhealthy >= r.spec.backoff.burst;
  if (!exhausted) return;
  look(r);
  if ((s_.slot_marks[i.key.slot] & (kReadyOther | kReadyNext)) != 0)
    return;  // another one still serves this slot
  slot_failed(r, i.key.slot, how + ", " + std::to_string(run.unhealthy) + " times in a row");
}

// How long its slot waits for the next one, after a run that was healthy or was not.
Duration Engine::count_death(const ServiceRecord& r, SlotRun& run, bool healthy) {
  run.crashes = std::min((healthy ? 0 : run.crashes) + 1, kCountMax);
  return crash_delay(r.spec.backoff, run.crashes, s_.random);
}

// The slot stays empty until somebody asks or a newer generation comes. When that is so of all that are left,
// the service has failed.
void Engine::slot_failed(ServiceRecord& r, std::uint32_t slot, std::string why) {
  r.slots[slot].current.done = r.slots[slot].current.failed = true;
  const auto end = r.slots.begin() + r.workers();
  if (std::all_of(r.slots.begin(), end, [](const Slot& other) { return other.current.done; }))
    return fail(r, std::move(why));
  touch(r);
  if (r.next == 0 && r.roll == Roll::none) reload_failed(r, why);
  Fact fact;
  fact.type = FactType::slot_failed;
  fact.service = r.id;
  fact.slot = slot;
  fact.generation = r.current;
  fact.text = std::move(why);
  record(std::move(fact));
}

void Engine::slot_done(ServiceRecord& r, std::uint32_t slot) {
  r.slots[slot].current.done = true;
  end_if_done(r);
}

void Engine::end_if_done(ServiceRecord& r) {
  if (r.run != RunState::running) return;
  bool failed = false;
  for (std::uint32_t n = 0; n < r.workers(); ++n) {
    if (!r.slots[n].current.done) return;
    failed |= r.slots[n].current.failed;
  }
  if (failed) return fail(r, "no worker is left that could run");
  if (r.next != 0) return commit(r);
  // With a reload on its way there is more to do than this.
  r.run = r.roll != Roll::none || r.due ? RunState::idle : RunState::done;
}

// Gives up, unless a newer generation is on its way: then that one is tried.
void Engine::fail(ServiceRecord& r, std::string reason) {
  touch(r);
  r.given_up = 0;
  if (r.next != 0) return commit(r);
  if (r.roll != Roll::none || r.due) {
    r.run = RunState::idle;
    return;
  }
  r.restoring = false;
  reload_failed(r, reason);
  r.run = RunState::failed;
  r.reason = std::move(reason);
}

// Starts anew from failed or done, once leftovers are gone.
void Engine::revive(ServiceRecord& r, Reason reason) {
  idle(r);
  r.roll_reason = reason;
}

// Forgets what was going on; children become unwanted. The goal stays.
void Engine::idle(ServiceRecord& r) {
  close_window(r);
  // A stop that is still going on keeps what it could not kill.
  if (r.run != RunState::idle || r.instances.empty()) r.survivors.clear();
  r.run = RunState::idle;
  r.roll = Roll::none;
  end_roll(r);
  r.next = 0;
  r.canary_asked = 0;
  r.restoring = false;
  r.look_at = kNever;
  r.probe_at = kNever;
  r.due = r.due_forced = r.reload_open = false;
  r.change_since = kNever;
  r.given_up = 0;
  r.build_failures = 0;
  r.build_retry_at = Time{};
  r.reason.clear();
  touch(r);
}

void Engine::go_up(ServiceRecord& r) {
  const bool rests = !r.wanted || r.run == RunState::failed || r.run == RunState::done;
  r.wanted = true;
  r.user_stopped = false;
  if (rests) revive(r, Reason::start);
  touch(r);
}

void Engine::go_down(ServiceRecord& r, bool by_user) {
  touch(r);
  r.user_stopped = by_user;
  if (!r.wanted) return;
  r.wanted = false;
  idle(r);
}

void Engine::restart(ServiceRecord& r) {
  r.wanted = true;
  r.user_stopped = false;
  r.loop.forgive();
  revive(r, Reason::start);
}

// Tells what has changed, and keeps what is derived.
void Engine::publish(ServiceRecord& r) {
  if (!up(r) && r.instances.empty() && !r.survivors.empty() && r.run == RunState::idle) {
    r.run = RunState::failed;
    r.reason = "could not be stopped, still alive: " + r.survivors;
    s_.failed_exit |= s_.shutting_down;
  }
  const Survey seen = look(r);
  const bool settled = r.run == RunState::running || r.run == RunState::done;
  if (r.reload_open && settled && r.roll == Roll::none && r.next == 0 && !r.due &&
      seen.full_current == r.workers()) {
    reload_finished(r);
  }
  if (r.restoring && r.next == 0 && seen.full_current == r.workers()) {
    r.restoring = false;
    tell(r, FactType::reload_restored, r.current);
  }
  const ServiceState before = r.state;
  const ServiceState state = state_of(s_, r, seen, s_.slot_marks);
  s_.deadlines.set(r.id.value, deadline_of(s_, r, seen, s_.slot_marks));
  const std::uint32_t bits = bits_of(s_, r, seen);
  if (state != before) {
    r.state = state;
    r.since = now_;
    announce(r, before);
  } else if (state == ServiceState::waiting) {
    refresh_reason(r);
  }
  retally(r, bits);
  if (!s_.requests.empty()) resolve(r);
}

void Engine::refresh_reason(ServiceRecord& r) {
  std::string reason = waiting_reason(r);
  if (reason == r.reason) return;
  r.reason = std::move(reason);
  tell(r, FactType::service_waiting, 0, r.reason);
}

void Engine::announce(ServiceRecord& r, ServiceState before) {
  if (before == ServiceState::waiting) r.reason.clear();
  switch (r.state) {
    case ServiceState::waiting: return refresh_reason(r);
    case ServiceState::starting:
      return tell(r, FactType::service_starting, r.current, name_of(r.roll_reason));
    case ServiceState::ready:
      if (before != ServiceState::reloading) tell(r, FactType::service_ready, r.current);
      return;
    case ServiceState::stopping: return tell(r, FactType::service_stopping);
    case ServiceState::stopped: return tell(r, FactType::service_stopped);
    case ServiceState::failed: return tell(r, FactType::service_failed, 0, r.reason);
    case ServiceState::done: return tell(r, FactType::service_done);
    case ServiceState::backoff: {
      const Time until = s_.deadlines.at(r.id.value);
      // With slots that have failed for good there may be nothing to wait for.
      return tell(r, FactType::service_backoff, until == kNever ? 0 : to_ms(until - now_), r.reason);
    }
    case ServiceState::building:   // told as reload_building, with the child
    case ServiceState::reloading:  // told as reload_starting, with the generation
      return;
  }
}

void Engine::retally(ServiceRecord& r, std::uint32_t bits) {
  const std::uint32_t changed = bits ^ r.bits;
  r.bits = bits;
  for (std::uint32_t t = 0; changed != 0 && t < kTallies; ++t) {
    if ((changed >> t & 1U) != 0) s_.tally[t] += (bits >> t & 1U) != 0 ? 1U : ~0U;
  }
  if ((changed & (1U << kUnsatisfied | 1U << kWanted | 1U << kFailed | 1U << kBlocked | 1U << kShort)) != 0)
    wake_dependents(r);
  if ((changed & 1U << kAlive) != 0 && r.instances.empty()) wake_needs(r);
  if (r.close_pending && !r.configured && r.instances.empty()) {
    r.close_pending = false;
    push(CloseService{r.id, r.spec.name});
    for (Slot& slot : r.slots) slot.open = false;
    tell(r, FactType::service_removed, 0, r.spec.name);
  }
}

const char* name_of(Reason reason) {
  switch (reason) {
    case Reason::start: return "start";
    case Reason::change: return "change";
    case Reason::crash: return "crash";
    case Reason::scale: return "scale";
    case Reason::recycle: return "recycle";
  }
  return "unknown";
}

}  // namespace runmain::core

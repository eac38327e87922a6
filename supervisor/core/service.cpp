// One service: what its state says it should have, what it has, and the difference.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {

void Engine::reconcile(ServiceRecord& r) {
  // Changes that were gathered, and nothing holds them any more.
  if (r.dirty && r.window_end == kNever && up(r) && !r.gathers()) window_ended(r);
  advance(r);
  stop_unwanted(r);
  fill(r);
  publish(r);
}

// The next step of a start or a reload, if there is one to take.
void Engine::advance(ServiceRecord& r) {
  if (!up(r) || (r.run != RunState::idle && r.run != RunState::running)) return;
  if (r.run == RunState::idle && r.roll == Roll::none) {
    if (!r.instances.empty()) return;  // leftovers of an earlier run go first
    if (!r.survivors.empty()) return fail(r, "could not be stopped, still alive: " + r.survivors);
    if (!needs_met(r)) return;
    // Whatever was edited up to now is in what is built and started from here on.
    r.due = r.due_forced = r.dirty = false;
    r.change_since = kNever;
    r.roll = r.builds() ? Roll::build : Roll::launch;
  }
  const Survey seen = look(r);
  const bool waits = r.patient() && start_under_way(r);
  if (r.due && (r.due_forced || (!r.gathers() && !waits)) && !seen.build_living) take_due(r);
  if (waits_for_build(r, seen) && r.build_retry_at <= now_) spawn_build(r);
  if (r.roll == Roll::launch) launch(r);
}

bool Engine::wants(const ServiceRecord& r, const Instance& i, const Survey& seen) {
  if (!up(r)) return false;
  if (i.key.is_build()) {
    const bool stale = r.due && (r.due_forced || (!r.gathers() && !r.patient()));
    return r.roll == Roll::build && !stale;
  }
  if (r.run != RunState::running || i.key.slot >= r.workers()) return false;
  if (i.key.generation == r.current) return r.roll != Roll::launch || can_overlap(r, seen);
  if (r.next != 0 && i.key.generation == r.next) return true;
  // An older one serves on until its slot has a newer one that is ready, but is not waited for by the next
  // reload.
  return r.roll != Roll::launch && r.next == 0 && i.phase == WorkerState::ready &&
         !r.slots[i.key.slot].current.done && (s_.slot_marks[i.key.slot] & kReadyCurrent) == 0;
}

void Engine::stop_unwanted(ServiceRecord& r) {
  if (r.instances.empty() || (!up(r) && !may_stop(r))) return;
  const Survey seen = look(r);
  for (Instance& i : r.instances) {
    if (!wants(r, i, seen)) stop(r, i, EndWhy::stop);
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
void Engine::worker_died(ServiceRecord& r, Instance& i, bool clean, const std::string& how) {
  if (!up(r) || r.run != RunState::running || i.key.slot >= r.workers()) return;
  const bool on_its_own = i.why == EndWhy::none || i.why == EndWhy::announced;
  const bool finished = clean && on_its_own && r.spec.restart != RestartPolicy::always;
  if (r.next != 0 && i.key.generation == r.next) {
    if (!finished) return abort_next(r, how + (r.workers() > 1 ? " before all workers were ready" : ""));
    r.slots[i.key.slot].next.done = true;
    return commit(r);
  }
  if (i.key.generation != r.current) return;
  if (finished) return slot_done(r, i.key.slot);
  if (r.spec.restart == RestartPolicy::never) return fail(r, how);
  if (r.spec.await_change && r.proven != r.current) return fail(r, how + ", waits for a change");
  if (clean && i.why == EndWhy::announced && i.was_ready) {
    SlotRun& run = r.slots[i.key.slot].current;
    run.reason = Reason::recycle;
    run.retry_at = now_;
    return;
  }
  crashed(r, i, how);
}

void Engine::crashed(ServiceRecord& r, Instance& i, const std::string& how) {
  SlotRun& run = r.slots[i.key.slot].current;
  if (i.was_ready && now_ - i.ready_at >= r.spec.backoff.reset) {
    run.crashes = 0;
    run.unhealthy = 0;
  } else {
    run.unhealthy = std::min(run.unhealthy + 1, kCountMax);
  }
  run.crashes = std::min(run.crashes + 1, kCountMax);
  run.reason = Reason::crash;
  run.since = now_;
  run.retry_at = later(now_, crash_delay(r.spec.backoff, run.crashes, s_.random));
  if (!i.was_ready && r.next == 0 && r.roll == Roll::none) reload_failed(r, how + " before it was ready");
  const bool exhausted = r.spec.backoff.burst > 0 && run.unhealthy >= r.spec.backoff.burst;
  if (!exhausted) return;
  look(r);
  if ((s_.slot_marks[i.key.slot] & kReadyOther) != 0) return;  // an older one still serves this slot
  fail(r, how + ", " + std::to_string(run.unhealthy) + " times in a row");
}

void Engine::slot_done(ServiceRecord& r, std::uint32_t slot) {
  r.slots[slot].current.done = true;
  end_if_done(r);
}

void Engine::end_if_done(ServiceRecord& r) {
  if (r.run != RunState::running) return;
  for (std::uint32_t n = 0; n < r.workers(); ++n) {
    if (!r.slots[n].current.done) return;
  }
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
  r.next = 0;
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
      return tell(r, FactType::service_backoff, to_ms(until - now_));
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
  if ((changed & (1U << kUnsatisfied | 1U << kWanted | 1U << kFailed | 1U << kBlocked)) != 0)
    wake_dependents(r);
  if ((changed & 1U << kAlive) != 0 && r.instances.empty()) wake_needs(r);
  if (r.close_pending && !r.configured && r.instances.empty()) {
    r.close_pending = false;
    push(CloseService{r.id, r.spec.name});
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

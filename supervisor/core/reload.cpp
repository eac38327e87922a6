// From a change to a new generation:
//
//   change ─► settle ─► [build] ─► launch ─► commit at the first ready worker ─► old ones drain, slot by slot
//
// A change acts at once and opens a window; what follows in the window makes one more reload at its end, and
// the first change behind it acts at once again, whether or not the start before it is through. Before commit
// a new generation that fails leaves the old one as it was; after it, there is no way back (the old code is
// no longer on disk), and slots that miss a worker are tried again with back-off; a gradual roll (roll.cpp)
// commits when it is through. A change during a start
// cuts it short, unless on_change says otherwise or it was cut short kGiveUpsMax times in a row: somebody who
// saves faster than the build takes shall see a result, too. That counts only where an end of the start can
// be seen: what merely has lived for a while is not waited for.
#include <algorithm>
#include <utility>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {

void Engine::operator()(const Changed& e) {
  ServiceRecord* r = find(e.service);
  if (r == nullptr) return;
  r->needs_build = true;
  if (!up(*r) || (r->run == RunState::idle && r->roll == Roll::none))
    return;  // a later start takes it all in
  touch(*r);
  if (is_loop(*r, e)) return;
  const bool ignores = r->on_change() == OnChange::ignore;
  if (ignores && r->window_end == kNever && (start_under_way(*r) || r->roll != Roll::none)) {
    ++r->ignored;
    return tell(*r, FactType::reload_ignored, static_cast<std::int64_t>(r->ignored));
  }
  if (r->change_since == kNever) r->change_since = now_;
  const bool leads = r->window_end == kNever && !r->due;
  // What ignores later changes must wait for all that belong to this one.
  if (leads && !r->gathers() && !ignores) {
    open_window(*r);
    respond(*r);
  } else {
    gather(*r, e.count);
  }
}

// A start that began before a change that comes now.
bool Engine::start_under_way(const ServiceRecord& r) const {
  if (r.next != 0) return true;
  if (r.run != RunState::running || r.proven == r.current) return false;
  return std::any_of(r.instances.begin(), r.instances.end(), [&r](const Instance& i) {
    return i.key.generation == r.current && i.key.is_worker() &&
           (i.phase == WorkerState::spawning || i.phase == WorkerState::starting);
  });
}

// A change, settled or the first one: a signal where that is wanted and everybody is there to get it.
void Engine::respond(ServiceRecord& r) {
  const bool signals = r.on_change() == OnChange::signal && r.run == RunState::running &&
                       r.roll == Roll::none && look(r).full_current == r.workers();
  if (!signals) return act(r);
  r.change_since = kNever;
  for (const Instance& i : r.instances) {
    if (i.phase == WorkerState::ready) push(Kill{i.key, r.spec.watch->signal, false});
  }
  tell(r, FactType::reload_signalled, r.spec.watch->signal);
}

// What a service writes into its own watched tree at each start is kept from starting it again.
bool Engine::is_loop(ServiceRecord& r, const Changed& e) {
  // Nobody could look at a child whose start is not told yet: it may be who wrote.
  const bool unseen = std::any_of(r.instances.begin(), r.instances.end(),
                                  [](const Instance& i) { return i.phase == WorkerState::spawning; });
  Changed change = e;
  change.by_others = e.by_others && !unseen;
  const LoopBreaker::Says says = r.loop.judge(change, r.roll != Roll::none || r.next != 0, now_);
  if (says == LoopBreaker::Says::broken_now) {
    std::string files = r.loop.paths.front();
    if (r.loop.paths.size() > 1) files += " and " + std::to_string(r.loop.paths.size() - 1) + " more";
    tell(r, FactType::reload_loop, r.loop.reloads, std::move(files));
  }
  return says != LoopBreaker::Says::reload;
}

void Engine::operator()(const Held& e) {
  ServiceRecord* r = find(e.service);
  if (r == nullptr || r->held == e.on) return;
  r->held = e.on;
  touch(*r);
}

void Engine::open_window(ServiceRecord& r) {
  const WatchSpec defaults;
  const WatchSpec& watch = r.spec.watch ? *r.spec.watch : defaults;
  if (r.window_end == kNever) r.window_max = later(now_, watch.settle_max);
  r.window_end = std::min(later(now_, watch.settle), r.window_max);
}

void Engine::gather(ServiceRecord& r, std::uint32_t count) {
  open_window(r);
  if (!r.dirty) r.dirty_count = 0;
  r.dirty_count += std::min(std::max(count, 1U), ~0U - r.dirty_count);
  if (!r.dirty) {
    const bool terminal =
        std::any_of(r.instances.begin(), r.instances.end(), [](const Instance& i) { return i.at_terminal; });
    tell(r, terminal ? FactType::reload_waits : FactType::reload_settling, r.dirty_count);
  }
  r.dirty = true;
}

void Engine::window_ended(ServiceRecord& r) {
  r.window_end = kNever;
  r.window_max = kNever;
  if (r.dirty && r.gathers()) return;
  if (r.dirty) {
    r.dirty = false;
    r.held_back.reset();  // what comes now decides
    return respond(r);
  }
  close_window(r);
}

// Ends the window without acting; a failure that waited for its end is told.
void Engine::close_window(ServiceRecord& r) {
  r.window_end = kNever;
  r.window_max = kNever;
  r.dirty = false;
  if (!r.held_back) return;
  Fact fact = std::move(*r.held_back);
  r.held_back.reset();
  record(std::move(fact));
}

void Engine::act(ServiceRecord& r) {
  if (r.run == RunState::failed || r.run == RunState::done) {
    r.run = RunState::idle;
    r.reason.clear();
    r.survivors.clear();
    r.roll_reason = Reason::change;
    begin_reload(r);
    return touch(r);
  }
  if (r.roll != Roll::none || r.next != 0 || r.reload_open) tell(r, FactType::reload_queued);
  r.due = true;
  r.roll_reason = Reason::change;
  touch(r);
}

// A reload by command or by a new configuration: nothing is gathered.
void Engine::request_reload(ServiceRecord& r, Reason reason) {
  r.needs_build = true;
  r.loop.forgive();
  touch(r);
  if (r.run == RunState::failed || r.run == RunState::done) return revive(r, reason);
  if (r.run == RunState::idle && r.roll == Roll::none) return;
  act(r);
  r.due_forced = true;
}

// Begins the reload that is due: whatever newer generation was being tried is stale.
void Engine::take_due(ServiceRecord& r) {
  // One that serves everywhere while the next change has waited for it (on_change = queue) gets its word.
  const bool serves = r.reload_open && r.run == RunState::running && r.roll == Roll::none && r.next == 0 &&
                      look(r).full_current == r.workers();
  if (serves) reload_finished(r);
  const bool cut_short = r.roll == Roll::build || (r.shows_ready() && start_under_way(r));
  if (cut_short) r.given_up = std::min(r.given_up + 1, kCountMax);
  r.due = r.due_forced = r.dirty = false;
  r.loop.reload_begins(now_);
  if (r.next != 0) {
    r.next = 0;
    for (Slot& slot : r.slots) slot.next = SlotRun{};
  }
  r.build_failures = 0;
  r.build_retry_at = Time{};
  forget_room(r);
  r.roll = r.builds() ? Roll::build : Roll::launch;
  if (r.run == RunState::running) begin_reload(r);  // anew, if one was cut short: the line tells of the last
}

void Engine::begin_reload(ServiceRecord& r) {
  r.reload_open = true;
  r.reload_since = now_;
  r.settled_for = r.change_since == kNever ? Duration::zero()
                                           : std::clamp(now_ - r.change_since, Duration::zero(), kSpanMax);
  r.change_since = kNever;
}

// Starts generation counter + 1 as soon as at most one other is alive, or none where the two cannot overlap.
void Engine::launch(ServiceRecord& r) {
  const Survey seen = look(r);
  const bool first = r.run == RunState::idle;
  const bool beside = !first && can_overlap(r, seen);
  // Who leaves, and what is left of older ones, is in nobody's way where two can be.
  const bool in_the_way = first || !r.overlaps() ? seen.workers : seen.stays || too_many_linger(r, seen);
  if (beside ? too_many_linger(r, seen) : in_the_way) return;
  if (first && !needs_met(r)) return;
  if (beside && !knows_room(r)) return;
  ++r.counter;
  r.launched_at = now_;
  r.loop.step(now_);
  r.roll = Roll::none;
  r.build_attempt = 0;
  if (!r.dirty && !r.due) r.needs_build = false;
  for (Slot& slot : r.slots) {
    SlotRun& run = beside ? slot.next : slot.current;
    run = SlotRun{};
    run.reason = r.roll_reason;
    if (!beside) slot.next = SlotRun{};
  }
  if (r.reload_open) tell(r, FactType::reload_starting, r.counter, name_of(r.roll_reason));
  if (beside) {
    r.next = r.counter;
    return begin_roll(r);
  }
  r.current = r.counter;
  r.next = 0;
  r.restoring = false;
  r.canary_asked = 0;
  forget_room(r);
  r.ran = false;
  r.run = RunState::running;
}

// The new generation becomes the current one.
void Engine::commit(ServiceRecord& r) {
  touch(r);
  if (r.course.gradual) look_calmly(r);
  end_roll(r);
  r.current = r.next;
  r.next = 0;
  r.restoring = false;
  r.ran = false;
  for (const Instance& i : r.instances) {
    if (i.key.generation != r.current || !i.key.is_worker()) continue;
    r.ran |= i.phase != WorkerState::spawning;
    if (i.was_ready) r.proven = r.current;
  }
  for (Slot& slot : r.slots) {
    slot.current = slot.next;
    slot.next = SlotRun{};
  }
  if (look(r).current_ready) {  // a gradual roll commits late
    r.proven = r.current;
    r.given_up = 0;
  }
  end_if_done(r);  // its workers may have ended for good before it was the current one
}

void Engine::abort_next(ServiceRecord& r, const std::string& why) {
  touch(r);
  r.given_up = 0;
  look(r);
  std::uint32_t lost_old = 0;  // slots that the old generation does not serve any more
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    const bool has_old = (s_.slot_marks[slot] & (kReadyCurrent | kReadyOther)) != 0;
    lost_old += r.had_turn(slot) && !has_old ? 1 : 0;
  }
  const std::string old = "; generation " + std::to_string(r.current);
  reload_failed(r, "generation " + std::to_string(r.next) + ": " + why + old +
                       (lost_old == 0 ? " serves on" : " gets every slot back"));
  r.restoring |= lost_old != 0;
  for (Slot& slot : r.slots) {
    slot.next = SlotRun{};
    if (slot.rolling) slot.current.reason = Reason::change;
  }
  if (r.course.gradual) look_calmly(r);
  end_roll(r);
  r.next = 0;
  const auto end = r.slots.begin() + r.workers();
  const bool lost = std::all_of(r.slots.begin(), end, [](const Slot& slot) { return slot.current.done; }) &&
                    std::any_of(r.slots.begin(), end, [](const Slot& slot) { return slot.current.failed; });
  if (lost) fail(r, why);
}

void Engine::reload_failed(ServiceRecord& r, const std::string& why) {
  if (!r.reload_open) return;
  r.reload_open = false;
  Fact fact;
  fact.type = FactType::reload_failed;
  fact.service = r.id;
  fact.generation = r.next != 0 ? r.next : r.current;
  fact.text = why;
  tell_failure(r, std::move(fact));
  if (!r.due) fail_requests(r, CommandVerb::reload, why);
}

// Inside the settle window a failure waits for the window's end: the next change may be its cure.
void Engine::tell_failure(ServiceRecord& r, Fact fact) {
  if (r.window_end == kNever) return record(std::move(fact));
  fact.cause = cause_;
  fact.time = now_;
  r.held_back = std::move(fact);
}

void Engine::reload_finished(ServiceRecord& r) {
  r.reload_open = false;
  r.loop.step(now_);
  r.held_back.reset();
  r.given_up = 0;
  ++r.reloads;
  const Duration start = now_ - r.launched_at;
  Duration settle = r.settled_for;
  Duration build = r.launched_at - r.reload_since;
  if (!r.spec.watch || !r.spec.watch->build)  // then what was before are starts that were cut short
    settle += std::exchange(build, Duration::zero());
  tell(r, FactType::reload_done, to_ms(r.settled_for + std::min(now_ - r.reload_since, kSpanMax)),
       "settle " + std::to_string(to_ms(settle)) + ", build " + std::to_string(to_ms(build)) + ", start " +
           std::to_string(to_ms(start)));
}

void Engine::build_ended(ServiceRecord& r, bool ok, std::int64_t number, const std::string& how) {
  touch(r);
  if (!up(r) || r.roll != Roll::build) return;
  if (r.due || r.dirty) return;  // it built something older than the files: again, with what has come since
  r.given_up = 0;
  if (ok) {
    r.needs_build = false;
    r.roll = Roll::launch;
    return;
  }
  r.roll = Roll::none;
  r.canary_asked = 0;
  const std::string why = "build failed: " + how;
  if (r.run == RunState::idle) return fail(r, why);
  r.reload_open = false;
  Fact fact;
  fact.type = FactType::reload_build_failed;
  fact.service = r.id;
  fact.generation = r.counter + 1;
  fact.number = number;
  fact.text = how + "; generation " + std::to_string(r.current) + " serves on";
  tell_failure(r, std::move(fact));
  fail_requests(r, CommandVerb::reload, why);
}

}  // namespace runmain::core

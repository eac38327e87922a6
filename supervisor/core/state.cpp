// Checks and caches of the state.
#include "core/state.hpp"

#include <algorithm>
#include <initializer_list>

#include "core/survey.hpp"

namespace runmain::core {
namespace {

template <class E>
bool within(E value, E last) {
  return value <= last;
}

// CLOCK_MONOTONIC never is negative; without that the difference of two times could overflow.
bool all_valid(std::initializer_list<Time> times) {
  return std::all_of(times.begin(), times.end(), [](Time t) { return t >= Time{}; });
}

bool valid(const Fact& f) { return within(f.type, kLastFactType) && f.text.size() <= kFactTextMax; }

bool valid(const ServiceSpec& spec) {
  return within(spec.restart, RestartPolicy::never) && within(spec.balance, Balance::reuseport) &&
         within(spec.roll.order, RollOrder::old_first) && within(spec.health.kind, HealthKind::exec) &&
         spec.stop.lingering <= kLingeringMax && within(spec.ready.kind, ReadyKind::exec) &&
         (!spec.watch || within(spec.watch->on_change, OnChange::signal)) &&
         std::all_of(spec.listen.begin(), spec.listen.end(),
                     [](const ListenSpec& l) { return within(l.kind, AddressKind::udp); });
}

bool valid(const RollCourse& c) { return c.told <= kWorkersMax && all_valid({c.hold_until}); }

bool valid(const SlotRun& run) {
  return within(run.reason, Reason::recycle) && run.crashes <= kCountMax && run.unhealthy <= kCountMax &&
         run.spawn_failures <= kCountMax && all_valid({run.retry_at, run.since});
}

// I11: a deadline is only where a Tick takes it away.
bool valid_deadlines(const Instance& i) {
  const bool starting = i.phase == WorkerState::starting;
  const bool draining = i.phase == WorkerState::draining;
  const bool waits = starting || draining || i.phase == WorkerState::retiring || i.phase == WorkerState::hung;
  const bool watched = starting || i.phase == WorkerState::ready;
  return all_valid({i.since, i.ready_at, i.deadline, i.watchdog_at, i.step_at, i.frozen_until, i.recycle_at,
                    i.replace_at, i.doubt_until, i.unwell_since}) &&
         (waits || i.deadline == kNever) && (watched || i.watchdog_at == kNever) &&
         (draining || !i.main_gone) && (draining || i.step_at == kNever) &&
         (watched || i.frozen_until == kNever) && (watched || i.doubt_until == kNever) &&
         (i.doubts != 0) == (i.doubt_until != kNever) &&
         (i.phase == WorkerState::ready || (i.recycle_at == kNever && i.replace_at == kNever));
}

bool valid_old_specs(const ServiceRecord& r) {
  std::uint32_t last = 0;
  for (const OldSpec& old : r.old_specs) {
    if (old.last <= last || !valid(old.spec)) return false;
    last = old.last;
  }
  return r.old_specs.size() <= 2;
}

// What is rolling is running, or about to.
bool valid_course(const ServiceRecord& r) {
  const bool goes = r.run == RunState::idle || r.run == RunState::running;
  return within(r.run, RunState::done) && within(r.roll, Roll::launch) &&
         within(r.roll_reason, Reason::recycle) && within(r.state, ServiceState::done) &&
         (goes || r.roll == Roll::none) && within(r.room, RoomState::tight) && valid(r.course) &&
         (r.room == RoomState::asked) == (r.room_deadline != kNever) &&
         (r.room != RoomState::asked || r.roll == Roll::launch || r.in_gradual_roll()) &&
         (r.course.hold_until == kNever || r.in_gradual_roll()) && valid_old_specs(r) &&
         (!r.scaled || *r.scaled >= 1) && r.loaded <= kCountMax && r.settled_for >= Duration::zero() &&
         r.settled_for <= kSpanMax &&
         all_valid({r.build_retry_at, r.reload_since, r.launched_at, r.change_since, r.window_end,
                    r.window_max, r.since, r.room_deadline, r.calm_since, r.look_at});
}

bool valid(const ServiceRecord& r, const Instance& i) {
  return i.key.service == r.id && i.key.slot <= kBuildSlot && within(i.phase, WorkerState::sweeping) &&
         within(i.proof, Proof::unproven) && within(i.why, EndWhy::hung) &&
         within(i.stall, Stall::uninterruptible) && valid_deadlines(i) && i.beats_missed <= kBeatsMissedMax &&
         (!i.doubted || within(i.doubted->stall, Stall::uninterruptible)) && i.claims.size() <= kClaimsMax &&
         i.drained_by.size() <= kClaimsMax && i.status_text.size() <= kStatusTextMax;
}

bool valid(const State& s, std::size_t index) {
  const ServiceRecord& r = s.services[index];
  return r.id.value == index && valid(r.spec) && valid_course(r) && r.build_failures <= kCountMax &&
         r.given_up <= kCountMax && r.slots.size() >= r.workers() && r.slots.size() <= kWorkersMax &&
         r.history.size() <= kHistoryMax && (r.history_at == 0 || r.history_at < r.history.size()) &&
         (!r.held_back || valid(*r.held_back)) &&
         std::all_of(r.history.begin(), r.history.end(), [](const Fact& f) { return valid(f); }) &&
         std::all_of(r.slots.begin(), r.slots.end(),
                     [](const Slot& slot) { return valid(slot.current) && valid(slot.next); }) &&
         std::all_of(r.instances.begin(), r.instances.end(), [&r](const Instance& i) { return valid(r, i); });
}

bool valid(const State& s, const Request& q) {
  return within(q.verb, CommandVerb::upgrade) && std::is_sorted(q.pending.begin(), q.pending.end()) &&
         (q.pending.empty() || q.pending.back() < s.services.size());
}

}  // namespace

bool valid(const State& state) {
  if (!within(state.mode, Mode::prod) || state.now < Time{} || state.services.size() > kServicesMax)
    return false;
  if (state.requests.size() > kRequestsMax) return false;
  for (std::size_t n = 0; n < state.services.size(); ++n) {
    if (!valid(state, n)) return false;
  }
  return std::all_of(state.requests.begin(), state.requests.end(),
                     [&state](const Request& q) { return valid(state, q); });
}

void rebuild(State& state) {
  state.work.clear();
  std::fill(std::begin(state.tally), std::end(state.tally), 0U);
  state.deadlines.reset(state.services.size());
  index_dependencies(state);
  for (ServiceRecord& r : state.services) {
    const Survey seen = survey(r, state.slot_marks);
    r.queued = false;
    r.bits = bits_of(state, r, seen);
    state.deadlines.set(r.id.value, deadline_of(state, r, seen, state.slot_marks));
  }
  // Being blocked goes along the dependencies, in any order of the services.
  for (bool again = true; again;) {
    again = false;
    for (ServiceRecord& r : state.services) {
      const std::uint32_t bits = bits_of(state, r, survey(r, state.slot_marks));
      again |= bits != r.bits;
      r.bits = bits;
    }
  }
  for (const ServiceRecord& r : state.services) {
    for (std::uint32_t t = 0; t < kTallies; ++t) state.tally[t] += r.bits >> t & 1U;
  }
}

}  // namespace runmain::core

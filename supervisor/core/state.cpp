// Checks and caches of the state.
#include "core/state.hpp"

#include <algorithm>

#include "core/survey.hpp"

namespace runmain::core {
namespace {

template <class E>
bool within(E value, E last) {
  return value <= last;
}

bool valid(const Fact& f) { return within(f.type, kLastFactType) && f.text.size() <= kFactTextMax; }

bool valid(const ServiceSpec& spec) {
  return within(spec.restart, RestartPolicy::never) && within(spec.ready.kind, ReadyKind::after) &&
         (!spec.watch || within(spec.watch->on_change, OnChange::signal)) &&
         std::all_of(spec.listen.begin(), spec.listen.end(),
                     [](const ListenSpec& l) { return within(l.kind, AddressKind::udp); });
}

bool valid(const SlotRun& run) {
  return within(run.reason, Reason::recycle) && run.crashes <= kCountMax && run.unhealthy <= kCountMax &&
         run.spawn_failures <= kCountMax;
}

bool valid(const ServiceRecord& r, const Instance& i) {
  return i.key.service == r.id && (i.key.is_build() || i.key.slot < kBuildSlot) &&
         within(i.phase, WorkerState::sweeping) && within(i.proof, Proof::unproven) &&
         within(i.why, EndWhy::announced) && i.claims.size() <= kClaimsMax &&
         i.status_text.size() <= kStatusTextMax;
}

bool valid(const State& s, std::size_t index) {
  const ServiceRecord& r = s.services[index];
  return r.id.value == index && valid(r.spec) && within(r.run, RunState::done) &&
         within(r.roll, Roll::launch) && within(r.roll_reason, Reason::recycle) &&
         within(r.state, ServiceState::done) && r.build_failures <= kCountMax && r.given_up <= kCountMax &&
         r.slots.size() >= r.workers() && r.slots.size() <= kWorkersMax && r.history.size() <= kHistoryMax &&
         (r.history_at == 0 || r.history_at < r.history.size()) && (!r.held_back || valid(*r.held_back)) &&
         std::all_of(r.history.begin(), r.history.end(), [](const Fact& f) { return valid(f); }) &&
         std::all_of(r.slots.begin(), r.slots.end(),
                     [](const Slot& slot) { return valid(slot.current) && valid(slot.next); }) &&
         std::all_of(r.instances.begin(), r.instances.end(), [&r](const Instance& i) { return valid(r, i); });
}

bool valid(const State& s, const Request& q) {
  return within(q.verb, CommandVerb::shutdown) && std::is_sorted(q.pending.begin(), q.pending.end()) &&
         (q.pending.empty() || q.pending.back() < s.services.size());
}

}  // namespace

bool valid(const State& state) {
  if (!within(state.mode, Mode::prod) || state.services.size() > kServicesMax) return false;
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

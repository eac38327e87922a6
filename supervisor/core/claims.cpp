// The processes of one child that serve: who holds the role, and what is said by one of them or by all: that
// it ends by itself, and that all is answered.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {

// They are no more, and hold the role no longer.
void Engine::forget_holders(Instance& i, const std::vector<std::int32_t>& ended) {
  std::erase_if(i.claims, [&ended](std::int32_t holder) {
    return std::count(ended.begin(), ended.end(), holder) != 0;
  });
}

// One that is asked to go may still claim: a job that is stopped in its first second has spans to tell of,
// too.
void Engine::operator()(const Claimed& e) {
  const auto [r, i] = find(e.key);
  std::string why;
  const bool had_holder = i != nullptr && !i->claims.empty();
  if (i != nullptr) forget_holders(*i, e.ended);
  const bool known = i != nullptr && std::count(i->claims.begin(), i->claims.end(), e.pid) != 0;
  if (i == nullptr || !i->key.is_worker() || !i->living()) {
    why = "no such child";
  } else if (i->phase == WorkerState::killing) {
    why = "the child is being killed";
  } else if (!known && !i->claims.empty() && !e.explicit_call) {
    why = "the role belongs to process " + std::to_string(i->claims.front());
  } else if (!known && i->claims.size() >= kClaimsMax) {
    why = "too many processes of this child hold the role";
  }
  push(GrantRole{e.key, e.conn, why.empty(), why, e.by_path});
  if (i == nullptr) return;
  if (!why.empty()) return tell(*r, *i, FactType::child_claim_refused, e.pid, why);
  if (i->phase == WorkerState::draining && i->why != EndWhy::watchdog && i->why != EndWhy::announced)
    push(AskDrain{i->key, std::max(i->deadline - now_, Duration::zero())});  // it was not there to hear it
  if (known) return;
  i->claims.push_back(e.pid);
  if (i->phase == WorkerState::draining && i->why == EndWhy::announced && had_holder) stays_behind(*r, *i);
  tell(*r, *i, FactType::child_claimed, e.pid, cut(e.runtime, kStatusTextMax));
}

// The one that has announced its end was recycled by a master, which has another one serve. The child was
// taken to end, and its slot may have a successor: now it has to be asked, and has the time that everybody
// has.
void Engine::stays_behind(ServiceRecord& r, Instance& i) {
  touch(r);
  i.drained = false;
  i.why = EndWhy::stop;
  begin_drain(r, i, r.spec.stop.signal, r.spec.stop.group);
}

// Of several processes that serve one may go alone: a master recycles them, and replaces them itself.
bool Engine::speaks_for(const Instance& i, std::int32_t pid) {
  const bool holds = std::count(i.claims.begin(), i.claims.end(), pid) != 0;
  return pid == i.pid || i.claims.size() <= 1 || !holds;
}

void Engine::operator()(const Stopping& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || !i->key.is_worker()) return;
  if (!i->works() || !speaks_for(*i, e.pid)) return;
  i->served = i->phase == WorkerState::ready && now_ - i->ready_at >= kWorkDone;
  stop_looking(*i);
  leave_terminal(*i);
  enter(*i, WorkerState::draining);
  i->why = EndWhy::announced;
  i->deadline = later(now_, r->spec.stop.timeout);
  i->drained_by.clear();
  touch(*r);
}

// Who has served and announces its end takes no new connections from here on, and may have many to answer
// yet: its successor does not wait for that.
void Engine::succeed(ServiceRecord& r) {
  for (Instance& i : r.instances) {
    if (i.phase != WorkerState::draining || i.why != EndWhy::announced || !leaves_by_itself(r, i)) continue;
    Slot& slot = r.slots[i.key.slot];
    begin_anew(r, i, i.key.generation == r.current ? slot.current : slot.next, "it ends by itself");
    i.leaving = true;
  }
}

// So many others of its slot are on their way out that one more would be too many.
bool Engine::is_crowded(const ServiceRecord& r, const Instance& it) {
  const auto others = std::count_if(r.instances.begin(), r.instances.end(), [&it](const Instance& i) {
    return &i != &it && i.key.is_worker() && i.key.slot == it.key.slot && i.living() && i.leaving;
  });
  return others > static_cast<std::ptrdiff_t>(r.spec.stop.lingering);
}

// Where the way in which it ends decides whether it has a successor, soon after its start, which may be a
// loop, and while too many are on their way out, the end is awaited.
bool Engine::leaves_by_itself(const ServiceRecord& r, const Instance& i) const {
  if (!i.served || i.leaving || !up(r) || r.run != RunState::running || i.key.slot >= r.workers())
    return false;
  const bool of_next = r.had_turn(i.key.slot) && i.key.generation == r.next;
  if (!of_next && i.key.generation != r.current) return false;
  const bool new_first = r.spec.roll.order == RollOrder::new_first && !r.course.old_first;
  if (!r.overlaps() || !new_first || is_crowded(r, i)) return false;
  // After an end with a failure the next one is awaited, unless all was well since.
  const SlotRun& run = of_next ? r.slots[i.key.slot].next : r.slots[i.key.slot].current;
  const bool calm = run.crashes == 0 || lived_well(r, i);
  return calm && r.spec.restart == RestartPolicy::always && r.spec.no_restart.empty();
}

// Nothing is left to answer, in none of the processes that serve: what remains has a budget of its own.
void Engine::operator()(const Drained& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->phase != WorkerState::draining || i->drained) return;
  const auto said = [i = i](std::int32_t pid) {
    return std::count(i->drained_by.begin(), i->drained_by.end(), pid) != 0;
  };
  forget_holders(*i, e.ended);
  if (!said(e.pid) && i->drained_by.size() < kClaimsMax) i->drained_by.push_back(e.pid);
  if (!std::all_of(i->claims.begin(), i->claims.end(), said)) return;
  i->drained = true;
  i->deadline = later(now_, r->spec.stop.flush);
  i->step_at = kNever;  // nothing is left to hurry it with
  tell(*r, *i, FactType::child_drained, to_ms(now_ - i->since));
  touch(*r);
}

}  // namespace runmain::core

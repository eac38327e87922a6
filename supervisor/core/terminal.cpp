// A child that waits at its terminal for a person. Nothing that runs against it goes on meanwhile; a stop
// that is asked for is not held up, and neither is a reload that is asked for.
#include <algorithm>
#include <utility>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {
namespace {

std::optional<Duration> stand_still(Time& deadline, Time now) {
  if (deadline == kNever) return std::nullopt;
  return std::max(std::exchange(deadline, kNever) - now, Duration::zero());
}

void go_on(Time& deadline, std::optional<Duration>& left, Time now) {
  if (left) deadline = later(now, *left);
  left.reset();
}

}  // namespace

void Engine::operator()(const AtTerminal& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || !i->key.is_worker() || i->at_terminal == e.on) return;
  if (i->phase != WorkerState::starting && i->phase != WorkerState::ready) return;
  touch(*r);
  i->at_terminal = e.on;
  tell(*r, *i, e.on ? FactType::child_waits : FactType::child_goes_on);
  if (!e.on) {
    go_on(i->deadline, i->deadline_left, now_);
    go_on(i->watchdog_at, i->watchdog_left, now_);
    return;
  }
  i->deadline_left = stand_still(i->deadline, now_);
  i->watchdog_left = stand_still(i->watchdog_at, now_);
  if ((i->doubts & kDoubtReady) != 0) i->deadline_left = Duration::zero();
  if ((i->doubts & kDoubtBeat) != 0) i->watchdog_left = i->watchdog;
  for (const Doubt what : {kDoubtBeat, kDoubtReady, kDoubtLook}) believe(*i, what);
  if (r->dirty) tell(*r, FactType::reload_waits, r->dirty_count);
}

void Engine::operator()(const StoodStill& e) {
  const Duration span = std::clamp(e.span, Duration::zero(), kSpanMax);
  for (ServiceRecord& r : s_.services) {
    for (Instance& i : r.instances) {
      for (Time* deadline : {&i.deadline, &i.watchdog_at, &i.step_at, &i.frozen_until, &i.doubt_until}) {
        if (*deadline != kNever) *deadline = std::min(later(*deadline, span), later(now_, kSpanMax));
      }
    }
    if (r.course.hold_until != kNever) r.course.hold_until = later(r.course.hold_until, span);
    touch(r);
  }
}

// It is on its way out: whoever sits there is too late.
void Engine::leave_terminal(Instance& i) {
  i.at_terminal = false;
  i.deadline_left.reset();
  i.watchdog_left.reset();
}

}  // namespace runmain::core

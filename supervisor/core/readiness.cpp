// When a worker is ready: by its own word, by what is seen from outside, or by command, which is a helper
// that is run again and again until it exits with 0, for one starting worker after the other. The end of the
// worker's time is that of every start (not_ready).
#include <tuple>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {

// Where the specification says how to tell, a program's own word does not count: a runner may say READY=1
// before it has loaded the application (gunicorn's arbiter does).
void Engine::operator()(const Ready& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->phase != WorkerState::starting || !i->key.is_worker()) return;
  const ReadyKind kind = r->spec_of(i->key.generation).ready.kind;
  const bool own_word = e.proof == Proof::notify || e.proof == Proof::claim;
  if (own_word && kind != ReadyKind::automatic && kind != ReadyKind::notify) return;
  became_ready(*r, *i, e);
}

void Engine::not_ready(ServiceRecord& r, Instance& i, const Looked& seen) {
  const auto limit = to_ms(r.spec_of(i.key.generation).ready.timeout);
  const std::uint32_t generation = i.key.generation;
  tell(r, i, FactType::child_not_ready, limit, seen.text);
  i.why = EndWhy::not_ready;
  i.stall = seen.stall;
  end_by_hook(r, i);
  const std::string why = "not ready within " + std::to_string(limit) + " ms";
  if (r.next != 0 && generation == r.next) {
    abort_next(r, why);
  } else if (generation == r.current && r.next == 0 && r.roll == Roll::none) {
    reload_failed(r, why);
  }
}

// ---- readiness by command

bool Engine::is_ready_by_command(const ServiceRecord& r, const Instance& i) {
  return i.key.is_worker() && i.phase == WorkerState::starting &&
         r.spec_of(i.key.generation).ready.kind == ReadyKind::exec;
}

void Engine::probe_by_command(ServiceRecord& r) {
  const Instance* next = nullptr;
  bool busy = false;
  for (const Instance& i : r.instances) {
    busy |= i.key.is_probe();
    if (!up(r) || i.at_terminal || !is_ready_by_command(r, i)) continue;
    const auto far = [&](const Instance& it) { return std::tuple(it.key.slot < r.probe_slot, it.key); };
    if (next == nullptr || far(i) < far(*next)) next = &i;
  }
  if (next == nullptr || busy) {
    r.probe_at = kNever;
    return;
  }
  if (r.probe_at == kNever) r.probe_at = r.probe_failed ? later(now_, kProbePause) : now_;
  if (r.probe_at > now_) return;
  r.probe_at = kNever;
  r.probe_failed = true;  // until it says otherwise
  r.probe_slot = next->key.slot + 1;
  spawn_helper(r, kProbeSlot, Instance(*next));
}

void Engine::probe_ended(ServiceRecord& r, const Instance& probe, const End& end) {
  const auto [same, about] = find(probe.about);
  // Also of a service that is on its way down: who needs it has it until it goes, and it stops after those.
  if (about == nullptr || !end.clean || probe.why == EndWhy::stop) return;
  r.probe_failed = false;
  if (!is_ready_by_command(r, *about)) return;
  stop_looking(*about);
  became_ready(r, *about, Ready{about->key, Proof::probe, {}});
}

}  // namespace runmain::core

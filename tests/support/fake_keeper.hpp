// The keeper of the fake world: effects carried out, and each held against the invariants of core/README.md.
// Part of fake_world.hpp, which includes it. Non-goal: what children do by themselves.
#pragma once

#include "support/fake_world.hpp"

namespace runmain::core {

inline FakeChild* FakeWorld::find(const ChildKey& key) {
  if (key.service.value >= services_.size()) return nullptr;
  for (FakeChild& c : services_[key.service.value].children) {
    if (c.key == key) return &c;
  }
  return nullptr;
}

inline FakeRun& FakeWorld::run_of(FakeService& s, const ChildKey& key) {
  for (FakeRun& run : s.runs) {
    if (run.slot == key.slot && run.generation == key.generation) return run;
  }
  // A roll that fails gives the slots back to a generation that may be much older.
  const std::uint32_t kept = std::min(s.serving, key.generation);
  const std::uint32_t back = s.by_slots ? 40 : 1;
  const auto old = [kept, back](const FakeRun& run) { return run.generation + back < kept; };
  s.runs.erase(std::remove_if(s.runs.begin(), s.runs.end(), old), s.runs.end());
  FakeRun& run = s.runs.emplace_back();
  run.slot = key.slot;
  run.generation = key.generation;
  return run;
}

inline void FakeWorld::execute(const Effect& effect, Time now) {
  if (effect.number <= executed_) return;
  if (effect.number != executed_ + 1 && violation_.empty()) violation_ = "effects are numbered without gaps";
  if (quit_ && !std::holds_alternative<Answer>(effect.action))
    violated("I10: nothing follows the end", ChildKey{});
  executed_ = effect.number;
  std::visit([this, now](const auto& e) { on(e, now); }, effect.action);
}

inline void FakeWorld::on(const Spawn& e, Time now) {
  ++spawns_;
  if (shutting_down_) violated("I10: no Spawn after shutdown", e.key);
  if (e.key.service.value >= services_.size()) return violated("I3: a child of no service", e.key);
  FakeService& s = services_[e.key.service.value];
  FakeChild child;
  child.key = e.key;
  child.about = e.about;
  child.reason = e.reason;
  child.pid = next_pid_++;
  if (e.key.is_about()) {
    check_helper(s, e, now);
  } else {
    child.renews = check_start(s, e, now);
    if (e.key.is_build() || e.key.generation > s.edit_after) s.edit_open = false;
    s.newest = std::max(s.newest, e.key.generation);
  }
  const bool own = e.key.is_worker() && s.spec.balance == Balance::reuseport;
  if (own && std::count(s.open.begin(), s.open.end(), e.key.slot) == 0) s.open.push_back(e.key.slot);
  s.children.push_back(std::move(child));
}

// One of a kind at a time, and about somebody who is there to be looked at.
inline void FakeWorld::check_helper(FakeService& s, const Spawn& e, Time now) {
  std::size_t others = 0;
  for (const FakeChild& c : s.children) {
    if (c.key.slot != e.key.slot || !c.there()) continue;
    ++others;
    if (c.about == e.about) violated("I3: no second helper for one worker", e.key);
  }
  if (others >= (e.key.is_hook() ? kHooksMax : 1)) violated("I3: no more helpers of a kind", e.key);
  if (e.key.attempt <= s.helper_attempt) violated("I3: every start has a key of its own", e.key);
  s.helper_attempt = e.key.attempt;
  FakeChild* about = find(e.about);
  if (about == nullptr || about->body != Body::alive || about->pid != e.about_pid)
    return violated("I4: no look at the dead", e.key);
  if (e.key.is_probe() && (about->ready || s.spec.ready.kind != ReadyKind::exec))
    violated("I4: only who starts is asked whether it is ready", e.key);
  if (!e.key.is_hook()) return;
  if (!about->sick()) violated("I16: a hook is for a worker that hangs", e.key);
  about->hung = true;
  if (s.overlaps() && !about->leaving) give_up(s, *about, run_of(s, about->key), now);
  s.hurt(about->key.slot);
}

// True for one that takes the place of a worker that the core recycles, or that says that it is not well.
inline bool FakeWorld::check_start(FakeService& s, const Spawn& e, Time now) {
  FakeRun& run = run_of(s, e.key);
  std::uint32_t leaving = 0;
  std::uint32_t copies = 0;  // that go in their own time
  bool replaces = false;
  for (FakeChild& c : s.children) {
    if (c.key.slot != e.key.slot || c.key.generation != e.key.generation || !c.there()) continue;
    replaces |= e.reason == Reason::crash && c.serves() && c.says_unwell && !c.hung && !c.announced;
    if (!c.leaving) leave(s, c, run, e, now);
    ++leaving;
    copies += c.body == Body::alive && !c.hung && !c.sick() && !c.sweeping ? 1 : 0;
  }
  if (copies > s.lingering + 1) violated("I3: at most stop.lingering + 2 of one slot and generation", e.key);
  if (run.attempt + 1 != e.key.attempt) violated("I3: every start has a key of its own", e.key);
  if (run.ends + leaving != run.attempt) violated("I2: one start for each stop", e.key);
  run.attempt = e.key.attempt;
  if (e.key.is_build()) return false;
  // A slot that was away begins anew. Where a head has died that may be carried out before it is noticed.
  if (e.reason == Reason::scale) run.deaths = run.spawn_failures = 0;
  check_generations(s, e.key);
  check_delay(s, run, e, now);
  if (e.reason == Reason::start && e.key.attempt == 1) {
    for (const std::uint32_t n : s.needs) {
      if (!serves_fully(services_[n])) violated("I12: a service starts after what it needs", e.key);
    }
  }
  const bool renews = replaces || (e.reason == Reason::recycle && !run.by_itself);
  if (renews) check_recycling(s, e.key);
  return renews;
}

// Another one of the same slot and generation is started: legal beside one that is recycled, ends by itself
// or hangs.
inline void FakeWorld::leave(FakeService& s, FakeChild& c, FakeRun& run, const Spawn& e, Time now) {
  const bool recycled = e.reason == Reason::recycle && c.serves();
  const bool ends = c.served && c.body == Body::alive;  // whatever its successor is started for by then
  const bool given_up = c.hung || c.sweeping || e.reason == Reason::crash;
  const bool hangs = given_up && c.body == Body::alive && c.sick();
  if (!s.overlaps() || e.key.is_build() || (!recycled && !hangs && !ends))
    violated("I3: no second copy", e.key);
  if (hangs) return give_up(s, c, run, now);
  run.by_itself = ends;
  if (ends && now - c.ready_at >= s.spec.backoff.reset) run.deaths = 0;
  c.leaving = true;
}

// It hangs: that is its death, whenever it ends.
inline void FakeWorld::give_up(FakeService& s, FakeChild& c, FakeRun& run, Time now) {
  c.leaving = true;
  if (c.ready && now - c.ready_at >= s.spec.backoff.reset) run.deaths = 0;
  ++run.deaths;
  run.death_at = c.ailing_at;  // or later
}

// One that hangs before it is ready has failed, as one that has died: its slot has another one, or waits for
// it, and is not recycled any more.
inline void FakeWorld::check_recycling(const FakeService& s, const ChildKey& key) {
  std::vector<std::uint32_t> slots{key.slot};
  for (const FakeChild& c : s.children) {
    const bool counts = c.renews && c.there() && !c.ready && !c.hung && !c.stopping && !c.sweeping &&
                        c.key.generation == key.generation && c.key.slot < s.workers();
    if (counts && std::count(slots.begin(), slots.end(), c.key.slot) == 0) slots.push_back(c.key.slot);
  }
  if (slots.size() > s.spec.roll.batch.of(s.workers()))
    violated("I14: no more are recycled at once than a batch has", key);
}

inline void FakeWorld::check_generations(const FakeService& s, const ChildKey& key) {
  std::vector<std::uint32_t> all{key.generation};
  for (const FakeChild& c : s.children) {
    if (c.key.is_worker() && std::count(all.begin(), all.end(), c.key.generation) == 0)
      all.push_back(c.key.generation);
  }
  if (all.size() > s.lingering + 2 + (s.by_slots ? 1 : 0))
    violated("I6: at most stop.lingering + 2 generations alive, one more with gradual rolls", key);
}

// I7, worked out anew: deaths by itself in one slot and generation, each delay at least the un-jittered one
// less the jitter.
inline void FakeWorld::check_delay(const FakeService& s, const FakeRun& run, const Spawn& e, Time now) {
  if (run.spawn_failures > 0) {
    const auto least = std::min<std::int64_t>(100LL << std::min(run.spawn_failures - 1, 10U), 5000);
    if (now - run.failure_at < std::chrono::milliseconds(least)) {
      violated("I7: a failed spawn is tried again too early", e.key);
    }
  }
  if (e.reason != Reason::crash || run.deaths < 2) return;
  const Backoff& b = s.spec.backoff;
  auto least = static_cast<double>(b.initial.count());
  for (std::uint32_t n = 2; n < run.deaths; ++n) least = std::min(least * b.factor_percent / 100, 1e18);
  least = std::min(least, static_cast<double>(b.max.count())) * (100.0 - b.jitter_percent) / 100;
  if (static_cast<double>((now - run.death_at).count()) + 1000 < least) {
    violated("I7: back-off never shorter than promised", e.key);
  }
}

// What the core tells of its pools.
inline void FakeWorld::notice(const Fact& f) {
  if (f.service.value >= services_.size()) return;
  FakeService& s = services_[f.service.value];
  if (f.type == FactType::service_scaled) {
    const std::uint32_t before = s.workers();
    s.scaled = static_cast<std::uint32_t>(f.number);
    s.grows_from(before);
  }
  if (f.type == FactType::reload_old_first) s.tight = true;
}

inline bool FakeWorld::serves_fully(const FakeService& s) const {
  std::uint32_t slots = 0;
  for (std::uint32_t slot = 0; slot < s.workers(); ++slot) {
    const auto serves = [slot](const FakeChild& c) { return c.key.slot == slot && c.serves(); };
    slots += std::any_of(s.children.begin(), s.children.end(), serves) ? 1 : 0;
  }
  return slots == s.workers() || s.spec.restart != RestartPolicy::always;
}

inline void FakeWorld::on(const Kill& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive) return violated("I4: no signal to a reaped pid", e.key);
  const bool helper = c->key.is_about();
  if (e.signal == SIGABRT) services_[e.key.service.value].hurt(c->key.slot);
  if (e.signal == SIGABRT || helper) c->stopping = true;
  c->hung |= e.signal == SIGABRT && !helper;
}

inline void FakeWorld::on(const AskDrain& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive || c->stopping)
    return violated("I4: no word to a dead child", e.key);
  if (!c->awaiting) check_stop_order(*c);  // else it has begun to go when that was right
  c->stopping = true;
  c->awaiting = false;
}

inline void FakeWorld::check_stop_order(const FakeChild& c) {
  if (!shutting_down_ || forced_ || !c.ready) return;
  for (const std::uint32_t n : services_[c.key.service.value].needed_by) {
    if (!services_[n].children.empty()) violated("I12: a service stops after what needs it", c.key);
  }
}

inline void FakeWorld::on(const AwaitQueue& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || !c->takes()) return violated("I4: only who serves has a queue to empty", e.key);
  check_stop_order(*c);
  c->awaiting = true;
}

inline void FakeWorld::on(const WatchHealth& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive || !c->ready || c->watched)
    return violated("I4: who is ready is watched once", e.key);
  c->watched = true;
  c->wants_word = e.closely;
}

// I17: none whose worker is there or to come.
inline void FakeWorld::on(const CloseSlots& e, Time) {
  FakeService& s = services_[e.service.value];
  for (const std::uint32_t slot : e.slots) {
    const ChildKey key{e.service, slot, 0, 0};
    if (std::erase(s.open, slot) == 0) violated("I17: a socket is closed once", key);
    for (const FakeChild& c : s.children) {
      if (c.key.is_worker() && c.key.slot == slot) violated("I17: a worker still has the socket", c.key);
    }
    if (s.distributed.empty() || std::count(s.distributed.begin(), s.distributed.end(), slot) != 0)
      violated("I17: connections go elsewhere before a socket is closed", key);
    const bool for_ever =
        s.spec.restart == RestartPolicy::always && s.spec.no_restart.empty() && s.spec.backoff.burst == 0;
    if (slot < s.workers() && for_ever) violated("I17: the slot's successor serves its queue", key);
  }
}

// I18: the keeper would refuse a second one.
inline void FakeWorld::on(const Upgrade&, Time) {
  if (upgrading_) violated("I18: one upgrade at a time", {});
  upgrading_ = true;
}

inline void FakeWorld::on(const StopWatching& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || !c->watched) return violated("I4: who is watched is let go once", e.key);
  c->watched = false;
}

inline void FakeWorld::on(const Examine& e, Time now) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive || !(c->key.is_worker() || c->key.is_look()))
    return violated("I4: no look at the dead", e.key);
  c->examined = true;
  if (!c->key.is_worker()) return;
  c->suspect = true;
  if (!c->says_unwell) c->ailing_at = now;
}

inline void FakeWorld::on(const RenewBacklog& e, Time) {
  const FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive || !c->ready) violated("I4: no backlog for the dead", e.key);
}

inline void FakeWorld::on(const Measure& e, Time) {
  if (e.service.value < services_.size()) services_[e.service.value].measuring = true;
}

inline void FakeWorld::on(const Distribute& e, Time) {
  FakeService& s = services_[e.service.value];
  const ChildKey key{e.service, e.slots.empty() ? 0 : e.slots.front(), 0, 0};
  if (s.spec.balance != Balance::reuseport || !std::is_sorted(e.slots.begin(), e.slots.end()))
    violated("I4: only sockets of single slots are chosen from", key);
  for (const std::uint32_t slot : e.slots) {
    if (!s.takes(slot)) violated("I4: connections go to slots that have somebody ready", key);
  }
  s.distributed = e.slots;
}

inline void FakeWorld::on(const KillTree& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body == Body::asked)
    return violated("I4: no kill of a tree that is not there", e.key);
  if (c->sweeping) violated("I9: one KillTree a child", e.key);
  if (c->body == Body::alive && !c->stopping) services_[e.key.service.value].hurt(c->key.slot);
  c->sweeping = true;
  c->awaiting = false;
}

inline void FakeWorld::on(const AwaitTree& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::dead || c->sweeping)
    return violated("I4: only what a dead main process has left is waited for", e.key);
  c->tree_left = true;
}

inline void FakeWorld::on(const Forget& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || !c->over)
    return violated("I9: every key is forgotten once, after its last event", e.key);
  auto& all = services_[e.key.service.value].children;
  all.erase(all.begin() + (c - all.data()));
}

inline void FakeWorld::on(const Probe& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive || c->probing)
    return violated("I4: no probe of the dead", e.key);
  c->probing = true;
}

inline void FakeWorld::on(const StopProbe& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || !c->probing) return violated("I4: a probe ends once", e.key);
  c->probing = false;
}

inline void FakeWorld::on(const SetMainPid& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive) return violated("I4: no main process for the dead", e.key);
  c->pid = e.pid;
}

inline void FakeWorld::on(const CloseService& e, Time) {
  FakeService& s = services_[e.service.value];
  s.open.clear();
  if (!s.children.empty())
    violated("I9: sockets are closed after the last child", ChildKey{e.service, 0, 0, 0});
}

inline void FakeWorld::on(const Answer& e, Time) {
  const auto it = std::find(requests_.begin(), requests_.end(), e.request);
  if (it == requests_.end()) return violated("I8: every request is answered once", ChildKey{});
  requests_.erase(it);
}

inline void FakeWorld::on(const Quit& e, Time) {
  for (const FakeService& s : services_) {
    if (!s.children.empty()) violated("I5: the end comes after the last child", s.children.front().key);
  }
  quit_ = e.status;
}

}  // namespace runmain::core

// A keeper, its children, a file watcher and a user, all made of plain data: what the core's effects do, and
// what can happen next. It also watches over the core: an effect that breaks an invariant of core/README.md
// is kept in violation() as a sentence that begins with its number.
//
// Invariant: a child's events come in the order in which a keeper tells them: Spawned, then Exited, then
// Swept. Non-goal: choosing; the explorer tries every choice, the simulation draws one.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/machine.hpp"
#include "core/state.hpp"
#include "support/fake_child.hpp"

namespace runmain::core {

class FakeWorld {
 public:
  explicit FakeWorld(std::vector<ServiceSpec> specs = {}) { configure(std::move(specs)); }

  // Carries out what a head sends; a number that was carried out already is dropped. `now` is for the
  // invariants.
  void execute(const Effect& effect, Time now);
  // A head that dies while it sends has told it all before.
  void hear(const Output& out) {
    for (const Fact& f : out.facts) notice(f);
  }
  void execute(const Output& out, Time now) {
    hear(out);
    for (const Effect& e : out.effects) execute(e, now);
  }
  std::uint64_t executed() const { return executed_; }

  // What the world does, as the event that tells it. Each requires that it can happen to this child.
  Event spawned(FakeChild& child);
  Event spawn_fails(FakeChild& child, int error, SpawnStage stage, Time now);
  Event ready(FakeChild& child, Time now);
  Event exits(FakeChild& child, int status, Time now);
  Event swept(FakeChild& child, bool survivors);
  Event announces(FakeChild& child, Time now);
  Event at_terminal(FakeChild& child, bool on);
  Event edited(std::uint32_t service, bool unknown = false);
  Event held(std::uint32_t service, bool on);
  Event asked(CommandVerb verb, std::vector<ServiceId> services, std::uint64_t request);
  Event signalled(int signal);
  Event scaled(std::uint32_t service, std::uint32_t workers, std::uint64_t request);
  Event canary(std::uint32_t service, std::uint32_t count, std::uint64_t request);
  Event room(std::uint32_t service, bool tight);
  Event queue_empty(FakeChild& child);
  Event used_up(FakeChild& child, bool memory);
  Event frozen(FakeChild& child, bool on, Time now);
  Event looked(FakeChild& child, bool well, Time now, bool answered = false);
  Event found(FakeChild& child, Stall stall, Time now);
  Event watchdog(FakeChild& child, Duration interval);
  Event triggers(FakeChild& child);
  Event drained(FakeChild& child);
  Event upgrade_ended(bool refused);
  Event configured_again(std::vector<ServiceSpec> specs, Mode mode);

  // The next thing that happens if nobody does anything more, every child obeys and nothing fails; moves
  // `now` to the core's deadline where only time can help. nullopt: all is quiet.
  std::optional<Event> calm(Time next_deadline, Time& now);

  // I13 and I15, which hold in every state: what a gradual roll takes away, it takes batch by batch.
  void check_rolls(const Snapshot& snapshot);

  // All is quiet, but for what never ends.
  bool perpetual() const {
    return std::any_of(services_.begin(), services_.end(),
                       [](const FakeService& s) { return s.perpetual(); });
  }

  // What must hold when all is quiet. Empty, or a violated invariant.
  std::string check_quiet(const Snapshot& snapshot) const;

  const std::string& violation() const { return violation_; }
  bool over() const { return quit_.has_value(); }
  std::optional<std::int32_t> quit_status() const { return quit_; }
  bool shutting_down() const { return shutting_down_; }
  bool upgrading() const { return upgrading_; }
  std::vector<FakeService>& services() { return services_; }
  const std::vector<FakeService>& services() const { return services_; }
  std::uint64_t spawns() const { return spawns_; }

  template <class A>
  void fields(A& a) {
    a("services", services_);
    a("requests", requests_);
    a("shutting_down", shutting_down_);
    a("forced", forced_);
    a("signals", signals_);
    a("upgrading", upgrading_);
  }

 private:
  void configure(std::vector<ServiceSpec> specs);
  void on(const Spawn& e, Time now);
  void on(const Kill& e, Time now);
  void on(const KillTree& e, Time now);
  void on(const Forget& e, Time now);
  void on(const Probe& e, Time now);
  void on(const StopProbe& e, Time now);
  void on(const AskDrain& e, Time now);
  void on(const CloseService& e, Time now);
  void on(const Answer& e, Time now);
  void on(const Quit& e, Time now);
  void on(const GrantRole&, Time) {}
  void on(const WatchHealth& e, Time now);
  void on(const StopWatching& e, Time now);
  void on(const Measure& e, Time now);
  void on(const Distribute& e, Time now);
  void on(const AwaitQueue& e, Time now);
  void on(const RenewBacklog& e, Time now);
  void on(const AwaitTree& e, Time now);
  void on(const CloseSlots& e, Time now);
  void on(const Examine& e, Time now);
  void on(const SetMainPid& e, Time now);
  void on(const Upgrade& e, Time now);

  void says(FakeChild& c, bool unwell, Time now);
  std::string check_quiet(const ServiceView& v) const;
  void notice(const Fact& f);
  void check_helper(FakeService& s, const Spawn& e, Time now);
  void give_up(FakeService& s, FakeChild& c, FakeRun& run, Time now);
  bool check_start(FakeService& s, const Spawn& e, Time now);
  void leave(FakeService& s, FakeChild& c, FakeRun& run, const Spawn& e, Time now);
  void check_recycling(const FakeService& s, const ChildKey& key);
  void check_stop_order(const FakeChild& c);
  std::optional<Event> calm_child(FakeChild& c, Time now);
  void check_generations(const FakeService& s, const ChildKey& key);
  void check_delay(const FakeService& s, const FakeRun& run, const Spawn& e, Time now);
  bool serves_fully(const FakeService& s) const;
  FakeChild* find(const ChildKey& key);
  FakeRun& run_of(FakeService& s, const ChildKey& key);
  void violated(const char* invariant, const ChildKey& key);

  std::vector<FakeService> services_;
  std::vector<std::uint64_t> requests_;  // not answered
  std::uint64_t executed_ = 0;
  std::uint64_t spawns_ = 0;
  std::int32_t next_pid_ = 100;
  bool shutting_down_ = false;
  bool forced_ = false;
  bool upgrading_ = false;
  std::uint32_t signals_ = 0;
  std::optional<std::int32_t> quit_;
  std::string violation_;
};

inline void FakeWorld::violated(const char* invariant, const ChildKey& key) {
  if (violation_.empty()) violation_ = std::string(invariant) + " (" + key.text() + ")";
}

inline void FakeWorld::configure(std::vector<ServiceSpec> specs) {
  std::vector<bool> was;
  for (FakeService& s : services_) was.push_back(std::exchange(s.configured, false));
  for (ServiceSpec& spec : specs) {
    auto it = std::find_if(services_.begin(), services_.end(),
                           [&spec](const FakeService& s) { return s.spec.name == spec.name; });
    if (it == services_.end()) it = services_.insert(services_.end(), FakeService{});
    const auto index = static_cast<std::size_t>(it - services_.begin());
    const std::uint32_t before = it->workers();
    if (index >= was.size() || !was[index] || it->spec.workers != spec.workers ||
        it->spec.workers_max != spec.workers_max)
      it->scaled.reset();
    it->configured = true;
    it->by_slots |= spec.roll.gradual;
    it->lingering = std::max(it->lingering, spec.stop.lingering);
    it->spec = std::move(spec);
    it->grows_from(before);
  }
  for (FakeService& s : services_) {
    s.needs.clear();
    s.needed_by.clear();
  }
  for (std::uint32_t n = 0; n < services_.size(); ++n) {
    for (std::uint32_t m = 0; m < services_.size(); ++m) {
      const auto& needs = services_[n].spec.depends_on;
      if (std::count(needs.begin(), needs.end(), services_[m].spec.name) == 0) continue;
      services_[n].needs.push_back(m);
      services_[m].needed_by.push_back(n);
    }
  }
}

inline Event FakeWorld::spawned(FakeChild& c) {
  c.body = Body::alive;
  if (c.key.is_worker() || c.key.is_build()) {
    run_of(services_[c.key.service.value], c.key).spawn_failures = 0;
  }
  return Spawned{c.key, c.pid, SpawnStage::none, 0, {}};
}

inline Event FakeWorld::spawn_fails(FakeChild& c, int error, SpawnStage stage, Time now) {
  c.over = true;
  if (c.key.is_about()) return Spawned{c.key, 0, stage, error, "cannot run it"};
  FakeRun& run = run_of(services_[c.key.service.value], c.key);
  ++run.ends;
  ++run.spawn_failures;
  run.failure_at = now;
  return Spawned{c.key, 0, stage, error, "cannot run it"};
}

inline Event FakeWorld::ready(FakeChild& c, Time now) {
  c.ready = true;
  run_of(services_[c.key.service.value], c.key).by_itself = false;
  std::uint32_t& serving = services_[c.key.service.value].serving;
  serving = std::max(serving, c.key.generation);
  c.probing = false;  // a probe ends by itself with Ready
  c.ready_at = now;
  const bool asked = services_[c.key.service.value].spec.ready.kind == ReadyKind::exec;
  return Ready{c.key, asked ? Proof::probe : Proof::notify, {}};
}

inline Event FakeWorld::exits(FakeChild& c, int status, Time now) {
  FakeService& s = services_[c.key.service.value];
  if (c.key.is_about()) {
    FakeChild* about = find(c.about);
    // Its word counts for one that still starts; the core ends the other ways of finding out.
    const bool counts = about != nullptr && about->body == Body::alive && about->probing && !c.stopping;
    if (c.key.is_probe() && counts && s.clean(status)) {
      ready(*about, now);
      about->probing = true;
    }
    // One that was given up meanwhile is so since then.
    if (c.key.is_look() && about != nullptr && about->serves()) about->ails(status != 0, now);
    if (c.key.is_look() && about != nullptr && !c.stopping && !c.sweeping) says(*about, status != 0, now);
    c.body = Body::dead;
    return Exited{c.key, c.pid, status, true};
  }
  FakeRun& run = run_of(s, c.key);
  ++run.ends;
  const bool asked = c.stopping || c.awaiting || c.sweeping;
  const bool served = c.announced ? c.served : c.ready && now - c.ready_at >= kWorkDone;
  const bool work_done = served && !asked && !c.hung && s.clean(status);
  const bool healthy = c.ready && now - c.ready_at >= s.spec.backoff.reset;
  if (!c.leaving) {  // else its successor's run is what counts
    if (healthy) run.deaths = 0;
    if (!asked && !work_done) {
      ++run.deaths;
      run.death_at = now;
    }
    run.by_itself = work_done;
  }
  if (!c.stopping && c.key.is_worker()) s.hurt(c.key.slot);
  c.body = Body::dead;
  return Exited{c.key, c.pid, status, true};
}

inline Event FakeWorld::swept(FakeChild& c, bool survivors) {
  const bool counts = c.key.is_worker() || c.key.is_build();
  if (c.body != Body::dead && counts) {
    FakeRun& run = run_of(services_[c.key.service.value], c.key);
    ++run.ends;
    run.deaths = 0;  // the core may have seen a healthy run
  }
  if (c.body != Body::dead && c.key.is_look()) {
    if (FakeChild* about = find(c.about)) about->ailing = true;
  }
  c.over = true;
  Swept event{c.key, {}};
  if (survivors) event.survivors.push_back("1234 stuck");
  return event;
}

// What has served is replaced at once, as one that has done its work.
inline Event FakeWorld::announces(FakeChild& c, Time now) {
  c.announced = true;
  c.served = c.ready && now - c.ready_at >= kWorkDone;
  services_[c.key.service.value].hurt(c.key.slot);
  return Stopping{c.key, c.pid};
}

inline Event FakeWorld::at_terminal(FakeChild& c, bool on_now) {
  c.at_terminal = on_now;
  return AtTerminal{c.key, on_now};
}

inline Event FakeWorld::edited(std::uint32_t service, bool unknown) {
  FakeService& s = services_[service];
  s.edit_open = true;
  s.edit_after = s.newest;
  return Changed{ServiceId{service}, {}, 1, unknown};
}

inline Event FakeWorld::held(std::uint32_t service, bool on_now) {
  services_[service].held = on_now;
  return Held{ServiceId{service}, on_now};
}

inline Event FakeWorld::asked(CommandVerb verb, std::vector<ServiceId> services, std::uint64_t request) {
  requests_.push_back(request);
  if (verb == CommandVerb::shutdown) shutting_down_ = true;
  return Command{verb, std::move(services), SIGUSR1, request};
}

inline Event FakeWorld::signalled(int signal) {
  if (signal == SIGINT || signal == SIGTERM || signal == SIGQUIT) {
    shutting_down_ = true;
    forced_ = ++signals_ >= 2;
  }
  return Signalled{signal};
}

inline Event FakeWorld::upgrade_ended(bool refused) {
  upgrading_ = false;
  return UpgradeEnded{refused ? "it cannot take over" : "", !refused, "0.2"};
}

inline Event FakeWorld::scaled(std::uint32_t service, std::uint32_t workers, std::uint64_t request) {
  requests_.push_back(request);
  return Command{CommandVerb::scale, {ServiceId{service}}, 0, request, workers};
}

inline Event FakeWorld::canary(std::uint32_t service, std::uint32_t count, std::uint64_t request) {
  requests_.push_back(request);
  FakeService& s = services_[service];
  s.by_slots = true;
  s.canary = std::max(s.canary, count);
  return Command{CommandVerb::reload, {ServiceId{service}}, 0, request, count};
}

inline Event FakeWorld::room(std::uint32_t service, bool tight) {
  services_[service].measuring = false;
  return Room{ServiceId{service}, tight ? 0U : 1U << 30U, 1U << 20U};
}

inline Event FakeWorld::queue_empty(FakeChild& c) { return QueueEmpty{c.key}; }

inline Event FakeWorld::used_up(FakeChild& c, bool memory) {
  if (memory) return Measured{c.key, 1ULL << 50U};
  return Requests{c.key, 1ULL << 50U, 0};
}

inline Event FakeWorld::frozen(FakeChild& c, bool on_now, Time now) {
  c.frozen = on_now;
  c.ails(on_now, now);
  return Frozen{c.key, on_now};
}

// What it answers of itself.
inline void FakeWorld::says(FakeChild& c, bool unwell, Time now) {
  c.says_unwell = unwell;
  FakeService& s = services_[c.key.service.value];
  // The core may have seen a healthy run.
  if (unwell && now - c.ready_at >= s.spec.backoff.reset) run_of(s, c.key).deaths = 0;
}

inline Event FakeWorld::looked(FakeChild& c, bool well, Time now, bool answered) {
  c.ails(!well, now);
  if (well) c.wants_word = false;
  says(c, !well && (answered || c.says_unwell), now);
  return Looked{c.key, well, Stall::unknown, answered ? "answered 503" : "no answer", answered};
}

// What Examine was for.
inline Event FakeWorld::found(FakeChild& c, Stall stall, Time now) {
  c.examined = false;
  c.suspect = stall != Stall::starved || !c.ready;  // a start has its time and no more
  if (stall != Stall::starved) c.ails(true, now);
  // With no CPU at all it is excused for ever.
  const Duration cpu = std::chrono::milliseconds(c.suspect ? 1 : 0);
  return Looked{c.key, false, stall, "seen from outside", false, true, cpu};
}

inline Event FakeWorld::watchdog(FakeChild& c, Duration interval) {
  c.beats = true;
  const auto usec = std::chrono::duration_cast<std::chrono::microseconds>(interval).count();
  return Watchdog{c.key, static_cast<std::uint64_t>(usec), false};
}

inline Event FakeWorld::triggers(FakeChild& c) {
  c.suspect = true;  // by its own word
  return Watchdog{c.key, 0, true};
}

inline Event FakeWorld::drained(FakeChild& c) {
  c.drained = true;
  return Drained{c.key, c.pid, {}};
}

inline Event FakeWorld::configured_again(std::vector<ServiceSpec> specs, Mode mode) {
  configure(specs);
  return Configured{Desired{mode, "/x/supervisor.toml", std::move(specs)}, {}};
}

inline std::optional<Event> FakeWorld::calm_child(FakeChild& c, Time now) {
  if (c.body == Body::asked) return spawned(c);
  if (c.body == Body::dead) return c.sweeping || c.tree_left ? std::optional(swept(c, false)) : std::nullopt;
  if (c.stopping || c.sweeping) return exits(c, c.sweeping ? SIGKILL : SIGTERM, now);
  if (!c.key.is_worker()) return exits(c, 0, now);
  if (c.at_terminal) return at_terminal(c, false);
  if (c.probing) return ready(c, now);
  if (c.awaiting) return queue_empty(c);
  if (c.watched && c.wants_word) return looked(c, true, now);
  if (c.examined) return found(c, Stall::waiting, now);
  return std::nullopt;
}

inline std::optional<Event> FakeWorld::calm(Time next_deadline, Time& now) {
  if (upgrading_) return upgrade_ended(true);
  for (std::uint32_t n = 0; n < services_.size(); ++n) {
    if (services_[n].held) return held(n, false);
    if (services_[n].measuring) return room(n, false);
    for (FakeChild& c : services_[n].children) {
      if (auto event = calm_child(c, now)) return event;
    }
  }
  if (next_deadline == kNever) return std::nullopt;
  now = std::max(now, next_deadline);
  return Tick{};
}

inline void FakeWorld::check_rolls(const Snapshot& snapshot) {
  for (const ServiceView& v : snapshot.services) {
    FakeService& s = services_[v.id.value];
    const std::uint32_t workers = v.wanted_workers;
    // A slot whose work is done or has failed for good gets nothing back from a roll that fails.
    const bool for_ever =
        s.spec.restart == RestartPolicy::always && s.spec.no_restart.empty() && s.spec.backoff.burst == 0;
    const bool rolls = v.rolling_to != 0 && !shutting_down_ && for_ever;
    const bool old_first = s.tight || !s.overlaps() || s.spec.roll.order == RollOrder::old_first;
    s.well.resize(workers, false);
    // The next roll may begin in the step in which one fails, whose slots go back all at once.
    const bool goes_on = s.rolled_to == 0 || v.rolling_to == s.rolled_to;
    s.rolled_to = v.rolling_to;
    std::uint32_t missing = 0;
    for (std::uint32_t slot = 0; slot < workers; ++slot) {
      const bool takes = s.takes(slot);
      s.well[slot] = takes || (rolls && goes_on && s.well[slot]);
      missing += s.well[slot] && !takes ? 1 : 0;
    }
    const ChildKey key{v.id, 0, v.rolling_to, missing};
    const std::uint32_t batch = std::max({s.spec.roll.batch.of(workers), s.spec.roll.canary, s.canary});
    if (!old_first && missing > 0)
      violated("I15: new first: nothing of a slot goes before its successor is ready", key);
    if (missing > batch)
      violated("I13: a gradual roll has no more slots without a ready worker than its batch", key);
  }
}

// Nothing more will happen by itself to this service, and everything of it is in its place.
inline std::string FakeWorld::check_quiet(const ServiceView& v) const {
  const FakeService& s = services_[v.id.value];
  const auto& all = v.workers;
  const bool lost = std::any_of(all.begin(), all.end(), [](const WorkerView& w) {
    return w.state == WorkerState::failed;  // a slot that has failed for good
  });
  const auto workers = std::count_if(s.children.begin(), s.children.end(),
                                     [](const FakeChild& c) { return c.key.is_worker(); });
  const bool at_rest = v.state == ServiceState::stopped || v.state == ServiceState::failed ||
                       v.state == ServiceState::done || v.state == ServiceState::waiting;
  const bool less = v.state == ServiceState::backoff && lost;
  if (!at_rest && !less && v.state != ServiceState::ready) return "I5: a service never comes to rest";
  if (at_rest && !s.children.empty()) return "I5: a child is left over";
  if (!at_rest && workers == 0) return "I5: one that has nobody left does not say so";
  if (v.state == ServiceState::ready && s.spec.restart == RestartPolicy::always) {
    if (workers != v.wanted_workers || !serves_fully(s)) return "I2: one child for each slot";
  }
  if (less && (workers == 0 || workers >= v.wanted_workers))
    return "I2: one child for each slot that is left";
  const bool serves = v.state == ServiceState::ready || less;
  for (const std::uint32_t slot : s.open) {
    const bool there = std::any_of(s.children.begin(), s.children.end(), [slot](const FakeChild& c) {
      return c.key.is_worker() && c.key.slot == slot;
    });
    const bool stand_in = slot == 0 && s.spec.await_change;  // has the first socket, too
    if (serves && !there && !stand_in) return "I17: a socket is left that nobody serves";
  }
  for (const FakeChild& c : s.children) {
    if (c.key.is_hook()) return "I16: a hook that does not end";
    if (c.hung) return "I16: one that hangs is left";
    if (c.examined && c.serves()) return "I5: a worker is in doubt for ever";
  }
  const bool may_ignore = v.state == ServiceState::stopped || v.state == ServiceState::waiting ||
                          (v.state == ServiceState::failed && v.reason.find("could not be stopped") == 0);
  if (s.edit_open && s.configured && !may_ignore) return "I1: an edit is lost";
  return {};
}

inline std::string FakeWorld::check_quiet(const Snapshot& snapshot) const {
  if (!violation_.empty()) return violation_;
  if (!requests_.empty()) return "I8: a request was never answered";
  if (shutting_down_ && !quit_) return "I5: the shutdown does not end";
  if (quit_) return {};
  for (const ServiceView& v : snapshot.services) {
    const std::string wrong = check_quiet(v);
    if (wrong.empty()) continue;
    std::string who;
    for (const WorkerView& w : v.workers) who += ", " + w.key.text() + " " + name_of(w.state);
    return wrong + " (" + v.name + ", " + name_of(v.state) + ", wants " + std::to_string(v.wanted_workers) +
           who + ")";
  }
  return {};
}

}  // namespace runmain::core

#include "support/fake_keeper.hpp"

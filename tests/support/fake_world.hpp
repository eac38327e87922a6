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
#include <vector>

#include "core/machine.hpp"

namespace runmain::core {

enum class Body : std::uint8_t {
  asked,  // Spawn is carried out, the core does not know how it went
  alive,
  dead,  // the core knows
};

struct FakeChild {
  ChildKey key;
  std::int32_t pid = 0;
  Body body = Body::asked;
  bool probing = false;
  bool ready = false;
  bool stopping = false;     // got its stop signal
  bool announced = false;    // said STOPPING=1
  bool sweeping = false;     // KillTree is carried out
  bool at_terminal = false;  // waits for a person
  bool over = false;         // the core was told its last event: Forget is due
  Time ready_at{};
  bool serves() const { return body == Body::alive && ready && !stopping && !sweeping; }
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("body", body);
    a("probing", probing);
    a("ready", ready);
    a("stopping", stopping);
    a("announced", announced);
    a("sweeping", sweeping);
    a("at_terminal", at_terminal);
    a("over", over);
    a("ready_at", ready_at);
  }
};

// What was seen of one slot in one generation.
struct FakeRun {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::uint32_t attempt = 0;
  std::uint32_t ends = 0;    // of attempts; one start needs one end
  std::uint32_t deaths = 0;  // by itself, in a row
  std::uint32_t spawn_failures = 0;
  Time death_at{};
  Time failure_at{};
  template <class A>
  void fields(A& a) {
    a("slot", slot);
    a("generation", generation);
    a("attempt", attempt);
    a("ends", ends);
    a("deaths", deaths);
    a("spawn_failures", spawn_failures);
    a("death_at", death_at);
    a("failure_at", failure_at);
  }
};

struct FakeService {
  ServiceSpec spec;
  bool configured = true;
  bool held = false;
  bool edit_open = false;        // an edit that no start has followed
  std::uint32_t edit_after = 0;  // the newest generation when it was made
  std::uint32_t newest = 0;
  std::uint32_t serving = 0;  // the newest generation that was ready
  std::vector<std::uint32_t> needs;
  std::vector<std::uint32_t> needed_by;
  std::vector<FakeChild> children;
  std::vector<FakeRun> runs;
  template <class A>
  void fields(A& a) {
    a("configured", configured);
    a("held", held);
    a("edit_open", edit_open);
    a("edit_after", edit_after);
    a("newest", newest);
    a("serving", serving);
    a("children", children);
    a("runs", runs);
  }
};

class FakeWorld {
 public:
  explicit FakeWorld(std::vector<ServiceSpec> specs = {}) { configure(std::move(specs)); }

  // Carries out what a head sends; a number that was carried out already is dropped. `now` is for the
  // invariants.
  void execute(const Effect& effect, Time now);
  void execute(const Output& out, Time now) {
    for (const Effect& e : out.effects) execute(e, now);
  }
  std::uint64_t executed() const { return executed_; }

  // What the world does, as the event that tells it. Each requires that it can happen to this child.
  Event spawned(FakeChild& child);
  Event spawn_fails(FakeChild& child, int error, SpawnStage stage, Time now);
  Event ready(FakeChild& child, Time now);
  Event exits(FakeChild& child, int status, Time now);
  Event swept(FakeChild& child, bool survivors);
  Event announces(FakeChild& child);
  Event at_terminal(FakeChild& child, bool on);
  Event edited(std::uint32_t service, bool unknown = false);
  Event held(std::uint32_t service, bool on);
  Event asked(CommandVerb verb, std::vector<ServiceId> services, std::uint64_t request);
  Event signalled(int signal);
  Event configured_again(std::vector<ServiceSpec> specs, Mode mode);

  // The next thing that happens if nobody does anything more, every child obeys and nothing fails; moves
  // `now` to the core's deadline where only time can help. nullopt: all is quiet.
  std::optional<Event> calm(Time next_deadline, Time& now);

  // What must hold when all is quiet. Empty, or a violated invariant.
  std::string check_quiet(const Snapshot& snapshot) const;

  const std::string& violation() const { return violation_; }
  bool over() const { return quit_.has_value(); }
  std::optional<std::int32_t> quit_status() const { return quit_; }
  bool shutting_down() const { return shutting_down_; }
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
  void on(const WatchHealth&, Time) {}
  void on(const StopWatching&, Time) {}
  void on(const Measure&, Time) {}
  void on(const Distribute&, Time) {}
  void on(const AwaitQueue&, Time) {}
  void on(const RenewBacklog&, Time) {}
  void on(const AwaitTree&, Time) {}
  void on(const SetMainPid& e, Time now);

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
  std::uint32_t signals_ = 0;
  std::optional<std::int32_t> quit_;
  std::string violation_;
};

inline void FakeWorld::violated(const char* invariant, const ChildKey& key) {
  if (violation_.empty()) violation_ = std::string(invariant) + " (" + key.text() + ")";
}

inline void FakeWorld::configure(std::vector<ServiceSpec> specs) {
  for (FakeService& s : services_) s.configured = false;
  for (ServiceSpec& spec : specs) {
    auto it = std::find_if(services_.begin(), services_.end(),
                           [&spec](const FakeService& s) { return s.spec.name == spec.name; });
    if (it == services_.end()) it = services_.insert(services_.end(), FakeService{});
    it->configured = true;
    it->spec = std::move(spec);
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
  const std::uint32_t kept = std::min(s.serving, key.generation);
  const auto old = [kept](const FakeRun& run) { return run.generation + 1 < kept; };
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
  for (const FakeChild& c : s.children) {
    const bool same = c.key.slot == e.key.slot && c.key.generation == e.key.generation;
    if (same && c.body != Body::dead && !c.over) violated("I3: no second copy", e.key);
  }
  FakeRun& run = run_of(s, e.key);
  if (run.attempt + 1 != e.key.attempt) violated("I3: every start has a key of its own", e.key);
  if (run.ends != run.attempt) violated("I2: one start for each stop", e.key);
  run.attempt = e.key.attempt;
  if (!e.key.is_build()) {
    if (e.reason == Reason::scale) run.deaths = run.spawn_failures = 0;  // a slot that was away begins anew
    check_generations(s, e.key);
    check_delay(s, run, e, now);
  }
  if (e.reason == Reason::start && !e.key.is_build() && e.key.attempt == 1) {
    for (const std::uint32_t n : s.needs) {
      if (!serves_fully(services_[n])) violated("I12: a service starts after what it needs", e.key);
    }
  }
  if (e.key.is_build() || e.key.generation > s.edit_after) s.edit_open = false;
  s.newest = std::max(s.newest, e.key.generation);
  FakeChild& c = s.children.emplace_back();
  c.key = e.key;
  c.pid = next_pid_++;
}

inline void FakeWorld::check_generations(const FakeService& s, const ChildKey& key) {
  std::uint32_t other = key.generation;
  for (const FakeChild& c : s.children) {
    if (c.key.is_build() || c.key.generation == key.generation || c.key.generation == other) continue;
    if (other != key.generation) return violated("I6: at most two generations alive", key);
    other = c.key.generation;
  }
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

inline bool FakeWorld::serves_fully(const FakeService& s) const {
  std::uint32_t slots = 0;
  for (std::uint32_t slot = 0; slot < s.spec.workers; ++slot) {
    const auto serves = [slot](const FakeChild& c) { return c.key.slot == slot && c.serves(); };
    slots += std::any_of(s.children.begin(), s.children.end(), serves) ? 1 : 0;
  }
  return slots == s.spec.workers || s.spec.restart != RestartPolicy::always;
}

inline void FakeWorld::on(const Kill& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive) return violated("I4: no signal to a reaped pid", e.key);
  if (e.signal == SIGABRT) c->stopping = true;
}

inline void FakeWorld::on(const AskDrain& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body != Body::alive) return violated("I4: no word to a dead child", e.key);
  const FakeService& s = services_[e.key.service.value];
  if (shutting_down_ && !forced_ && c->ready) {
    for (const std::uint32_t n : s.needed_by) {
      if (!services_[n].children.empty()) violated("I12: a service stops after what needs it", e.key);
    }
  }
  c->stopping = true;
}

inline void FakeWorld::on(const KillTree& e, Time) {
  FakeChild* c = find(e.key);
  if (c == nullptr || c->body == Body::asked)
    return violated("I4: no kill of a tree that is not there", e.key);
  if (c->sweeping) violated("I9: one KillTree a child", e.key);
  c->sweeping = true;
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
  const FakeService& s = services_[e.service.value];
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

inline Event FakeWorld::spawned(FakeChild& c) {
  c.body = Body::alive;
  run_of(services_[c.key.service.value], c.key).spawn_failures = 0;
  return Spawned{c.key, c.pid, SpawnStage::none, 0, {}};
}

inline Event FakeWorld::spawn_fails(FakeChild& c, int error, SpawnStage stage, Time now) {
  c.over = true;
  FakeRun& run = run_of(services_[c.key.service.value], c.key);
  ++run.ends;
  ++run.spawn_failures;
  run.failure_at = now;
  return Spawned{c.key, 0, stage, error, "cannot run it"};
}

inline Event FakeWorld::ready(FakeChild& c, Time now) {
  c.ready = true;
  std::uint32_t& serving = services_[c.key.service.value].serving;
  serving = std::max(serving, c.key.generation);
  c.probing = false;  // a probe ends by itself with Ready
  c.ready_at = now;
  return Ready{c.key, Proof::notify, {}};
}

inline Event FakeWorld::exits(FakeChild& c, int status, Time now) {
  FakeService& s = services_[c.key.service.value];
  FakeRun& run = run_of(s, c.key);
  ++run.ends;
  const bool as_told = c.announced && c.ready && status == 0;
  const bool healthy = c.ready && now - c.ready_at >= s.spec.backoff.reset;
  if (healthy && !as_told) run.deaths = 0;
  if (!c.stopping && !c.sweeping && !as_told) {
    ++run.deaths;
    run.death_at = now;
  }
  c.body = Body::dead;
  return Exited{c.key, c.pid, status, true};
}

inline Event FakeWorld::swept(FakeChild& c, bool survivors) {
  if (c.body != Body::dead) {
    FakeRun& run = run_of(services_[c.key.service.value], c.key);
    ++run.ends;
    run.deaths = 0;  // the core may have seen a healthy run
  }
  c.over = true;
  Swept event{c.key, {}};
  if (survivors) event.survivors.push_back("1234 stuck");
  return event;
}

inline Event FakeWorld::announces(FakeChild& c) {
  c.announced = true;
  return Stopping{c.key};
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
  if (signal == SIGINT || signal == SIGTERM) {
    shutting_down_ = true;
    forced_ = ++signals_ >= 2;
  }
  return Signalled{signal};
}

inline Event FakeWorld::configured_again(std::vector<ServiceSpec> specs, Mode mode) {
  configure(specs);
  return Configured{Desired{mode, "/x/supervisor.toml", std::move(specs)}, {}};
}

inline std::optional<Event> FakeWorld::calm(Time next_deadline, Time& now) {
  for (std::uint32_t n = 0; n < services_.size(); ++n) {
    if (services_[n].held) return held(n, false);
    for (FakeChild& c : services_[n].children) {
      if (c.body == Body::asked) return spawned(c);
      if (c.body == Body::alive && (c.stopping || c.sweeping))
        return exits(c, c.sweeping ? SIGKILL : SIGTERM, now);
      if (c.body == Body::alive && c.key.is_build()) return exits(c, 0, now);
      if (c.body == Body::dead && c.sweeping) return swept(c, false);
      if (c.body == Body::alive && c.at_terminal) return at_terminal(c, false);
      if (c.probing) return ready(c, now);
    }
  }
  if (next_deadline == kNever) return std::nullopt;
  now = std::max(now, next_deadline);
  return Tick{};
}

inline std::string FakeWorld::check_quiet(const Snapshot& snapshot) const {
  if (!violation_.empty()) return violation_;
  if (!requests_.empty()) return "I8: a request was never answered";
  if (shutting_down_ && !quit_) return "I5: the shutdown does not end";
  if (quit_) return {};
  for (const ServiceView& v : snapshot.services) {
    const FakeService& s = services_[v.id.value];
    const std::string where = " (" + v.name + ", " + name_of(v.state) + ")";
    const bool at_rest = v.state == ServiceState::stopped || v.state == ServiceState::failed ||
                         v.state == ServiceState::done || v.state == ServiceState::waiting;
    if (!at_rest && v.state != ServiceState::ready) return "I5: a service never comes to rest" + where;
    if (at_rest && !s.children.empty()) return "I5: a child is left over" + where;
    if (v.state == ServiceState::ready && s.spec.restart == RestartPolicy::always) {
      if (s.children.size() != s.spec.workers || !serves_fully(s))
        return "I2: one child for each slot" + where;
    }
    const bool may_ignore = v.state == ServiceState::stopped || v.state == ServiceState::waiting ||
                            (v.state == ServiceState::failed && v.reason.find("could not be stopped") == 0);
    if (s.edit_open && s.configured && !may_ignore) return "I1: an edit is lost" + where;
  }
  return {};
}

}  // namespace runmain::core

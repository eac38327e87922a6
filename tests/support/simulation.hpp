// A random life: services of every kind, a world that answers late and in any order, users, faults, and heads
// that die between any two steps. Everything follows from the seed.
//
// Invariant: the same seed and the same number of steps make the same events.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/archive.hpp"
#include "support/fake_world.hpp"

namespace runmain::core {

struct SimulationOptions {
  std::uint32_t services = 12;
  std::uint32_t head_death_in = 0;  // one event in so many; 0: heads do not die
  std::uint32_t rest_every = 0;     // come to rest and check after so many events; 0: never
  std::uint32_t checkpoint_every = 500;
  bool watch_rolls = false;  // after every event: I13 and I15
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, SimulationOptions options) : options_(options), random_(seed * 2 + 1) {
    begin();
  }

  // One event. False once an invariant is broken: then wrong() says which.
  bool step() {
    if (world_.over()) begin();
    now_ += Duration(pick(3'000'000));
    handle(next_event());
    if (options_.watch_rolls) world_.check_rolls(machine_.snapshot());
    if (options_.rest_every != 0 && events_ % options_.rest_every == 0) come_to_rest();
    if (wrong_.empty() && !world_.violation().empty()) wrong_ = world_.violation();
    return wrong_.empty();
  }

  const std::string& wrong() const { return wrong_; }
  std::uint64_t events() const { return events_; }
  std::uint64_t effects() const { return effects_; }
  std::uint64_t spawns() const { return spawns_ + world_.spawns(); }
  std::uint64_t lives() const { return lives_; }
  std::uint64_t head_deaths() const { return head_deaths_; }
  std::uint64_t rests() const { return rests_; }
  const Machine& machine() const { return machine_; }

 private:
  std::uint64_t draw() {
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 7U;
    random_ ^= random_ << 17U;
    return random_;
  }
  std::uint64_t pick(std::uint64_t below) { return (draw() >> 16U) % below; }
  bool chance(std::uint64_t in_thousand) { return pick(1000) < in_thousand; }

  ServiceSpec some_spec(std::uint32_t n) {
    using namespace std::chrono_literals;
    ServiceSpec spec;
    spec.name = "s" + std::to_string(n);
    spec.command.argv = {"./" + spec.name};
    spec.workers = 1 + static_cast<std::uint32_t>(pick(3));
    spec.overlap = !chance(300);
    if (chance(100)) spec.port = 8000;
    if (chance(600)) spec.watch.emplace();
    if (spec.watch && chance(400)) spec.watch->build = CommandSpec{{"make"}, false};
    if (spec.watch && chance(250)) spec.watch->on_change = OnChange::queue;
    spec.await_change = spec.watch && chance(300);
    if (chance(200)) spec.restart = chance(500) ? RestartPolicy::on_failure : RestartPolicy::never;
    spec.backoff.burst = chance(300) ? 5 : 0;
    spec.ready.timeout = 5s;
    spec.stop.timeout = 2s;
    if (n > 0 && chance(400)) spec.depends_on.push_back("s" + std::to_string(pick(n)));
    pool_fields(spec);
    return spec;
  }

  void pool_fields(ServiceSpec& spec) {
    using namespace std::chrono_literals;
    spec.roll.gradual = chance(400);
    spec.roll.order = chance(400) ? RollOrder::old_first : RollOrder::new_first;
    spec.roll.batch.count = 1 + static_cast<std::uint32_t>(pick(2));
    spec.roll.canary = chance(300) ? 1 : 0;
    spec.roll.canary_hold = Duration(pick(5'000'000'000));
    spec.roll.hold = chance(300) ? 1s : 0s;
    spec.roll.memory_guard = chance(500);
    spec.workers_max = chance(200) ? spec.workers + 1 : 0;
    if (chance(200)) spec.balance = Balance::reuseport;
    if (chance(200)) spec.health.kind = chance(600) ? HealthKind::http : HealthKind::exec;
    spec.health.interval = 2s;
    spec.health.timeout = 1s;
    spec.health.failures = 1 + static_cast<std::uint32_t>(pick(2));
    if (chance(200)) spec.ready.kind = ReadyKind::exec;
    if (chance(300)) spec.hang.stopped = 1s;
    if (chance(500)) spec.hang.hook = CommandSpec{{"gcore"}, false};
    spec.hang.hook_timeout = 2s;
    if (chance(300)) spec.recycle.requests = 100;
    if (chance(200)) spec.recycle.memory = 1U << 20U;
    if (chance(100)) spec.recycle.lifetime = 60s;
    if (chance(300)) spec.stop.then = {{SIGINT, 500ms}, {SIGQUIT, 1s}};
    spec.stop.lingering = static_cast<std::uint32_t>(pick(2));
    if (chance(200)) spec.success = {1};
    if (chance(100)) spec.no_restart = {1000 + SIGSEGV};
  }

  void begin() {
    spawns_ += world_.spawns();
    ++lives_;
    specs_.clear();
    for (std::uint32_t n = 0; n < options_.services; ++n) specs_.push_back(some_spec(n));
    world_ = FakeWorld(specs_);
    machine_ = Machine(draw());
    mode_ = chance(500) ? Mode::dev : Mode::prod;
    log_.clear();
    checkpoint_ = machine_.save();
    handle(Configured{Desired{mode_, "/x/supervisor.toml", specs_}, {}});
  }

  void handle(const Event& event) {
    ++events_;
    out_.clear();
    machine_.handle(event, now_, out_);
    effects_ += out_.effects.size();
    if (std::holds_alternative<Tick>(event) && machine_.next_deadline() <= now_) {
      wrong_ = "I11: a deadline that is reached is gone after a Tick";
    }
    if (options_.head_death_in == 0) return world_.execute(out_, now_);
    log_.emplace_back(event, now_);
    if (pick(options_.head_death_in) == 0) {
      world_.hear(out_);
      const std::size_t sent = pick(out_.effects.size() + 1);
      for (std::size_t n = 0; n < sent; ++n) world_.execute(out_.effects[n], now_);
      take_over();
    }
    world_.execute(out_, now_);
    if (log_.size() < options_.checkpoint_every) return;
    log_.clear();
    checkpoint_ = machine_.save();
  }

  // A new head: the checkpoint, the events since, and every effect again.
  void take_over() {
    ++head_deaths_;
    Machine next(12345);
    if (!next.restore(checkpoint_)) wrong_ = "a checkpoint is not accepted";
    Output again;
    for (const auto& [event, at] : log_) next.handle(event, at, again);
    if (next.save() != machine_.save()) wrong_ = "a replay reaches another state";
    for (const Effect& e : again.effects) world_.execute(e, now_);
    machine_ = std::move(next);
  }

  void come_to_rest() {
    ++rests_;
    std::string unrest;
    for (int n = 0; n < 100000; ++n) {
      if (world_.over() || !wrong_.empty()) return;
      const auto event = world_.calm(machine_.next_deadline(), now_);
      if (!event) {
        wrong_ = world_.check_quiet(machine_.snapshot());
        return;
      }
      if (std::holds_alternative<Tick>(*event) && world_.perpetual()) {
        unrest = world_.check_quiet(machine_.snapshot());
        if (unrest.empty()) return;
      }
      handle(*event);
      if (options_.watch_rolls) world_.check_rolls(machine_.snapshot());
    }
    wrong_ = "I5: the world never comes to rest: " + unrest;
  }

  Event next_event() {
    const Time deadline = machine_.next_deadline();
    if (deadline <= now_ && (draw() & 0x10000U) != 0) return Tick{};
    if (chance(8)) return surprise();
    for (int tries = 0; tries < 8; ++tries) {
      const auto n = static_cast<std::uint32_t>(pick(world_.services().size()));
      FakeService& s = world_.services()[n];
      if (s.measuring && chance(500)) return world_.room(n, chance(300));
      if (s.children.empty()) continue;
      if (auto event = of_child(s.children[pick(s.children.size())])) return std::move(*event);
    }
    if (deadline == kNever) return surprise();
    now_ = std::max(now_, deadline);
    return Tick{};
  }

  std::optional<Event> of_child(FakeChild& c) {
    if (c.body == Body::asked) {
      if (chance(20)) return world_.spawn_fails(c, EAGAIN, SpawnStage::fork, now_);
      if (chance(10)) return world_.spawn_fails(c, ENOENT, SpawnStage::exec, now_);
      return world_.spawned(c);
    }
    if (c.body == Body::dead) {
      if (!c.sweeping && !c.tree_left) return std::nullopt;
      return world_.swept(c, chance(5));
    }
    if (!c.key.is_worker() && !c.sweeping && (c.stopping || !c.key.is_build()))
      return chance(800) ? std::optional(world_.exits(c, chance(300) ? 1 << 8 : 0, now_)) : std::nullopt;
    if (c.sweeping) return chance(5) ? world_.swept(c, true) : world_.exits(c, SIGKILL, now_);
    if (c.stopping && !c.drained && chance(200)) return world_.drained(c);
    if (c.stopping) return chance(700) ? std::optional(world_.exits(c, SIGTERM, now_)) : std::nullopt;
    if (c.key.is_build()) return world_.exits(c, chance(150) ? 1 << 8 : 0, now_);
    if (c.probing && chance(700)) return world_.ready(c, now_);
    if (c.awaiting && chance(700)) return world_.queue_empty(c);
    if (auto event = of_worker(c)) return event;
    if (chance(c.ready ? 100 : 50))
      return world_.exits(c, chance(300) ? 0 : chance(500) ? 1 << 8 : SIGSEGV, now_);
    if (chance(30)) return says(c);
    return std::nullopt;
  }

  std::optional<Event> of_worker(FakeChild& c) {
    const ServiceSpec& spec = world_.services()[c.key.service.value].spec;
    if (c.frozen && chance(500)) return world_.frozen(c, false, now_);
    if (!c.frozen && spec.hang.stopped > Duration::zero() && chance(20)) return world_.frozen(c, true, now_);
    if (c.examined && chance(500)) return world_.found(c, chance(300) ? Stall::starved : Stall::busy, now_);
    if (c.watched && chance(30)) return world_.looked(c, chance(300), now_, chance(500));
    if (c.ready && (spec.recycle.requests > 0 || spec.recycle.memory > 0) && chance(40))
      return world_.used_up(c, spec.recycle.requests == 0);
    return std::nullopt;
  }

  Event says(FakeChild& c) {
    switch (pick(9)) {
      case 0: return world_.announces(c, now_);
      case 8: return world_.at_terminal(c, !c.at_terminal);
      case 1: return Watchdog{c.key, 1 + pick(5'000'000), false};
      case 2: {
        const bool trigger = chance(300);
        c.ails(trigger, now_);
        return Watchdog{c.key, 0, trigger};
      }
      case 3: return Extend{c.key, pick(10'000'000)};
      case 4: return MainPid{c.key, c.pid + 100000};
      case 5: return StatusText{c.key, "serving " + std::to_string(pick(100))};
      case 6: return Reloading{c.key};
      default:
        return Claimed{c.key,       pick(100), c.pid + static_cast<std::int32_t>(pick(3)),
                       chance(300), "python",  {}};
    }
  }

  // Something that nobody has asked the world for.
  Event surprise() {
    const auto n = static_cast<std::uint32_t>(pick(world_.services().size()));
    const FakeService& s = world_.services()[n];
    switch (pick(16)) {
      case 0:
      case 1:
      case 2:
      case 3: return s.spec.watch ? world_.edited(n, chance(100)) : stale(n);
      case 4: return s.spec.watch ? world_.held(n, !s.held) : stale(n);
      case 5:
      case 6:
      case 7:
      case 8: return command(n);
      case 9: return stale(n);
      case 10: return of_signal(n);
      case 11: now_ += std::chrono::hours(1 + pick(5)); return Tick{};
      case 12: return HeadStarted{1};
      case 13: return reconfigure();
      default: return ending(n);
    }
  }

  Event of_signal(std::uint32_t n) {
    switch (pick(7)) {
      case 6: return world_.upgrading() ? world_.upgrade_ended(chance(300)) : world_.signalled(SIGUSR2);
      case 0: return world_.signalled(SIGTTIN);
      case 1: return world_.signalled(SIGTTOU);
      case 2: return world_.signalled(SIGUSR1);
      case 3:
        return Load{ServiceId{n}, static_cast<std::uint32_t>(pick(3)), static_cast<std::uint32_t>(pick(100))};
      default: return world_.signalled(SIGHUP);
    }
  }

  Event command(std::uint32_t n) {
    if (chance(150)) return world_.scaled(n, 1 + static_cast<std::uint32_t>(pick(4)), ++request_);
    if (chance(100)) return world_.canary(n, 1, ++request_);
    static constexpr CommandVerb kVerbs[] = {CommandVerb::start, CommandVerb::stop, CommandVerb::restart,
                                             CommandVerb::reload, CommandVerb::signal};
    std::vector<ServiceId> services;
    if (!chance(50)) services.push_back(ServiceId{n});
    if (chance(100)) services.push_back(ServiceId{static_cast<std::uint32_t>(pick(options_.services + 2))});
    return world_.asked(kVerbs[pick(5)], std::move(services), ++request_);
  }

  // About a child that is gone, never was, or cannot do that now.
  Event stale(std::uint32_t n) {
    const ChildKey key{ServiceId{n + static_cast<std::uint32_t>(pick(2)) * 1000},
                       static_cast<std::uint32_t>(pick(3)), static_cast<std::uint32_t>(pick(3)), 1000000};
    switch (pick(5)) {
      case 0: return Exited{key, 1, 0, true};
      case 1: return Swept{key, {}};
      case 2: return Ready{key, Proof::probe, {}};
      case 3: return Spawned{key, 1, SpawnStage::none, 0, {}};
      default: return Changed{ServiceId{100000}, {}, 1, false};
    }
  }

  Event reconfigure() {
    std::vector<ServiceSpec> specs;
    for (std::uint32_t n = 0; n < options_.services; ++n) {
      ServiceSpec& spec = specs_[n];
      if (chance(100)) spec.workers = 1 + static_cast<std::uint32_t>(pick(3));
      if (chance(100)) spec.env.emplace_back("A", std::to_string(pick(100)));
      if (spec.env.size() > 3) spec.env.clear();
      const bool needed = std::any_of(specs_.begin(), specs_.end(), [&spec](const ServiceSpec& other) {
        return std::count(other.depends_on.begin(), other.depends_on.end(), spec.name) != 0;
      });
      if (needed || !chance(100)) specs.push_back(spec);
    }
    return world_.configured_again(std::move(specs), mode_);
  }

  Event ending(std::uint32_t n) {
    if (world_.shutting_down()) return chance(300) ? world_.signalled(SIGINT) : command(n);
    if (chance(900)) return command(n);
    if (chance(300)) return world_.asked(CommandVerb::shutdown, {}, ++request_);
    return world_.signalled(SIGTERM);
  }

  SimulationOptions options_;
  std::uint64_t random_;
  Time now_ = Time(std::chrono::hours(1));
  Mode mode_ = Mode::dev;
  std::vector<ServiceSpec> specs_;
  FakeWorld world_;
  Machine machine_{1};
  Output out_;
  std::string checkpoint_;
  std::vector<std::pair<Event, Time>> log_;
  std::string wrong_;
  std::uint64_t request_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t effects_ = 0;
  std::uint64_t spawns_ = 0;
  std::uint64_t lives_ = 0;
  std::uint64_t head_deaths_ = 0;
  std::uint64_t rests_ = 0;
};

}  // namespace runmain::core

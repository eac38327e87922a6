// Small worlds, completely: breadth-first over every order in which the world, a user and the death of the
// head can answer the core, within a budget of faults and wishes. In every state the invariants hold
// (core/README.md; FakeWorld watches them); from every state the world comes to rest.
#pragma once

#include <cerrno>
#include <csignal>
#include <deque>
#include <iostream>
#include <unordered_map>
#include <unordered_set>

#include "base/archive.hpp"
#include "core/state.hpp"
#include "support/catch.hpp"
#include "support/fake_world.hpp"
#include "support/shape.hpp"
#include "unit/core/scene.hpp"

namespace runmain::core {

using namespace std::chrono_literals;

inline constexpr int kQuietSteps = 500;  // more than any small world needs to come to rest

// How often something may still happen that nothing has asked for.
struct Budget {
  std::uint8_t edits = 0;
  std::uint8_t crashes = 0;
  std::uint8_t transient = 0;  // spawns that fail with EAGAIN
  std::uint8_t permanent = 0;  // … with ENOENT
  std::uint8_t build_fails = 0;
  std::uint8_t survivors = 0;
  std::uint8_t holds = 0;
  std::uint8_t deaths = 0;  // of the head
  std::uint8_t commands = 0;
  std::uint8_t signals = 0;
  std::uint8_t terminals = 0;  // children that begin to wait at their terminal
  std::uint8_t timeouts = 1;   // children that are not ready in time
  std::uint8_t scales = 0;     // one worker more or less, by command
  std::uint8_t hups = 0;
  std::uint8_t canaries = 0;   // reloads with one canary
  std::uint8_t frozen = 0;     // workers that a signal stops
  std::uint8_t unwell = 0;     // looks that fail
  std::uint8_t looks = 0;      // looks by command
  std::uint8_t tight = 0;      // memory has no room
  std::uint8_t used_up = 0;    // workers that have had their requests
  std::uint8_t drained = 0;    // … that say that they are drained
  std::uint8_t farewells = 0;  // … that say STOPPING=1
  std::uint8_t watchdogs = 0;  // … that tell of one, and later words of it
  std::uint8_t starved = 0;    // … that are found to have no CPU when something speaks against them
  std::uint8_t triggers = 0;   // … that give themselves up: WATCHDOG=trigger
  std::uint8_t says = 0;       // looks that are answered by "not well"
  template <class A>
  void fields(A& a) {
    for (std::uint8_t* n :
         {&edits,     &crashes,   &transient, &permanent, &build_fails, &survivors, &holds,
          &deaths,    &commands,  &signals,   &terminals, &timeouts,    &scales,    &hups,
          &canaries,  &frozen,    &unwell,    &looks,     &tight,       &used_up,   &drained,
          &farewells, &watchdogs, &starved,   &triggers,  &says}) {
      a("budget", *n);
    }
  }
};

struct Node {
  State state;
  FakeWorld world;
  Budget budget;
  Time now = Time(std::chrono::hours(1));
  std::uint64_t request = 0;
  std::string trail;  // what has happened, for whoever reads a failure
};

// The head dies and another one goes on from what was saved; the keeper gets everything again.
inline std::string reborn(Node& node, const Output& last) {
  const std::string bytes = to_binary(node.state);
  State state;
  if (!from_binary(bytes, state) || !valid(state)) return "what is saved is not accepted";
  rebuild(state);
  if (to_binary(state) != bytes) return "what is restored is not what was saved";
  if (state.deadlines.min() != node.state.deadlines.min()) return "a deadline is not derived from the state";
  for (std::uint32_t t = 0; t < kTallies; ++t) {
    if (state.tally[t] != node.state.tally[t])
      return "tally " + std::to_string(t) + " is not derived from the state";
  }
  node.state = std::move(state);
  node.world.execute(last, node.now);
  return {};
}

class Explorer {
 public:
  Explorer(const std::vector<ServiceSpec>& specs, Budget budget) {
    Node first;
    first.world = FakeWorld(specs);
    first.budget = budget;
    next(first, Configured{Desired{Mode::dev, "/x/supervisor.toml", specs}, {}}, "configured");
  }

  void run() {
    while (!todo_.empty() && failure_.empty()) {
      const Node node = std::move(todo_.front());
      todo_.pop_front();
      world_moves(node);
      user_moves(node);
    }
  }
  const std::string& failure() const { return failure_; }
  std::size_t states() const { return seen_.size(); }
  std::size_t moves() const { return moves_; }

 private:
  static std::uint64_t digest(Node& node) {
    ShapeWriter shape(node.now);
    shape.put(node.state);
    shape.put(node.world);
    shape.put(node.budget);
    for (const ServiceRecord& r : node.state.services) {
      bool proven = r.proven == r.current;  // the number itself only is told
      shape.put(proven);
    }
    return shape.digest();
  }

  // The state after `event`, if it was not met before.
  void next(Node node, const Event& event, const char* label, bool head_dies = false) {
    ++moves_;
    node.trail += (node.trail.empty() ? "" : ", ") + std::string(label) + (head_dies ? " (head dies)" : "");
    Output out;
    step(node.state, event, node.now, out);
    if (head_dies) {
      for (std::size_t n = 0; n < out.effects.size() / 2; ++n) node.world.execute(out.effects[n], node.now);
      const std::string wrong = reborn(node, out);
      if (!wrong.empty()) return fail(node, wrong);
    }
    node.world.execute(out, node.now);
    node.world.check_rolls(view(node.state));
    for (ServiceRecord& r : node.state.services) r.history.clear(), r.history_at = 0;
    if (!node.world.violation().empty())
      return fail(node, std::string(label) + ": " + node.world.violation());
    if (std::holds_alternative<Tick>(event) && node.state.deadlines.min() <= node.now && !node.world.over()) {
      return fail(node, "I11: a deadline that is reached is gone after a Tick");
    }
    if (!seen_.insert(digest(node)).second) return;
    comes_to_rest(node);
    if (!node.world.over()) todo_.push_back(std::move(node));
  }

  void fail(Node& node, const std::string& what) {
    if (!failure_.empty()) return;
    failure_ = what + "\nafter " + node.trail + "\n";
    for (const ServiceView& v : view(node.state).services) {
      failure_ += v.name + " " + name_of(v.state) + " generation " + std::to_string(v.generation) + " (" +
                  v.reason + ")";
      for (const WorkerView& w : v.workers) failure_ += ", " + w.key.text() + " " + name_of(w.state);
      failure_ += "\n";
    }
  }

  // I5 and I1: if nothing more goes wrong the world is quiet some time, and then everything is in its place.
  void comes_to_rest(Node node) {
    std::vector<std::uint64_t> path;
    for (int n = 0; n < kQuietSteps; ++n) {
      std::uint64_t here = digest(node);
      if (quiet_.count(here) != 0) break;
      path.push_back(here);
      const auto event =
          node.world.over() ? std::nullopt : node.world.calm(node.state.deadlines.min(), node.now);
      if (event && std::holds_alternative<Tick>(*event) && node.world.perpetual() &&
          node.world.check_quiet(view(node.state)).empty())
        break;
      if (!event) {
        const std::string wrong = node.world.check_quiet(view(node.state));
        if (!wrong.empty()) return fail(node, wrong);
        break;
      }
      if (n + 1 == kQuietSteps) return fail(node, "I5: the world never comes to rest");
      Output out;
      step(node.state, *event, node.now, out);
      node.world.execute(out, node.now);
      node.world.check_rolls(view(node.state));
      if (!node.world.violation().empty()) return fail(node, "at rest: " + node.world.violation());
    }
    quiet_.insert(path.begin(), path.end());
  }

  // Calls make(copy) and goes on with the event that it returns; also with a head that dies half-way.
  template <class F>
  void move(const Node& node, const char* label, F&& make) {
    Node copy = node;
    const Event event = make(copy);
    if (node.budget.deaths > 0) {
      Node dying = copy;
      --dying.budget.deaths;
      next(std::move(dying), event, label, true);
    }
    next(std::move(copy), event, label);
  }

  void world_moves(const Node& node) {
    for (std::uint32_t s = 0; s < node.world.services().size(); ++s) {
      if (node.world.services()[s].measuring) {
        move(node, "room", [s](Node& n) { return n.world.room(s, false); });
        if (node.budget.tight > 0)
          move(node, "tight", [s](Node& n) { return --n.budget.tight, n.world.room(s, true); });
      }
      for (std::size_t c = 0; c < node.world.services()[s].children.size(); ++c) child_moves(node, s, c);
    }
    const Time at = node.state.deadlines.min();
    if (at == kNever) return;
    bool late = false;
    for (const ServiceRecord& r : node.state.services) {
      for (const Instance& i : r.instances) late |= i.phase == WorkerState::starting && i.deadline <= at;
    }
    if (late && node.budget.timeouts == 0) return;
    const bool look = std::any_of(node.state.services.begin(), node.state.services.end(),
                                  [at](const ServiceRecord& r) { return r.look_at <= at; });
    if (look && node.budget.looks == 0) return;
    move(node, "tick", [late, look](Node& n) -> Event {
      n.budget.timeouts -= late ? 1 : 0;
      n.budget.looks -= look ? 1 : 0;
      n.now = std::max(n.now, n.state.deadlines.min());
      return Tick{};
    });
  }

  void child_moves(const Node& node, std::size_t s, std::size_t c) {
    const FakeChild& child = node.world.services()[s].children[c];
    const Budget& b = node.budget;
    const auto at = [s, c](Node& n) -> FakeChild& { return n.world.services()[s].children[c]; };
    const auto spend = [&](std::uint8_t Budget::*what, const char* label, auto&& make) {
      if (b.*what == 0) return;
      move(node, label, [&](Node& n) {
        --(n.budget.*what);
        return make(n);
      });
    };
    if (child.body == Body::asked) {
      move(node, "spawned", [&](Node& n) { return n.world.spawned(at(n)); });
      spend(&Budget::transient, "EAGAIN",
            [&](Node& n) { return n.world.spawn_fails(at(n), EAGAIN, SpawnStage::fork, n.now); });
      spend(&Budget::permanent, "ENOENT",
            [&](Node& n) { return n.world.spawn_fails(at(n), ENOENT, SpawnStage::exec, n.now); });
      return;
    }
    if (child.body == Body::dead) {
      if (!child.sweeping && !child.tree_left) return;
      move(node, "swept", [&](Node& n) { return n.world.swept(at(n), false); });
      spend(&Budget::survivors, "survivors", [&](Node& n) { return n.world.swept(at(n), true); });
      return;
    }
    if (child.stopping && !child.sweeping && child.key.is_worker() && child.ready && !child.drained)
      spend(&Budget::drained, "drained", [&](Node& n) { return n.world.drained(at(n)); });
    if (child.sweeping || child.stopping) {
      const int status = child.sweeping ? SIGKILL : SIGTERM;
      move(node, "obeys", [&](Node& n) { return n.world.exits(at(n), status, n.now); });
      if (child.sweeping) {
        spend(&Budget::survivors, "stuck", [&](Node& n) { return n.world.swept(at(n), true); });
      }
      return;
    }
    if (child.probing) move(node, "ready", [&](Node& n) { return n.world.ready(at(n), n.now); });
    if (child.at_terminal) move(node, "goes on", [&](Node& n) { return n.world.at_terminal(at(n), false); });
    if (child.key.is_worker()) worker_moves(node, child, spend, at);
    if (!child.at_terminal && child.key.is_worker()) {
      spend(&Budget::terminals, "waits", [&](Node& n) { return n.world.at_terminal(at(n), true); });
    }
    const bool ends =
        !child.key.is_worker() || node.world.services()[s].spec.restart != RestartPolicy::always;
    if (ends) move(node, "ends", [&](Node& n) { return n.world.exits(at(n), 0, n.now); });
    spend(child.key.is_build()  ? &Budget::build_fails
          : child.key.is_look() ? &Budget::unwell
                                : &Budget::crashes,
          "crashes", [&](Node& n) { return n.world.exits(at(n), 1 << 8, n.now); });
  }

  // What only a worker can do.
  template <class Spend, class At>
  void worker_moves(const Node& node, const FakeChild& child, const Spend& spend, const At& at) {
    const ServiceSpec& spec = node.world.services()[child.key.service.value].spec;
    if (child.awaiting) move(node, "queue empty", [&](Node& n) { return n.world.queue_empty(at(n)); });
    if (child.frozen) move(node, "thaws", [&](Node& n) { return n.world.frozen(at(n), false, n.now); });
    if (!child.frozen && spec.hang.stopped > Duration::zero())
      spend(&Budget::frozen, "freezes", [&](Node& n) { return n.world.frozen(at(n), true, n.now); });
    if (child.watched && child.ready)
      spend(&Budget::unwell, "is unwell", [&](Node& n) { return n.world.looked(at(n), false, n.now); });
    if (child.watched && child.ready)
      spend(&Budget::says, "says unwell", [&](Node& n) { return n.world.looked(at(n), false, n.now, true); });
    if (child.says_unwell && child.watched)
      move(node, "is well", [&](Node& n) { return n.world.looked(at(n), true, n.now); });
    if (child.examined) {
      move(node, "is stuck", [&](Node& n) { return n.world.found(at(n), Stall::waiting, n.now); });
      spend(&Budget::starved, "starves",
            [&](Node& n) { return n.world.found(at(n), Stall::starved, n.now); });
    }
    if (!child.beats || child.examined)
      spend(&Budget::watchdogs, "beats", [&](Node& n) { return n.world.watchdog(at(n), 2s); });
    if (child.ready && spec.recycle.requests > 0)
      spend(&Budget::used_up, "used up", [&](Node& n) { return n.world.used_up(at(n), false); });
    if (child.watched && child.ready && child.wants_word)
      move(node, "is well", [&](Node& n) { return n.world.looked(at(n), true, n.now); });
    if (child.ready && !child.announced)
      spend(&Budget::triggers, "gives itself up", [&](Node& n) { return n.world.triggers(at(n)); });
    if (!child.announced)
      spend(&Budget::farewells, "says STOPPING", [&](Node& n) { return n.world.announces(at(n), n.now); });
    if (child.announced)
      move(node, "ends as it said", [&](Node& n) { return n.world.exits(at(n), 0, n.now); });
  }

  void pool_moves(const Node& node, std::uint32_t s) {
    const std::uint32_t workers = node.state.services[s].workers();
    if (node.budget.scales > 0) {
      for (const std::uint32_t count : {workers + 1, workers - 1}) {
        if (count < 1 || count > 3) continue;
        move(node, "scale",
             [s, count](Node& n) { return --n.budget.scales, n.world.scaled(s, count, ++n.request); });
      }
    }
    if (node.budget.canaries == 0) return;
    move(node, "canary", [s](Node& n) { return --n.budget.canaries, n.world.canary(s, 1, ++n.request); });
  }

  void user_moves(const Node& node) {
    for (std::uint32_t s = 0; s < node.world.services().size(); ++s) {
      const FakeService& service = node.world.services()[s];
      if (service.spec.watch && node.budget.edits > 0) {
        move(node, "edit", [s](Node& n) { return --n.budget.edits, n.world.edited(s); });
      }
      if (service.spec.watch && !service.held && node.budget.holds > 0) {
        move(node, "hold", [s](Node& n) { return --n.budget.holds, n.world.held(s, true); });
      }
      if (service.held) move(node, "release", [s](Node& n) { return n.world.held(s, false); });
      pool_moves(node, s);
      if (node.budget.commands == 0) continue;
      for (const CommandVerb verb :
           {CommandVerb::start, CommandVerb::stop, CommandVerb::restart, CommandVerb::reload}) {
        move(node, "command", [s, verb](Node& n) {
          --n.budget.commands;
          return n.world.asked(verb, {ServiceId{s}}, ++n.request);
        });
      }
    }
    for (const int number : {SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2}) {
      if (node.budget.hups == 0) break;
      move(node, "HUP", [number](Node& n) { return --n.budget.hups, n.world.signalled(number); });
    }
    for (const bool refused : {false, true}) {
      if (node.world.upgrading())
        move(node, "upgrade", [refused](Node& n) { return n.world.upgrade_ended(refused); });
    }
    for (const int number : {SIGTERM, SIGINT, SIGQUIT}) {
      if (node.budget.signals == 0) break;
      move(node, "signal", [number](Node& n) { return --n.budget.signals, n.world.signalled(number); });
    }
  }

  std::deque<Node> todo_;
  std::unordered_set<std::uint64_t> seen_;
  std::unordered_set<std::uint64_t> quiet_;
  std::size_t moves_ = 0;
  std::string failure_;
};

inline void explore(const char* what, const std::vector<ServiceSpec>& specs, const Budget& budget) {
  Explorer explorer(specs, budget);
  explorer.run();
  std::cout << "explored " << what << ": " << explorer.states() << " states, " << explorer.moves()
            << " moves\n";
  INFO(explorer.failure());
  REQUIRE(explorer.failure().empty());
  REQUIRE(explorer.states() > 100);
}

inline ServiceSpec quick(ServiceSpec spec) {
  using namespace std::chrono_literals;
  spec.ready.timeout = 8s;
  spec.stop.timeout = 4s;
  spec.backoff.initial = 1s;
  spec.backoff.max = 2s;
  spec.backoff.reset = 1h;
  if (spec.watch) spec.watch->settle = spec.watch->settle_max = 500ms;
  return spec;
}

inline ServiceSpec alone(ServiceSpec spec) {
  spec.overlap = false;
  return spec;
}

}  // namespace runmain::core

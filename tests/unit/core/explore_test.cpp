// Small worlds, completely: breadth-first over every order in which the world, a user and the death of the
// head can answer the core, within a budget of faults and wishes. In every state the invariants I1 to I12
// hold (core/README.md; FakeWorld watches them); from every state the world comes to rest.
#include <cerrno>
#include <csignal>
#include <deque>
#include <iostream>
#include <unordered_map>
#include <unordered_set>

#include "base/archive.hpp"
#include "core/state.hpp"
#include "scene.hpp"
#include "support/catch.hpp"
#include "support/fake_world.hpp"
#include "support/shape.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

constexpr int kQuietSteps = 500;  // more than any small world needs to come to rest

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
  template <class A>
  void fields(A& a) {
    for (std::uint8_t* n : {&edits, &crashes, &transient, &permanent, &build_fails, &survivors, &holds,
                            &deaths, &commands, &signals, &terminals, &timeouts}) {
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
};

// The head dies and another one goes on from what was saved; the keeper gets everything again.
std::string reborn(Node& node, const Output& last) {
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
    return shape.digest();
  }

  // The state after `event`, if it was not met before.
  void next(Node node, const Event& event, const char* label, bool head_dies = false) {
    ++moves_;
    Output out;
    step(node.state, event, node.now, out);
    if (head_dies) {
      for (std::size_t n = 0; n < out.effects.size() / 2; ++n) node.world.execute(out.effects[n], node.now);
      const std::string wrong = reborn(node, out);
      if (!wrong.empty()) return fail(node, wrong);
    }
    node.world.execute(out, node.now);
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
    failure_ = what + "\n";
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
      if (!event) {
        const std::string wrong = node.world.check_quiet(view(node.state));
        if (!wrong.empty()) return fail(node, wrong);
        break;
      }
      if (n + 1 == kQuietSteps) return fail(node, "I5: the world never comes to rest");
      Output out;
      step(node.state, *event, node.now, out);
      node.world.execute(out, node.now);
      if (!node.world.violation().empty()) return fail(node, node.world.violation());
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
    for (std::size_t s = 0; s < node.world.services().size(); ++s) {
      for (std::size_t c = 0; c < node.world.services()[s].children.size(); ++c) child_moves(node, s, c);
    }
    const Time at = node.state.deadlines.min();
    if (at == kNever) return;
    bool late = false;
    for (const ServiceRecord& r : node.state.services) {
      for (const Instance& i : r.instances) late |= i.phase == WorkerState::starting && i.deadline <= at;
    }
    if (late && node.budget.timeouts == 0) return;
    move(node, "tick", [late](Node& n) -> Event {
      n.budget.timeouts -= late ? 1 : 0;
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
      if (!child.sweeping) return;
      move(node, "swept", [&](Node& n) { return n.world.swept(at(n), false); });
      spend(&Budget::survivors, "survivors", [&](Node& n) { return n.world.swept(at(n), true); });
      return;
    }
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
    if (!child.at_terminal && !child.key.is_build()) {
      spend(&Budget::terminals, "waits", [&](Node& n) { return n.world.at_terminal(at(n), true); });
    }
    const bool ends = child.key.is_build() || node.world.services()[s].spec.restart != RestartPolicy::always;
    if (ends) move(node, "ends", [&](Node& n) { return n.world.exits(at(n), 0, n.now); });
    spend(child.key.is_build() ? &Budget::build_fails : &Budget::crashes, "crashes",
          [&](Node& n) { return n.world.exits(at(n), 1 << 8, n.now); });
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
      if (node.budget.commands == 0) continue;
      for (const CommandVerb verb :
           {CommandVerb::start, CommandVerb::stop, CommandVerb::restart, CommandVerb::reload}) {
        move(node, "command", [s, verb](Node& n) {
          --n.budget.commands;
          return n.world.asked(verb, {ServiceId{s}}, ++n.request);
        });
      }
    }
    if (node.budget.signals == 0) return;
    move(node, "signal", [](Node& n) { return --n.budget.signals, n.world.signalled(SIGTERM); });
  }

  std::deque<Node> todo_;
  std::unordered_set<std::uint64_t> seen_;
  std::unordered_set<std::uint64_t> quiet_;
  std::size_t moves_ = 0;
  std::string failure_;
};

void explore(const char* what, const std::vector<ServiceSpec>& specs, const Budget& budget) {
  Explorer explorer(specs, budget);
  explorer.run();
  std::cout << "explored " << what << ": " << explorer.states() << " states, " << explorer.moves()
            << " moves\n";
  INFO(explorer.failure());
  REQUIRE(explorer.failure().empty());
  REQUIRE(explorer.states() > 100);
}

ServiceSpec quick(ServiceSpec spec) {
  using namespace std::chrono_literals;
  spec.ready.timeout = 8s;
  spec.stop.timeout = 4s;
  spec.backoff.initial = 1s;
  spec.backoff.max = 2s;
  spec.backoff.reset = 1h;
  if (spec.watch) spec.watch->settle = spec.watch->settle_max = 500ms;
  return spec;
}

ServiceSpec alone(ServiceSpec spec) {
  spec.overlap = false;
  return spec;
}

}  // namespace

TEST_CASE("one watched worker with overlap: edits, a crash and a stop in every order") {
  Budget b;
  b.edits = 2;
  b.crashes = 1;
  b.signals = 1;
  explore("1 worker, overlap", {quick(watched("web"))}, b);
  b.edits = 3;
  b.signals = b.timeouts = 0;
  explore("1 worker, overlap, 3 edits", {quick(watched("web"))}, b);
}

TEST_CASE("one watched worker without overlap: edits, a crash and a forced stop in every order") {
  Budget b;
  b.edits = 2;
  b.crashes = 2;
  b.signals = 2;
  explore("1 worker, no overlap", {alone(quick(watched("web")))}, b);
}

TEST_CASE("the head dies at any step: the next one goes on as if nothing had been") {
  Budget b;
  b.edits = 1;
  b.crashes = 1;
  b.commands = 1;
  b.timeouts = 0;
  b.deaths = 2;
  explore("1 worker, dying heads", {quick(watched("web"))}, b);
}

TEST_CASE("one worker and a user: commands in every order") {
  Budget b;
  b.commands = 3;
  b.survivors = 1;
  b.crashes = 1;
  b.timeouts = 0;
  explore("1 worker, 3 commands", {quick(service("web"))}, b);
  explore("1 worker, no overlap, 3 commands", {alone(quick(service("web")))}, b);
  b.commands = 2;
  b.edits = 1;
  explore("1 worker, 2 commands and an edit", {quick(watched("web"))}, b);
}

TEST_CASE("one worker whose spawns fail: failures and edits in every order") {
  Budget b;
  b.transient = 2;
  b.permanent = 1;
  b.edits = 2;
  b.timeouts = 0;
  explore("1 worker, failing spawns", {quick(watched("web"))}, b);
  b.transient = 1;
  b.edits = 1;
  b.commands = 1;
  explore("1 worker, build, failing spawns, a command", {quick(built("web"))}, b);
}

TEST_CASE("a build step: edits, failures and holds in every order") {
  Budget b;
  b.edits = 2;
  b.build_fails = 1;
  b.crashes = 1;
  b.holds = 1;
  b.timeouts = 0;
  explore("1 worker, build, overlap", {quick(built("web"))}, b);
  explore("1 worker, build, no overlap", {alone(quick(built("web")))}, b);
  b.edits = 1;
  b.commands = 1;
  b.signals = 1;
  explore("1 worker, build, a command and a stop", {quick(built("web"))}, b);
}

TEST_CASE("a worker that waits at its terminal: edits, a crash, holds and dying heads in every order") {
  Budget b;
  b.terminals = 2;
  b.edits = 2;
  b.crashes = 1;
  explore("1 worker, terminal, overlap", {quick(watched("web"))}, b);
  explore("1 worker, terminal, no overlap", {alone(quick(watched("web")))}, b);
  b.terminals = b.edits = 1;
  b.holds = 1;
  b.commands = 1;
  b.deaths = 1;
  b.crashes = b.timeouts = 0;
  explore("1 worker, terminal, build, holds, a command, dying heads", {quick(built("web"))}, b);
}

TEST_CASE("two workers with overlap: two edits, or an edit and a crash, in every order") {
  Budget b;
  b.timeouts = 0;
  b.edits = 2;
  b.crashes = 1;
  explore("2 workers, 2 edits and a crash", {quick(watched("web", 2))}, b);
}

TEST_CASE("two services, one needs the other: commands and faults in every order") {
  ServiceSpec web = quick(service("web"));
  web.depends_on = {"db"};
  Budget b;
  b.timeouts = 0;
  b.commands = 2;
  b.signals = 2;
  explore("2 services, commands", {quick(service("db")), web}, b);
  b.commands = 1;
  b.signals = 1;
  b.crashes = 1;
  b.permanent = 1;
  b.survivors = 1;
  explore("2 services, faults", {quick(service("db")), web}, b);
}

TEST_CASE("a job that ends by itself, and who waits for it: every order") {
  ServiceSpec job = quick(watched("job"));
  job.restart = RestartPolicy::on_failure;
  ServiceSpec web = quick(service("web"));
  web.depends_on = {"job"};
  Budget b;
  b.timeouts = 0;
  b.edits = 1;
  b.crashes = 1;
  b.commands = 1;
  explore("a job and who waits for it", {job, web}, b);
}

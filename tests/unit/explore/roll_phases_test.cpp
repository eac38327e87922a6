// A gradual roll, stopped after each of its events: a head that dies there has a successor that ends the roll
// as it would have, and a second SIGTERM ends everything, whatever the roll was in the middle of.
#include <set>

#include "explorer.hpp"
#include "unit/core/pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t kForced = 128 + SIGTERM;
using Phases = std::set<std::string>;

// What the roll is in the middle of.
Phases phases_of(const ServiceRecord& r) {
  Phases found;
  const auto note = [&found](bool on, const std::string& name) {
    if (on) found.insert(name);
  };
  note(r.room == RoomState::asked, "measuring room");
  note(r.restoring, "restoring");
  const bool held = r.course.hold_until != kNever;
  note(held && r.course.told == r.course.canary, "canary held");
  note(held && r.course.told != r.course.canary, "held");
  for (const Instance& i : r.instances) {
    const bool is_new = i.key.generation == r.next;
    if (r.next != 0) found.insert((is_new ? "new one " : "old one ") + std::string(name_of(i.phase)));
  }
  return found;
}

enum class Kind { new_first, old_first, no_overlap };

const char* name_of(Kind kind) {
  return kind == Kind::new_first ? "new first" : kind == Kind::old_first ? "old first" : "no overlap";
}

// Three workers with sockets of their own, of which one goes first and every batch is held.
ServiceSpec spec_of(Kind kind) {
  ServiceSpec spec = quick(watched("web", 3));
  spec.balance = Balance::reuseport;
  spec.overlap = kind != Kind::no_overlap;
  spec.roll.gradual = true;
  spec.roll.order = kind == Kind::old_first ? RollOrder::old_first : RollOrder::new_first;
  spec.roll.memory_guard = true;
  spec.roll.canary = 1;
  spec.roll.canary_hold = 3s;
  spec.roll.hold = 1s;
  return spec;
}

class Course {
 public:
  // `fails`: the last slot's new worker does not get ready.
  Course(const ServiceSpec& spec, bool fails) : fails_(fails) {
    node_.world = FakeWorld({spec});
    take(Configured{Desired{Mode::prod, "/x/supervisor.toml", {spec}}, {}});
    rest(node_);
  }

  void run() {
    looks_ = true;
    take(node_.world.edited(0));
    while (const auto event = next()) take(*event);
    CHECK(node_.world.check_quiet(view(node_.state)) == "");
  }
  const Phases& phases() const { return phases_; }
  std::uint32_t generation() const { return view(node_.state).services[0].generation; }

 private:
  std::optional<Event> next() {
    for (FakeChild& c : node_.world.services()[0].children) {
      const bool last = fails_ && c.key.generation == 2 && c.key.slot == 2 && c.body == Body::alive;
      if (last && std::exchange(fails_, false)) return node_.world.exits(c, 1 << 8, node_.now);
    }
    return node_.world.calm(node_.state.deadlines.min(), node_.now);
  }

  void take(const Event& event) {
    Output out;
    step(node_.state, event, node_.now, out);
    if (looks_) head_dies(node_, out);
    node_.world.execute(out, node_.now);
    node_.world.check_rolls(view(node_.state));
    REQUIRE(node_.world.violation() == "");
    if (!looks_) return;
    const Phases now = phases_of(node_.state.services[0]);
    phases_.insert(now.begin(), now.end());
    forced_to_end(node_);
  }

  // Half of what follows from the last event is carried out; a successor does the rest.
  void head_dies(Node node, const Output& out) {
    for (std::size_t n = 0; n < out.effects.size() / 2; ++n) node.world.execute(out.effects[n], node.now);
    REQUIRE(reborn(node, out) == "");
    rest(node);
    CHECK(node.world.check_quiet(view(node.state)) == "");
  }

  // SIGTERM, and a second one after so much of the stop as may be, and after less.
  static void forced_to_end(Node node) {
    tell(node, node.world.signalled(SIGTERM));
    while (!node.world.over()) {
      Node forced = node;
      tell(forced, forced.world.signalled(SIGTERM));
      REQUIRE(all_killed(forced));
      while (!forced.world.over()) {
        go_on(forced);
        REQUIRE(all_killed(forced));
      }
      CHECK(forced.world.quit_status() == kForced);
      CHECK(forced.world.violation() == "");
      go_on(node);
    }
    CHECK(node.world.quit_status() == 0);
    CHECK(node.world.violation() == "");
  }

  // Nobody is waited for any more.
  static bool all_killed(const Node& node) {
    const auto& children = node.world.services()[0].children;
    return std::all_of(children.begin(), children.end(),
                       [](const FakeChild& c) { return c.body != Body::alive || c.sweeping; });
  }

  static void tell(Node& node, const Event& event) {
    Output out;
    step(node.state, event, node.now, out);
    node.world.execute(out, node.now);
  }
  static void go_on(Node& node) {
    const auto event = node.world.calm(node.state.deadlines.min(), node.now);
    REQUIRE(event);  // else the stop does not end
    tell(node, *event);
  }
  static void rest(Node& node) {
    for (int n = 0; n < kQuietSteps; ++n) {
      const auto event = node.world.calm(node.state.deadlines.min(), node.now);
      if (!event) return;
      tell(node, *event);
    }
    FAIL("it never comes to rest");
  }

  Node node_;
  bool fails_;
  bool looks_ = false;
  Phases phases_;
};

// What is missing in `seen`.
std::string lacks(const Phases& seen, const Phases& wanted) {
  std::string text;
  for (const std::string& phase : wanted) text += seen.count(phase) == 0 ? phase + ", " : "";
  return text;
}

// Generations that have a worker.
std::set<std::uint32_t> generations_of(const Scene& s) {
  std::set<std::uint32_t> all;
  for (const WorkerView& w : s.view(0).workers) all.insert(w.key.generation);
  return all;
}

}  // namespace

TEST_CASE("a roll may lose its head, or be ended by a second SIGTERM, in each of its phases") {
  const Phases always{"new one spawning", "new one starting", "new one ready", "old one ready",
                      "old one draining", "old one sweeping", "canary held",   "held"};
  const std::pair<Kind, Phases> kinds[] = {{Kind::new_first, {"measuring room"}},
                                           {Kind::old_first, {"old one retiring"}},
                                           {Kind::no_overlap, {"old one retiring"}}};
  for (const auto& [kind, own] : kinds) {
    INFO(name_of(kind));
    Course good(spec_of(kind), false);
    good.run();
    CHECK(lacks(good.phases(), always) == "");
    CHECK(lacks(good.phases(), own) == "");
    CHECK(good.generation() == 2);
    Course bad(spec_of(kind), true);
    bad.run();
    CHECK(lacks(bad.phases(), {"restoring"}) == "");
    CHECK(bad.generation() == 1);
  }
}

TEST_CASE("old generations that never end: as many as may linger, then a reload waits until one has gone") {
  struct Row {
    bool gradual;
    std::uint32_t lingering;
    std::size_t most;
  };
  const Row rows[] = {{false, 0, 2}, {false, 1, 3}, {false, 4, 6}, {true, 0, 3}, {true, 1, 4}, {true, 4, 7}};
  for (const Row& row : rows) {
    INFO((row.gradual ? "gradual, " : "at once, ") << row.lingering << " may linger");
    ServiceSpec spec = pool(2);
    spec.roll.gradual = row.gradual;
    spec.stop.lingering = row.lingering;
    Scene s = serving(spec);
    const auto serve_all = [&s] {
      std::vector<ChildKey> started = s.spawned();
      for (std::size_t n = 0; n < started.size(); ++n) {
        const ChildKey key = started[n];
        s.serve(K{0, key.slot, key.generation, key.attempt});
        for (const ChildKey& more : s.spawned()) started.push_back(more);
      }
    };
    std::uint64_t request = 0;
    for (; request < 10 && generations_of(s).size() < row.most; ++request) {
      s.command(CommandVerb::reload, {0}, request + 1);
      serve_all();
    }
    REQUIRE(generations_of(s).size() == row.most);
    s.command(CommandVerb::reload, {0}, 100);
    CHECK(s.spawned().empty());
    const auto newest = static_cast<std::uint32_t>(row.most);
    CHECK(s.view(0).workers.back().key.generation == newest);
    s.ends({0, 0, 1, 1}, 0);
    CHECK(s.spawned().empty());  // one worker of the oldest is still there
    s.ends({0, 1, 1, 1}, 0);
    CHECK(s.spawned().size() == (row.gradual ? 1U : 2U));
    serve_all();
    CHECK(generations_of(s).size() == row.most);
    CHECK(*generations_of(s).rbegin() == newest + 1);
  }
}

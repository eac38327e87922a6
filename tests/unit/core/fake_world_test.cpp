// Lives that the fake world has once taken for wrong, step by step: what it watches over must not be stricter
// than the invariants. Non-goal: the core's effects; the scenes of the other tests check those.
#include "support/fake_world.hpp"
#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

class Life {
 public:
  explicit Life(const ServiceSpec& spec) : world({spec}) { configure(spec); }

  void configure(const ServiceSpec& spec) { take(world.configured_again({spec}, Mode::prod)); }
  void take(const Event& event) {
    Output out;
    machine_.handle(event, now, out);
    world.execute(out, now);
  }
  FakeChild& child(std::uint32_t slot, std::uint32_t generation, std::uint32_t attempt) {
    for (FakeChild& c : world.services().front().children) {
      if (c.key == K(0, slot, generation, attempt)) return c;
    }
    throw std::invalid_argument("no such child");
  }
  void serve(FakeChild& c) {
    const ChildKey key = c.key;
    take(world.spawned(c));
    take(world.ready(child(key.slot, key.generation, key.attempt), now));
  }
  void dies(FakeChild& c) {
    const ChildKey key = c.key;
    take(world.exits(c, SIGSEGV, now));
    take(world.swept(child(key.slot, key.generation, key.attempt), false));
  }
  void wait() {
    now = std::max(now, machine_.next_deadline());
    take(Tick{});
  }

  FakeWorld world;
  Time now = Time(std::chrono::seconds(1000));

 private:
  Machine machine_{1};
};

}  // namespace

TEST_CASE("I7: a look that ends after its worker was given up does not move that to later") {
  ServiceSpec spec = service("web");
  spec.health.kind = HealthKind::exec;
  spec.health.interval = std::chrono::seconds(2);
  spec.health.timeout = std::chrono::seconds(5);
  spec.hang.stopped = std::chrono::seconds(1);
  Life life(spec);
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    if (attempt == 3) life.wait();
    life.serve(life.child(0, 1, attempt));
    if (attempt < 3) life.dies(life.child(0, 1, attempt));
  }
  life.wait();
  life.take(life.world.spawned(life.child(kLookSlot, 1, 1)));
  life.take(life.world.frozen(life.child(0, 1, 3), true, life.now));
  life.wait();
  CHECK(life.child(0, 1, 3).sweeping);
  life.now += std::chrono::milliseconds(150);
  life.take(life.world.exits(life.child(kLookSlot, 1, 1), 1 << 8, life.now));
  life.wait();
  CHECK(life.child(0, 1, 4).reason == Reason::crash);
  CHECK(life.world.violation().empty());
}

TEST_CASE("I14: one that hangs while it takes a recycled one's place is not recycled any more") {
  ServiceSpec spec = pool(2);
  spec.recycle.requests = 1;
  spec.hang.hook = CommandSpec{{"gcore"}, false};
  Life life(spec);
  life.serve(life.child(0, 1, 1));
  life.serve(life.child(1, 1, 1));
  life.take(life.world.used_up(life.child(0, 1, 1), false));
  life.take(life.world.used_up(life.child(1, 1, 1), false));
  life.take(life.world.spawned(life.child(0, 1, 2)));
  life.take(life.world.triggers(life.child(0, 1, 2)));
  life.serve(life.child(0, 1, 3));
  CHECK(life.child(0, 1, 2).hung);  // still looked at, while the next one has its turn
  CHECK(life.child(1, 1, 2).renews);
  CHECK(life.world.violation().empty());
}

TEST_CASE("I7: a slot that was away begins anew, also when a roll that fails is what gives it back") {
  ServiceSpec spec = pool(2);
  Life life(spec);
  life.serve(life.child(0, 1, 1));
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    if (attempt == 3) life.wait();
    life.serve(life.child(1, 1, attempt));
    life.dies(life.child(1, 1, attempt));
  }
  spec.workers = 1;
  life.configure(spec);
  spec.workers = 2;
  spec.env = {{"A", "1"}};
  life.configure(spec);
  life.take(life.world.spawned(life.child(1, 2, 1)));
  life.dies(life.child(1, 2, 1));
  life.serve(life.child(1, 1, 4));
  life.dies(life.child(1, 1, 4));
  CHECK(life.child(1, 1, 5).reason == Reason::crash);  // at once: it is the first death
  CHECK(life.world.violation().empty());
}

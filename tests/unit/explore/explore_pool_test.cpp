// Small pools, completely (explorer.hpp): gradual rolls, recycling, health and scaling, crossed with what
// people and faults do meanwhile.
#include "explorer.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec pool(std::uint32_t workers, RollOrder order = RollOrder::new_first) {
  ServiceSpec spec = quick(watched("web", workers));
  spec.roll.gradual = true;
  spec.roll.order = order;
  spec.roll.memory_guard = false;
  spec.roll.hold_last = Duration::zero();
  return spec;
}

Budget calm() {
  Budget b;
  b.timeouts = 0;
  return b;
}

Budget calm_but(std::uint8_t edits, std::uint8_t crashes, std::uint8_t scales) {
  Budget b = calm();
  b.edits = edits;
  b.crashes = crashes;
  b.scales = scales;
  return b;
}

}  // namespace

TEST_CASE("a gradual roll of one worker: edits, crashes, late starts and stops in every order") {
  for (const RollOrder order : {RollOrder::new_first, RollOrder::old_first}) {
    const std::string which = order == RollOrder::new_first ? "new first" : "old first";
    Budget b;
    b.edits = 2;
    b.crashes = 1;
    b.signals = 1;
    explore(("roll of 1, " + which).c_str(), {pool(1, order)}, b);
  }
  Budget b;
  b.edits = 1;
  b.crashes = 1;
  b.commands = 1;
  ServiceSpec port = alone(pool(1));
  explore("roll of 1, no overlap", {port}, b);
}

TEST_CASE("a gradual roll of two workers: faults in every order") {
  for (const RollOrder order : {RollOrder::new_first, RollOrder::old_first}) {
    const std::string which = order == RollOrder::new_first ? "new first" : "old first";
    Budget b = calm();
    b.edits = 1;
    b.crashes = 1;
    explore(("roll of 2, an edit and a crash, " + which).c_str(), {pool(2, order)}, b);
    b = calm();
    b.edits = 1;
    b.permanent = 1;
    explore(("roll of 2, failing spawns, " + which).c_str(), {pool(2, order)}, b);
  }
  Budget b = calm();
  b.edits = 1;
  b.crashes = 1;
  explore("roll of 2, no overlap", {alone(pool(2))}, b);
}

TEST_CASE("a gradual roll of two workers: commands, signals and scaling in every order") {
  for (const RollOrder order : {RollOrder::new_first, RollOrder::old_first}) {
    const std::string which = order == RollOrder::new_first ? "new first" : "old first";
    Budget b = calm();
    b.edits = 1;
    b.commands = 1;
    explore(("roll of 2, a command, " + which).c_str(), {pool(2, order)}, b);
    b.edits = b.commands = 0;
    b.signals = 2;
    b.hups = 1;
    explore(("roll of 2, signals, " + which).c_str(), {pool(2, order)}, b);
    b = calm();
    b.edits = 1;
    b.scales = 1;
    explore(("roll of 2, scaled, " + which).c_str(), {pool(2, order)}, b);
  }
}

TEST_CASE("a gradual roll of one worker: the head dies at any step") {
  Budget b = calm();
  b.edits = 1;
  b.crashes = 1;
  b.scales = 1;
  b.deaths = 1;
  explore("roll of 1, dying heads", {pool(1)}, b);
}

TEST_CASE("a canary that is held, and memory without room: faults in every order") {
  ServiceSpec spec = pool(2);
  spec.roll.canary = 1;
  spec.roll.canary_hold = 3s;
  spec.roll.hold = 1s;
  spec.roll.memory_guard = true;
  Budget b = calm();
  b.edits = 1;
  b.crashes = 1;
  b.tight = 1;
  explore("canary of 2", {spec}, b);
  b.crashes = 0;
  b.farewells = 1;
  explore("canary of 2, one that ends as it says", {spec}, b);
  b = calm();
  b.edits = b.signals = 1;
  explore("canary of 2, a stop", {spec}, b);
  b.signals = 0;
  b.hups = 1;
  explore("canary of 2, another signal", {spec}, b);
  b = calm();
  b.edits = b.commands = 1;
  explore("canary of 2, a command", {spec}, b);
  explore("canary of 2, scaled", {spec}, calm_but(1, 0, 1));
  ServiceSpec plain = quick(watched("web", 2));
  b = calm();
  b.canaries = 1;
  b.crashes = 1;
  explore("a canary by command", {plain}, b);
}

TEST_CASE("workers that freeze or are not well, with a hook: every order") {
  ServiceSpec spec = quick(watched("web", 1));
  spec.hang.stopped = 2s;
  spec.hang.hook = CommandSpec{{"gcore"}, false};
  spec.hang.hook_timeout = 3s;
  spec.health.kind = HealthKind::http;
  spec.health.failures = 1;
  Budget b = calm();
  b.frozen = 1;
  b.unwell = 1;
  b.crashes = 1;
  explore("1 worker that hangs", {spec}, b);
  explore("1 worker that hangs, no overlap", {alone(spec)}, b);
  b = calm();
  b.unwell = 1;
  b.permanent = 1;
  b.signals = 1;
  explore("1 worker that hangs, and a stop", {spec}, b);
  spec = pool(2);
  spec.hang.stopped = 2s;
  b = calm();
  b.frozen = 1;
  b.edits = 1;
  explore("roll of 2, one hangs", {spec}, b);
}

TEST_CASE("a roll, a worker that dies, is not well or misses its watchdog while it is held: every order") {
  ServiceSpec spec = pool(2);
  spec.roll.hold_last = 1s;
  explore("roll of 2, held at its end, a crash", {spec}, calm_but(1, 1, 0));
  Budget b = calm_but(1, 0, 0);
  b.triggers = 1;
  explore("roll of 2, held at its end, a watchdog", {spec}, b);
  spec.health.kind = HealthKind::http;
  spec.health.interval = 2s;
  spec.health.timeout = 1s;
  spec.health.failures = 2;
  b = calm_but(1, 0, 0);
  b.unwell = 2;
  spec.roll.hold_last = Duration::zero();
  spec.roll.canary = 1;
  spec.roll.canary_hold = 3s;
  explore("canary of 2, one is not well", {spec}, b);
}

TEST_CASE("workers whose watchdog is not fed, alone and in a roll: every order") {
  ServiceSpec spec = quick(watched("web", 1));
  spec.hang.hook = CommandSpec{{"gcore"}, false};
  spec.hang.hook_timeout = 3s;
  Budget b = calm();
  b.watchdogs = b.starved = b.signals = 1;
  explore("1 worker with a watchdog", {spec}, b);
  explore("1 worker with a watchdog, no overlap", {alone(spec)}, b);
  b.signals = 0;
  b.deaths = 1;
  explore("1 worker with a watchdog, dying heads", {spec}, b);
  b = calm();
  b.watchdogs = b.starved = b.edits = 1;
  explore("roll of 1, a watchdog", {pool(1)}, b);
}

TEST_CASE("workers that answer that they are not well: every order") {
  for (const RollOrder order : {RollOrder::new_first, RollOrder::old_first}) {
    ServiceSpec spec = quick(watched("web", 2));
    spec.roll.order = order;
    spec.health.kind = HealthKind::http;
    spec.health.failures = 1;
    Budget b = calm();
    b.says = 2;
    explore("2 workers that are not well", {spec}, b);
    b.says = b.edits = 1;
    explore("2 workers that are not well, an edit", {spec}, b);
    spec.workers = 1;
    b.says = b.unwell = b.commands = 1;
    b.edits = 0;
    explore("1 worker that is not well, or hangs, and a command", {spec}, b);
  }
  ServiceSpec spec = pool(2);
  spec.health.kind = HealthKind::http;
  spec.health.failures = 1;
  Budget b = calm();
  b.says = b.edits = 1;
  explore("roll of 2, one is not well", {spec}, b);
}

TEST_CASE("looks at a worker's health by command: every order") {
  ServiceSpec spec = quick(watched("web", 1));
  spec.health.kind = HealthKind::exec;
  spec.health.command = CommandSpec{{"look"}, false};
  spec.health.failures = 2;
  spec.health.interval = 2s;
  spec.health.timeout = 1s;
  Budget b = calm();
  b.looks = 2;
  b.unwell = 2;
  b.starved = 1;
  b.edits = b.crashes = 1;
  explore("1 worker, looks by command", {spec}, b);
}

TEST_CASE("workers that are recycled, and an edit meanwhile: every order") {
  for (const RollOrder order : {RollOrder::new_first, RollOrder::old_first}) {
    ServiceSpec spec = quick(watched("web", 2));
    spec.roll.order = order;
    spec.recycle.requests = 100;
    Budget b = calm();
    b.used_up = 2;
    b.crashes = 1;
    explore("2 workers, recycled", {spec}, b);
    b = calm();
    b.used_up = 1;
    b.edits = 1;
    explore("2 workers, recycled, an edit", {spec}, b);
    spec.workers = 1;
    b.edits = 0;
    b.crashes = b.commands = 1;
    b.used_up = 2;
    explore("1 worker, recycled, a crash and a command", {spec}, b);
  }
}

TEST_CASE("each slot has its own socket: who retires and who takes over, in every order") {
  ServiceSpec spec = pool(2);
  spec.balance = Balance::reuseport;
  Budget b = calm();
  b.scales = 2;
  b.crashes = 1;
  explore("2 workers, reuseport, scaled", {spec}, b);
  explore("2 workers, reuseport, an edit and a crash", {spec}, calm_but(1, 1, 0));
  spec.no_restart = {1};
  explore("2 workers, reuseport, a slot that fails for good, scaled", {spec}, calm_but(0, 1, 1));
  spec.no_restart.clear();
  spec.roll.order = RollOrder::old_first;
  b = calm();
  b.edits = 1;
  explore("2 workers, reuseport, old first", {spec}, b);
}

TEST_CASE("slots that fail for good: crashes, scaling and commands in every order") {
  ServiceSpec spec = quick(watched("web", 2));
  spec.no_restart = {1};
  Budget b = calm();
  b.crashes = 2;
  b.commands = 1;
  explore("2 workers, slots that fail", {spec}, b);
  spec.roll.gradual = true;
  spec.roll.memory_guard = false;
  b.crashes = b.edits = 1;
  b.commands = 0;
  explore("roll of 2, slots that fail", {spec}, b);
  ServiceSpec other = quick(service("job"));
  other.depends_on = {"web"};
  spec.workers = 1;
  b = calm();
  b.crashes = 1;
  b.commands = 1;
  explore("slots that fail, and who needs them", {spec, other}, b);
}

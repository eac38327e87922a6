// The worlds of explore_pool_test.cpp and explore_test.cpp with more going wrong at once: minutes each, so
// they are hidden and run by hand in a release build:  bin/test_explore "[large]"
#include "explorer.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec pool(RollOrder order) {
  ServiceSpec spec = quick(watched("web", 2));
  spec.roll.gradual = true;
  spec.roll.order = order;
  spec.roll.memory_guard = false;
  spec.roll.hold_last = 0s;
  return spec;
}

void explore_both(const std::string& what, const Budget& b) {
  explore((what + ", new first").c_str(), {pool(RollOrder::new_first)}, b);
  explore((what + ", old first").c_str(), {pool(RollOrder::old_first)}, b);
  explore((what + ", no overlap").c_str(), {alone(pool(RollOrder::new_first))}, b);
}

}  // namespace

TEST_CASE("large: a roll of two, a death and a stop that is forced, in every order", "[.][large]") {
  Budget b;
  b.timeouts = 0;
  b.edits = b.crashes = 1;
  b.signals = 2;
  explore_both("roll of 2, a crash and two signals", b);
}

TEST_CASE("large: a roll of two, a death and HUP, in every order", "[.][large]") {
  Budget b;
  b.timeouts = 0;
  b.edits = b.crashes = b.hups = 1;
  explore_both("roll of 2, a crash and HUP", b);
}

TEST_CASE("large: a roll of two, a death and one worker more or less, in every order", "[.][large]") {
  Budget b;
  b.timeouts = 0;
  b.edits = b.crashes = b.scales = 1;
  explore_both("roll of 2, a crash and scaling", b);
}

TEST_CASE("large: a roll of two, a late start and a death, in every order", "[.][large]") {
  Budget b;
  b.edits = b.crashes = b.timeouts = 1;
  explore_both("roll of 2, a crash and a late start", b);
}

TEST_CASE("large: a roll of two and a head that dies, in every order", "[.][large]") {
  Budget b;
  b.timeouts = 0;
  b.edits = b.crashes = b.deaths = 1;
  explore_both("roll of 2, a crash and a dying head", b);
}

TEST_CASE("large: a job, who waits for it, and everything at once", "[.][large]") {
  ServiceSpec job = quick(watched("job"));
  job.restart = RestartPolicy::on_failure;
  ServiceSpec web = quick(service("web"));
  web.depends_on = {"job"};
  Budget b;
  b.timeouts = 0;
  b.edits = b.crashes = b.commands = 1;
  explore("a job and who waits for it: an edit, a crash and a command", {job, web}, b);
}

TEST_CASE("large: a canary of two, one is not well and one gives itself up, in every order", "[.][large]") {
  ServiceSpec spec = pool(RollOrder::new_first);
  spec.roll.canary = 1;
  spec.roll.canary_hold = 3s;
  spec.health.kind = HealthKind::http;
  spec.health.interval = 2s;
  spec.health.timeout = 1s;
  spec.health.failures = 2;
  Budget b;
  b.timeouts = 0;
  b.edits = b.unwell = b.triggers = 1;
  explore("canary of 2, one is not well and one gives itself up", {spec}, b);
}

TEST_CASE("large: two workers that answer that they are not well, and a crash, in every order",
          "[.][large]") {
  ServiceSpec spec = quick(watched("web", 2));
  spec.health.kind = HealthKind::http;
  spec.health.failures = 1;
  Budget b;
  b.timeouts = 0;
  b.says = 3;
  b.crashes = 1;
  explore("2 workers that are not well, and a crash", {spec}, b);
}

TEST_CASE("large: a roll of two, and a watchdog that is not fed, in every order", "[.][large]") {
  Budget b;
  b.timeouts = 0;
  b.watchdogs = b.starved = b.edits = 1;
  explore("roll of 2, a watchdog", {pool(RollOrder::new_first)}, b);
}

TEST_CASE("large: a roll of two that is held at its end, and one is not well, in every order", "[.][large]") {
  ServiceSpec spec = pool(RollOrder::new_first);
  spec.roll.hold_last = 1s;
  spec.health.kind = HealthKind::http;
  spec.health.interval = 2s;
  spec.health.timeout = 1s;
  spec.health.failures = 2;
  Budget b;
  b.timeouts = 0;
  b.edits = 1;
  b.unwell = 2;
  explore("roll of 2, held at its end, one is not well", {spec}, b);
}

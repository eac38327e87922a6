// What a roll waits for before the next batch, and before it is over: time, and the health of what is new.
#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec looked_after(std::uint32_t workers) {
  ServiceSpec spec = pool(workers);
  spec.health.kind = HealthKind::http;
  spec.health.interval = 10s;
  spec.health.timeout = 2s;
  spec.health.failures = 3;
  return spec;
}

void look(Scene& s, const K& key, bool well) {
  s.handle(Looked{key, well, Stall::unknown, well ? "" : "answered 503"});
}

// One canary of three is ready, and the old worker of its slot has gone.
Scene held_canary(ServiceSpec spec = looked_after(3)) {
  spec.roll.canary = 1;
  spec.roll.batch = Share{0, 100};
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  return s;
}

}  // namespace

TEST_CASE("a canary that has failed a look holds the roll beyond its time, until it is well") {
  Scene s = held_canary();
  look(s, {0, 0, 2, 1}, true);
  s.tick(9s);
  look(s, {0, 0, 2, 1}, false);
  play(s, {{"tick 1000", ""}, {"tick 5000", ""}});
  look(s, {0, 0, 2, 1}, true);
  CHECK(s.spawned() == Keys{{0, 1, 2, 1}, {0, 2, 2, 1}});
}

TEST_CASE("a canary whose failed looks are believed in the hold fails the roll, and --wait is told why") {
  Scene s = held_canary();
  look(s, {0, 0, 2, 1}, true);
  s.tick(9s);
  look(s, {0, 0, 2, 1}, false);
  s.tick(1s);
  look(s, {0, 0, 2, 1}, false);
  CHECK(s.effects().empty());
  look(s, {0, 0, 2, 1}, false);
  CHECK(s.told(FactType::reload_failed) == 1);
  CHECK(s.effects().find("answer 1 (web: generation 2: ") != std::string::npos);
  CHECK(s.effects().find("answered 503") != std::string::npos);
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}});
}

TEST_CASE("a canary that nobody has seen well is waited for, but not for ever") {
  Scene s = held_canary();
  play(s, {{"wait", ""}, {"due", "36000"}});  // three looks, and the time that each may take
  look(s, {0, 0, 2, 1}, true);
  CHECK(s.spawned() == Keys{{0, 1, 2, 1}, {0, 2, 2, 1}});
  Scene blind = held_canary();
  play(blind, {{"wait", ""}, {"wait", "spawn 0:1:2:1 change, spawn 0:2:2:1 change"}});
  Scene ill = held_canary();
  look(ill, {0, 0, 2, 1}, false);
  play(ill, {{"wait", ""}});
  ill.wait();
  CHECK(ill.told(FactType::reload_failed) == 1);
  Scene starved = held_canary();
  starved.handle(Looked{{ServiceId{0}, 0, 2, 1}, false, Stall::starved, "no CPU"});
  play(starved, {{"wait", ""}});
  starved.wait();
  CHECK(starved.told(FactType::reload_failed) == 1);
}

TEST_CASE("while a roll goes on its new workers are looked at closely, and as always when it is over") {
  ServiceSpec spec = looked_after(1);
  spec.roll.hold_last = 1s;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.lives({0, 0, 2, 1});
  play(s, {{"ready 0:0:2:1", "watch 0:0:2:1 closely, unwatch 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"}});
  look(s, {0, 0, 2, 1}, true);
  play(s, {{"wait", "unwatch 0:0:2:1, watch 0:0:2:1, answer 1"}});
}

TEST_CASE("looks by command are soon in a roll, at those first that were not seen well") {
  ServiceSpec spec = looked_after(2);
  spec.health.kind = HealthKind::exec;
  spec.roll.canary = 1;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  play(s, {{"due", "1000"}, {"wait", "spawn 0:65533:2:1 start"}, {"lives 0:65533:2:1", ""}});
  s.ends({0, kLookSlot, 2, 1}, 0);
  CHECK(s.machine.next_deadline() <= s.now + 1s);
  for (int n = 0; n < 9; ++n) s.tick(1s);
  CHECK(s.told(FactType::reload_failed) == 0);
}

TEST_CASE("the last batch is held, too: who dies at once fails the roll, and nobody was told it is done") {
  ServiceSpec spec = pool(2);
  spec.roll.hold_last = 1s;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  s.lives({0, 1, 2, 1});
  Scene good = s;
  play(s, {{"ready 0:1:2:1", "ask_drain 0:1:1:1, kill 0:1:1:1 15", "child.ready, reload.step"}});
  s.ends({0, 1, 1, 1}, 0);
  play(s, {{"tick 600", ""},
           {"exits 0:0:2:1 256",
            "answer 1 (web: generation 2: exited with status 1 soon after every worker was ready; generation "
            "1 gets every slot back), spawn 0:0:1:2 change, spawn 0:1:1:2 change, kill_tree 0:0:2:1"}});
  play(good, {{"ready 0:1:2:1", "ask_drain 0:1:1:1, kill 0:1:1:1 15"},
              {"due", "1000"},
              {"wait", "answer 1", "reload.done"}});
}

TEST_CASE("a new worker that ends as it has announced does not begin the last hold anew") {
  ServiceSpec spec = pool(1);
  spec.roll.hold_last = 3s;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  play(s, {{"tick 2900", ""},
           {"stopping 0:0:2:1", "spawn 0:0:2:2 recycle"},
           {"exits 0:0:2:1 0", "kill_tree 0:0:2:1"}});
  s.swept({0, 0, 2, 1});
  play(s, {{"tick 200", ""}, {"lives 0:0:2:2", "probe 0:0:2:2"}, {"ready 0:0:2:2", "answer 1"}});
}

TEST_CASE("a new worker that announces its end soon after its start, or ends with a failure, ends the roll") {
  for (const bool soon : {true, false}) {
    Scene s = serving(pool(2));
    s.command(CommandVerb::reload, {0}, 1);
    s.serve({0, 0, 2, 1});
    s.ends({0, 0, 1, 1}, 0);
    s.lives({0, 1, 2, 1});
    s.tick(soon ? 999ms : 1000ms);
    s.handle(Stopping{{ServiceId{0}, 0, 2, 1}, Scene::pid({ServiceId{0}, 0, 2, 1})});
    CHECK(s.spawned() == (soon ? Keys{} : Keys{{0, 0, 2, 2}}));
    s.handle(Exited{{ServiceId{0}, 0, 2, 1}, Scene::pid({ServiceId{0}, 0, 2, 1}), soon ? 0 : 256, true});
    CHECK(s.told(FactType::reload_failed) == 1);
  }
}

TEST_CASE("after a scale-down in a roll other canaries are held for their time, and so is the last batch") {
  ServiceSpec spec = pool(3);
  spec.roll.canary = 1;
  Scene s = serving(spec);
  s.handle(Exited{{ServiceId{0}, 2, 1, 1}, Scene::pid({ServiceId{0}, 2, 1, 1}), 256, true});
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 2, 2, 1});  // the slot without anybody is the canary
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 2, 2});
  CHECK(s.spawned() == Keys{{0, 0, 2, 1}});
  s.serve({0, 0, 2, 1});
  CHECK(s.spawned() == Keys{});
  CHECK(s.facts.back().text == "canary 1 of 2, held 10000 ms");

  ServiceSpec last = pool(3);
  last.roll.hold_last = 2s;
  Scene t = serving(last);
  t.command(CommandVerb::reload, {0}, 1);
  t.serve({0, 0, 2, 1});
  t.serve({0, 1, 2, 1});
  t.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 2, 2});
  CHECK(t.facts.back().text == "2 of 2, held 2000 ms");
  CHECK(t.told(FactType::reload_done) == 0);
}

TEST_CASE("a canary that ends by itself again and again does not keep its hold from ending") {
  ServiceSpec spec = pool(2);
  spec.roll.canary = 1;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  for (std::uint32_t n = 1; n < 10; ++n) {
    s.tick(1s);
    s.handle(Stopping{{ServiceId{0}, 0, 2, n}, Scene::pid({ServiceId{0}, 0, 2, n})});
    s.ends({0, 0, 2, n}, 0);
    s.serve({0, 0, 2, n + 1});
  }
  CHECK(s.told(FactType::reload_step) == 1);
  s.tick(2s);
  CHECK(s.spawned() == Keys{{0, 1, 2, 1}});
}

TEST_CASE("a roll whose workers end often comes to its end though they are never all there") {
  ServiceSpec spec = pool(2);
  spec.roll.hold_last = 2s;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  for (const std::uint32_t slot : {0U, 1U}) {
    s.serve({0, slot, 2, 1});
    s.ends({0, slot, 1, 1}, 0);
  }
  for (std::uint32_t n = 1; n < 4; ++n) {
    s.tick(1s);
    const K one{0, n % 2, 2, (n + 1) / 2};
    s.handle(Stopping{one, Scene::pid(one)});
    s.handle(Exited{one, Scene::pid(one), 0, true});
    if (n > 1) s.serve({0, (n - 1) % 2, 2, n / 2 + 1});  // the one before, a second late
  }
  CHECK(s.told(FactType::reload_failed) == 0);
  CHECK(s.machine.snapshot().services[0].rolling_to == 0);
}

TEST_CASE("as many canaries as workers are refused") {
  Scene s = serving(pool(3));
  const auto canaries = [&](std::uint32_t count) {
    s.handle(Command{CommandVerb::reload, {ServiceId{0}}, 0, 1, count});
    return s.effects();
  };
  CHECK(canaries(3) == "answer 1 (web has 3 workers: at most 2 of them can be canaries)");
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 2, 1});
  CHECK(canaries(1) == "answer 1 (web has 1 worker: no canary is possible, reload it without)");
}

TEST_CASE(
    "fewer workers than canaries: one stays old; with one worker there is no canary, and that is told") {
  ServiceSpec spec = pool(3);
  spec.roll.canary = 2;
  Scene s = serving(spec);
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, 2});
  s.ends({0, 2, 1, 1}, 0);
  s.command(CommandVerb::reload, {0}, 2);
  CHECK(s.spawned() == Keys{{0, 0, 2, 1}});
  s.serve({0, 0, 2, 1});
  CHECK(s.facts.back().text == "canary 1 of 2, held 10000 ms");
  Scene one = serving(spec);
  one.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, 1});
  one.ends({0, 1, 1, 1}, 0);
  one.ends({0, 2, 1, 1}, 0);
  one.command(CommandVerb::reload, {0}, 2);
  one.serve({0, 0, 2, 1});
  const auto step = std::find_if(one.facts.begin(), one.facts.end(),
                                 [](const Fact& f) { return f.type == FactType::reload_step; });
  REQUIRE(step != one.facts.end());
  CHECK(step->text == "1 of 1 (no canary with one worker)");
}

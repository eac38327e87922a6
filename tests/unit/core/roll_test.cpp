// Gradual rolls: who has its turn when, and who gets it back.
#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

TEST_CASE("new first: each slot has its new worker ready before its old one goes, one after the other") {
  Scene s = serving(pool(2));
  play(s, {{"reload 1 0", "spawn 0:0:2:1 change", "reload.starting"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15, spawn 0:1:2:1 change",
            "child.ready, reload.step"},
           {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:1:2:1", "probe 0:1:2:1"},
           {"ready 0:1:2:1", "ask_drain 0:1:1:1, kill 0:1:1:1 15, answer 1",
            "child.ready, reload.step, reload.done"}});
}

TEST_CASE("old first: a slot's old worker is gone before its new one starts") {
  ServiceSpec spec = pool(2);
  spec.roll.order = RollOrder::old_first;
  Scene s = serving(spec);
  play(s, {{"reload 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"exits 0:0:1:1 0", "spawn 0:0:2:1 change, kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "ask_drain 0:1:1:1, kill 0:1:1:1 15"},
           {"exits 0:1:1:1 0", "spawn 0:1:2:1 change, kill_tree 0:1:1:1"}});
}

TEST_CASE(
    "a worker of the new generation that fails gives every slot back, and what is ready serves until then") {
  Scene s = serving(pool(2));
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  s.lives({0, 1, 2, 1});
  play(s, {{"exits 0:1:2:1 256",
            "stop_probe 0:1:2:1, answer 1 (web: generation 2: exited with status 1 before all workers were "
            "ready; "
            "generation 1 gets every slot back), spawn 0:0:1:2 change, kill_tree 0:1:2:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", "ask_drain 0:0:2:1, kill 0:0:2:1 15", "child.ready, reload.restored"}});
}

TEST_CASE("what is asked for during a roll is one more roll, however often") {
  Scene s = serving(pool(2));
  s.command(CommandVerb::reload, {0}, 1);
  for (std::uint64_t n = 2; n < 52; ++n) s.command(CommandVerb::reload, {0}, n);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  s.serve({0, 1, 2, 1});
  CHECK(s.spawned() == Keys{{0, 0, 3, 1}});
  s.ends({0, 1, 1, 1}, 0);
  s.serve({0, 0, 3, 1});
  s.ends({0, 0, 2, 1}, 0);
  s.serve({0, 1, 3, 1});
  CHECK(s.count<Answer>() == 51);
  s.ends({0, 1, 2, 1}, 0);
  CHECK(s.spawned().empty());
  CHECK(s.state(0) == ServiceState::ready);
}

TEST_CASE("a canary goes first and is held; when it fails meanwhile, all is as it was") {
  ServiceSpec spec = pool(3);
  spec.roll.canary = 1;
  spec.roll.canary_hold = 10s;
  spec.roll.batch = Share{0, 100};
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  play(s, {{"due", "10000"}, {"tick 9999", ""}, {"tick 1", "spawn 0:1:2:1 change, spawn 0:2:2:1 change"}});
  Scene bad = serving(spec);
  bad.command(CommandVerb::reload, {0}, 1);
  bad.serve({0, 0, 2, 1});
  bad.ends({0, 0, 1, 1}, 0);
  bad.exits({0, 0, 2, 1}, 256);
  CHECK(bad.told(FactType::reload_failed) == 1);
  CHECK(bad.spawned() == Keys{{0, 0, 1, 2}});
}

TEST_CASE("workers that are done before their generation is the current one: so is the service") {
  ServiceSpec spec = pool(2);
  spec.restart = RestartPolicy::on_failure;
  spec.roll.batch.count = 2;
  spec.roll.hold_last = 1s;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  for (std::uint32_t slot : {0U, 1U}) s.serve({0, slot, 2, 1});
  for (std::uint32_t slot : {0U, 1U}) s.ends({0, slot, 1, 1}, 0);
  for (std::uint32_t slot : {0U, 1U}) s.ends({0, slot, 2, 1}, 0);
  play(s, {{"state 0", "reloading"},
           {"wait", "answer 1, quit 0", "reload.done, service.done, services.all_ready, shutdown.done"}});
}

TEST_CASE("without room for one more the old ones go first") {
  ServiceSpec spec = pool(2);
  spec.roll.memory_guard = true;
  Scene s = serving(spec);
  play(s, {{"reload 1 0", "measure 0"}});
  s.handle(Room{ServiceId{0}, 100U << 20U, 200U << 20U});
  CHECK(s.told(FactType::reload_old_first) == 1);
  CHECK(s.effects() == "ask_drain 0:0:1:1, kill 0:0:1:1 15");
  // Nobody answers: it is taken to be enough.
  Scene silent = serving(spec);
  play(silent, {{"reload 1 0", "measure 0"}, {"due", "1000"}, {"wait", "spawn 0:0:2:1 change"}});
}

TEST_CASE("room is looked for again before each batch: old workers that still drain take some, too") {
  ServiceSpec spec = pool(3);
  spec.roll.memory_guard = true;
  Scene s = serving(spec);
  const auto room = [&](std::uint64_t mib) { s.handle(Room{ServiceId{0}, mib << 20U, 200U << 20U}); };
  play(s, {{"reload 1 0", "measure 0"}});
  room(300);
  CHECK(s.effects() == "spawn 0:0:2:1 change");
  play(s, {{"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "measure 0, ask_drain 0:0:1:1, kill 0:0:1:1 15"}});
  CHECK(s.told(FactType::reload_old_first) == 0);
  room(100);
  CHECK(s.told(FactType::reload_old_first) == 1);
  CHECK(s.effects() == "ask_drain 0:1:1:1, kill 0:1:1:1 15");
  s.ends({0, 1, 1, 1}, 0);
  s.serve({0, 1, 2, 1});  // and so it stays
  CHECK(s.effects() == "ask_drain 0:2:1:1, kill 0:2:1:1 15");
}

TEST_CASE("scale: new slots start, slots that are too many drain") {
  Scene s = serving(pool(2));
  Command more{CommandVerb::scale, {ServiceId{0}}, 0, 1, 3};
  s.handle(more);
  CHECK(s.effects() == "spawn 0:2:1:1 scale");
  s.serve({0, 2, 1, 1});
  CHECK(s.count<Answer>() == 1);
  Command fewer{CommandVerb::scale, {ServiceId{0}}, 0, 2, 1};
  s.handle(fewer);
  CHECK(s.effects() == "ask_drain 0:1:1:1, kill 0:1:1:1 15, ask_drain 0:2:1:1, kill 0:2:1:1 15, answer 2");
  CHECK(s.view(0).wanted_workers == 1);
}

TEST_CASE("a worker at the end of its lifetime serves until its slot has another one") {
  ServiceSpec spec = pool(2);
  spec.recycle.lifetime = 100s;
  spec.recycle.jitter_percent = 0;
  Scene s = serving(spec);
  play(s, {{"due", "100000"}, {"wait", "spawn 0:0:1:2 recycle"}});
  s.lives({0, 0, 1, 2});
  play(s, {{"ready 0:0:1:2", "ask_drain 0:0:1:1, kill 0:0:1:1 15, spawn 0:1:1:2 recycle"}});
}

TEST_CASE("one that a signal has stopped is replaced at once when its time is over") {
  ServiceSpec spec = pool(2);
  spec.hang.stopped = 500ms;
  Scene s = serving(spec);
  s.handle(Frozen{K{0, 0, 1, 1}, true});
  play(s, {{"due", "500"}, {"wait", "kill_tree 0:0:1:1, spawn 0:0:1:2 crash"}});
  Scene back = serving(spec);
  back.handle(Frozen{K{0, 0, 1, 1}, true});
  back.handle(Frozen{K{0, 0, 1, 1}, false});
  CHECK(back.machine.next_deadline() == kNever);
}

TEST_CASE("one that hangs when its slot has had its turn: a roll that fails starts another one at once") {
  Scene s = serving(pool(2));
  play(s, {{"HUP", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"trigger 0:0:1:1", "kill 0:0:1:1 6 main"},
           {"exits 0:0:2:1 256", "stop_probe 0:0:2:1, spawn 0:0:1:2 change, kill_tree 0:0:2:1"},
           {"exits 0:0:1:1 6", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", ""},
           {"state 0", "ready"}});
}

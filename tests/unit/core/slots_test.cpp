// Sockets of single slots (balance = "reuseport"): who serves their queues, and when they are closed.
#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec own_sockets(std::uint32_t workers) {
  ServiceSpec spec = pool(workers);
  spec.balance = Balance::reuseport;
  return spec;
}

Command scaled(std::uint32_t workers) { return Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, workers}; }

}  // namespace

TEST_CASE("a slot that goes away: its worker has a drain's budget for its queue, then its socket is closed") {
  Scene s = serving(own_sockets(2));
  s.handle(scaled(1));
  CHECK(s.effects() == "distribute 0: 0, await_queue 0:1:1:1, answer 1");
  play(s, {{"due", "10000"},
           {"wait", "ask_drain 0:1:1:1, kill 0:1:1:1 15"},
           {"exits 0:1:1:1 0", "kill_tree 0:1:1:1"},
           {"swept 0:1:1:1", "forget 0:1:1:1, close_slots 0: 1"}});
  s.handle(SlotClosed{ServiceId{0}, 1, "127.0.0.1:80", 3});
  REQUIRE(s.out.facts.size() == 1);
  CHECK(s.out.facts[0].type == FactType::slot_closed);
  CHECK(s.out.facts[0].slot == 1);
  CHECK(s.out.facts[0].number == 3);
  // It comes back with a new one.
  s.handle(scaled(2));
  CHECK(s.spawned() == Keys{{0, 1, 1, 2}});
  s.serve({0, 1, 1, 2});
  s.handle(scaled(1));
  s.handle(QueueEmpty{K{0, 1, 1, 2}});
  s.exits({0, 1, 1, 2}, 0);
  s.swept({0, 1, 1, 2});
  CHECK(s.effects() == "forget 0:1:1:2, close_slots 0: 1");
}

TEST_CASE("a slot that is wanted again while its worker retires has a successor soon, and keeps its socket") {
  Scene s = serving(own_sockets(2));
  s.handle(scaled(1));
  s.tick(2s);
  s.handle(scaled(2));
  play(s, {{"due", "1000"},
           {"wait", "ask_drain 0:1:1:1, kill 0:1:1:1 15"},
           {"exits 0:1:1:1 0", "spawn 0:1:1:2 scale, kill_tree 0:1:1:1"},
           {"swept 0:1:1:1", "forget 0:1:1:1"}});
}

TEST_CASE("the worker of a slot that has a successor leaves it the rest of its queue after a moment") {
  ServiceSpec spec = own_sockets(2);
  spec.roll.order = RollOrder::old_first;
  Scene s = serving(spec);
  play(s, {{"reload 1 0", "distribute 0: 1, await_queue 0:0:1:1"}, {"due", "1000"}});
}

TEST_CASE("a slot that dies keeps its socket for its successor, unless it goes away before that is ready") {
  Scene s = serving(own_sockets(2));
  s.exits({0, 1, 1, 1}, SIGKILL);
  CHECK(s.effects() == "spawn 0:1:1:2 crash, distribute 0: 0, kill_tree 0:1:1:1");
  s.swept({0, 1, 1, 1});
  CHECK(s.effects() == "forget 0:1:1:1");
  s.lives({0, 1, 1, 2});
  s.handle(scaled(1));
  CHECK(s.effects() == "stop_probe 0:1:1:2, ask_drain 0:1:1:2, kill 0:1:1:2 15, answer 1");
  s.exits({0, 1, 1, 2}, SIGTERM);
  s.swept({0, 1, 1, 2});
  CHECK(s.effects() == "forget 0:1:1:2, close_slots 0: 1");
}

TEST_CASE("a slot that is away when it is scaled down, and one that is given up, lose their sockets") {
  ServiceSpec spec = own_sockets(2);
  spec.no_restart = {4};
  spec.backoff.initial = 5s;
  Scene s = serving(spec);
  s.ends({0, 1, 1, 1}, 256);
  s.lives({0, 1, 1, 2});
  s.ends({0, 1, 1, 2}, 256);  // waits for its next start
  s.handle(scaled(1));
  CHECK(s.effects() == "close_slots 0: 1, answer 1");
  Scene lost = serving(spec);
  lost.exits({0, 0, 1, 1}, 4 << 8);
  lost.swept({0, 0, 1, 1});
  CHECK(lost.effects() == "forget 0:0:1:1, close_slots 0: 0");
  lost.command(CommandVerb::reload, {0}, 1);
  CHECK(lost.spawned() == Keys{{0, 0, 2, 1}});  // which gets a new one
}

TEST_CASE("without anybody else who serves no socket is closed") {
  ServiceSpec spec = own_sockets(2);
  Scene s;
  s.configure({spec}, Mode::prod);
  s.lives({0, 0, 1, 1});
  s.lives({0, 1, 1, 1});
  s.handle(scaled(1));
  s.ends({0, 1, 1, 1}, SIGTERM);
  CHECK(s.effects() == "forget 0:1:1:1");
  s.ready({0, 0, 1, 1});
  CHECK(s.effects() == "distribute 0: 0, close_slots 0: 1, answer 1");
}

TEST_CASE("a worker that retires when the shutdown begins goes with its queue, whoever needs its service") {
  ServiceSpec spec = own_sockets(2);
  ServiceSpec needs_it = service("front");
  needs_it.depends_on = {spec.name};
  Scene s;
  s.configure({spec, needs_it}, Mode::prod);
  for (std::uint32_t slot : {0U, 1U}) s.serve({0, slot, 1, 1});
  s.serve({1, 0, 1, 1});
  s.handle(scaled(1));
  play(s, {{"TERM", "ask_drain 1:0:1:1, kill 1:0:1:1 15"}});
  s.handle(QueueEmpty{K{0, 1, 1, 1}});
  CHECK(s.effects() == "ask_drain 0:1:1:1, kill 0:1:1:1 15");
  play(s, {{"exits 0:1:1:1 0", "kill_tree 0:1:1:1"},
           {"swept 0:1:1:1", "forget 0:1:1:1"},
           {"exits 1:0:1:1 0", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"}});
}

// A child that waits at its terminal: what stands still, what waits with it, and what does not.
#include "core/machine.hpp"
#include "scene.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

Scene serving(ServiceSpec spec = watched("web")) {
  spec.ready.timeout = 10s;
  Scene s;
  s.configure({spec});
  s.lives({0, 0, 1, 1});
  return s;
}

void waits(Scene& s, const K& k, bool on) { s.handle(AtTerminal{k, on}); }

}  // namespace

TEST_CASE("the time that a child has to become ready stands still while it waits at its terminal") {
  Scene s = serving();
  s.now += 9s;
  waits(s, {0, 0, 1, 1}, true);
  CHECK(s.machine.next_deadline() == kNever);
  s.tick(1h);
  CHECK(s.effects() == "");
  waits(s, {0, 0, 1, 1}, false);
  CHECK(s.machine.next_deadline() == s.now + 1s);
  s.tick(1s);
  CHECK(s.effects() == "examine 0:0:1:1");
}

TEST_CASE("nobody is late for a time in which everything was stopped") {
  Scene s = serving();
  s.now += 9s;
  s.now += 1h;
  s.handle(StoodStill{1h});
  s.tick(900ms);
  CHECK(s.effects() == "");
  s.tick(200ms);
  CHECK(s.effects() == "examine 0:0:1:1");
}

TEST_CASE("so does its watchdog, and a beat in between counts from when it goes on") {
  Scene s = serving();
  s.ready({0, 0, 1, 1});
  s.handle(Watchdog{K{0, 0, 1, 1}, 2'000'000, false});
  s.now += 1s;
  waits(s, {0, 0, 1, 1}, true);
  s.tick(1h);
  CHECK(s.told(FactType::child_watchdog_missed) == 0);
  s.handle(Watchdog{K{0, 0, 1, 1}, 0, false});
  CHECK(s.machine.next_deadline() == kNever);
  waits(s, {0, 0, 1, 1}, false);
  CHECK(s.machine.next_deadline() == s.now + 2s);
}

TEST_CASE("changes wait until it goes on, are told once, and are one reload then") {
  Scene s = serving();
  s.ready({0, 0, 1, 1});
  waits(s, {0, 0, 1, 1}, true);
  s.changed(0);
  s.changed(0);
  s.tick(10s);
  CHECK(s.effects() == "");
  CHECK(s.told(FactType::reload_waits) == 1);
  waits(s, {0, 0, 1, 1}, false);
  CHECK(s.effects() == "spawn 0:0:2:1 change");
}

TEST_CASE("a change that came before it began to wait waits too") {
  Scene s = serving();
  s.ready({0, 0, 1, 1});
  s.held(0, true);
  s.changed(0);
  waits(s, {0, 0, 1, 1}, true);
  CHECK(s.told(FactType::reload_waits) == 1);
  s.tick(10s);
  s.held(0, false);
  CHECK(s.effects() == "");
  waits(s, {0, 0, 1, 1}, false);
  CHECK(s.effects() == "spawn 0:0:2:1 change");
}

TEST_CASE("its death ends the waiting: what it held back is not lost") {
  Scene s = serving();
  s.ready({0, 0, 1, 1});
  waits(s, {0, 0, 1, 1}, true);
  s.changed(0);
  s.tick(10s);
  s.exits({0, 0, 1, 1}, 1 << 8);
  CHECK(s.effects() == "kill_tree 0:0:1:1");
  s.swept({0, 0, 1, 1});
  CHECK(s.effects() == "forget 0:0:1:1, spawn 0:0:2:1 change");
}

TEST_CASE("what a person asks for does not wait: a reload, a stop with its time limit, the end") {
  Scene s = serving();
  s.ready({0, 0, 1, 1});
  waits(s, {0, 0, 1, 1}, true);
  s.command(CommandVerb::reload, {0}, 1);
  CHECK(s.effects() == "spawn 0:0:2:1 change");
  Scene t = serving();
  t.ready({0, 0, 1, 1});
  waits(t, {0, 0, 1, 1}, true);
  t.command(CommandVerb::stop, {0}, 1);
  CHECK(t.effects() == "ask_drain 0:0:1:1, kill 0:0:1:1 15");
  CHECK(t.machine.next_deadline() == t.now + 10s);
  waits(t, {0, 0, 1, 1}, true);
  CHECK(t.machine.next_deadline() == t.now + 10s);
}

TEST_CASE("a child that is not there, or is on its way out, or a build step, cannot begin to wait") {
  Scene s = serving(built("web"));
  waits(s, {0, kBuildSlot, 1, 1}, true);
  waits(s, {0, 7, 1, 1}, true);
  waits(s, {3, 0, 1, 1}, true);
  CHECK(s.told(FactType::child_waits) == 0);
}

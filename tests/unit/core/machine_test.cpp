// The life cycle in plain scenes: one event, and what follows from it.
#include "core/machine.hpp"
#include "scene.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::core;

TEST_CASE("a service starts, is probed, and is ready") {
  Scene s;
  s.configure({service("web")});
  REQUIRE(s.spawned() == Keys{{0, 0, 1, 1}});
  s.lives({0, 0, 1, 1});
  CHECK(s.count<Probe>() == 1);
  s.ready({0, 0, 1, 1});
  CHECK(s.told(FactType::service_ready) == 1);
  CHECK(s.told(FactType::all_ready) == 1);
  CHECK(s.state(0) == ServiceState::ready);
}

TEST_CASE("the replacement of a crashed worker is spawned before the leftovers are killed") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  s.exits({0, 0, 1, 1}, 1);
  CHECK(s.effects() == "spawn 0:0:1:2 crash, kill_tree 0:0:1:1");
}

TEST_CASE("without overlap the replacement waits until nothing is left of the crashed worker") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.overlap = false;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.exits({0, 0, 1, 1}, 1);
  CHECK(s.effects() == "kill_tree 0:0:1:1");
  s.swept({0, 0, 1, 1});
  CHECK(s.effects() == "forget 0:0:1:1, spawn 0:0:1:2 crash");
}

TEST_CASE("a change starts a new generation beside the old one, which drains when the new one is ready") {
  Scene s;
  s.configure({watched("web")});
  s.serve({0, 0, 1, 1});
  s.changed(0);
  CHECK(s.effects() == "spawn 0:0:2:1 change");
  s.lives({0, 0, 2, 1});
  s.ready({0, 0, 2, 1});
  CHECK(s.effects() == "ask_drain 0:0:1:1, kill 0:0:1:1 15");
  s.exits({0, 0, 1, 1}, 0);
  s.swept({0, 0, 1, 1});
  CHECK(s.effects() == "forget 0:0:1:1");
  CHECK(s.state(0) == ServiceState::ready);
}

TEST_CASE("a shutdown ends with quit 0 when the last child is gone") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  s.handle(Signalled{SIGTERM});
  CHECK(s.effects() == "ask_drain 0:0:1:1, kill 0:0:1:1 15");
  s.exits({0, 0, 1, 1}, 15);
  CHECK(s.effects() == "kill_tree 0:0:1:1");
  s.swept({0, 0, 1, 1});
  CHECK(s.effects() == "forget 0:0:1:1, quit 0");
}

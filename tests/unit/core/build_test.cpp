// The build step: a child like any other, in the way of every start that follows a change.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

Scene serving() {
  Scene s;
  s.configure({built("web")});
  play(s, {{"lives 0:b:1:1", ""},
           {"exits 0:b:1:1 0", "spawn 0:0:1:1 start, kill_tree 0:b:1:1"},
           {"swept 0:b:1:1", "forget 0:b:1:1"}});
  s.serve({0, 0, 1, 1});
  return s;
}

}  // namespace

TEST_CASE("the first start is built first; a restart and a crash are not built again") {
  Scene s;
  s.configure({built("web")});
  play(s, {{"state 0", "building"},
           {"lives 0:b:1:1", ""},
           {"due", "never"},  // a build has no time-out and no probe
           {"ready 0:b:1:1", "", ""},
           {"stopping 0:b:1:1", "", ""},
           {"trigger 0:b:1:1", "", ""},
           {"claim 0:b:1:1 77", "refuse 0:b:1:1 (no such child)"},
           {"exits 0:b:1:1 0", "spawn 0:0:1:1 start, kill_tree 0:b:1:1"},
           {"swept 0:b:1:1", "forget 0:b:1:1"},
           {"lives 0:0:1:1", "probe 0:0:1:1"},
           {"ready 0:0:1:1", ""},
           {"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", ""},
           {"restart 1 0", "ask_drain 0:0:1:2, kill 0:0:1:2 15"},
           {"exits 0:0:1:2 15", "kill_tree 0:0:1:2"},
           {"swept 0:0:1:2", "forget 0:0:1:2, spawn 0:0:2:1 start"}});
}

TEST_CASE("a change is built before the next generation starts, while the old one serves") {
  Scene s = serving();
  play(s, {{"changed 0", "spawn 0:b:2:1 change", "reload.building"},
           {"state 0", "reloading"},
           {"lives 0:b:2:1", ""},
           {"tick 50", ""},
           {"exits 0:b:2:1 0", "spawn 0:0:2:1 change, kill_tree 0:b:2:1"}});
}

TEST_CASE(
    "one that made room for a change that is withdrawn comes back for that reason, not for an older one") {
  Scene s;
  ServiceSpec spec = built("web");
  spec.overlap = false;
  s.configure({spec});
  play(s, {{"lives 0:b:1:1", ""},
           {"exits 0:b:1:1 0", "spawn 0:0:1:1 start, kill_tree 0:b:1:1"},
           {"swept 0:b:1:1", "forget 0:b:1:1"}});
  s.serve({0, 0, 1, 1});
  play(s, {{"exits 0:0:1:1 11", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, spawn 0:0:1:2 crash"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", ""},
           {"changed 0", "spawn 0:b:2:1 change"},
           {"lives 0:b:2:1", ""},
           {"tick 50", ""},
           {"exits 0:b:2:1 0", "ask_drain 0:0:1:2, kill 0:0:1:2 15, kill_tree 0:b:2:1"},
           {"swept 0:b:2:1", "forget 0:b:2:1"},
           {"exits 0:0:1:2 0", "kill_tree 0:0:1:2"},
           {"changed 0", "spawn 0:b:2:2 change"},
           {"swept 0:0:1:2", "forget 0:0:1:2, spawn 0:0:1:3 change"}});
}

TEST_CASE("each end of a build that serves nobody: told, answered, and the old generation as it was") {
  for (const char* end : {"exits 0:b:2:1 512", "exits 0:b:2:1 9", "lost 0:b:2:1"}) {
    INFO(end);
    Scene s = serving();
    play(s, {{"reload 1 0", "spawn 0:b:2:1 change"}, {"lives 0:b:2:1", ""}});
    s.facts.clear();
    Script(s, end).run();
    CHECK(s.count<Answer>() == 1);
    CHECK(s.count<KillTree>() == 1);
    CHECK(s.told(FactType::reload_build_failed) == 1);
    play(s, {{"swept 0:b:2:1", "forget 0:b:2:1"},
             {"state 0", "ready"},
             {"workers 0", "0:0:1:1 ready"},
             {"due", "never"},
             {"changed 0", "spawn 0:b:2:2 change"}});  // the same generation, another attempt
  }
}

TEST_CASE("a first build that fails fails the service; the next change builds again") {
  Scene s;
  s.configure({built("web")});
  play(s, {{"lives 0:b:1:1", ""},
           {"exits 0:b:1:1 512", "kill_tree 0:b:1:1", "child.exited, service.failed"},
           {"changed 0", ""},
           {"swept 0:b:1:1", "forget 0:b:1:1, spawn 0:b:1:2 change"}});
}

TEST_CASE("a stop cancels a build") {
  Scene s = serving();
  play(s, {{"changed 0", "spawn 0:b:2:1 change"},
           {"lives 0:b:2:1", ""},
           {"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15, kill 0:b:2:1 15"},
           {"tick 10000", "kill_tree 0:0:1:1, kill_tree 0:b:2:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"exits 0:b:2:1 9", ""},
           {"swept 0:b:2:1", "forget 0:b:2:1, answer 1"},
           {"start 2 0", "spawn 0:b:2:2 start"}});  // what was changed is not built yet
}

TEST_CASE("a stop during the spawn of a build") {
  Scene s;
  s.configure({built("web")});
  play(s, {{"stop 1 0", ""},
           {"lives 0:b:1:1", "kill 0:b:1:1 15"},
           {"exits 0:b:1:1 15", "kill_tree 0:b:1:1"},
           {"swept 0:b:1:1", "forget 0:b:1:1, answer 1"}});
}

TEST_CASE("a change during a build: what it built is out of date, whether it succeeds or not") {
  for (const char* end : {"exits 0:b:2:1 0", "exits 0:b:2:1 512"}) {
    INFO(end);
    Scene inside = serving();
    play(inside, {{"changed 0", "spawn 0:b:2:1 change"},
                  {"lives 0:b:2:1", ""},
                  {"tick 20", ""},
                  {"changed 0", ""},
                  {end, "kill_tree 0:b:2:1"},
                  {"swept 0:b:2:1", "forget 0:b:2:1"},
                  {"tick 50", "spawn 0:b:2:2 change"}});
    CHECK(inside.told(FactType::reload_build_failed) == 0);
    Scene after = serving();
    play(after, {{"changed 0", "spawn 0:b:2:1 change"},
                 {"lives 0:b:2:1", ""},
                 {"tick 50", ""},
                 {"changed 0", "kill 0:b:2:1 15"},
                 {"tick 50", ""},
                 {end, "kill_tree 0:b:2:1"},
                 {"swept 0:b:2:1", "forget 0:b:2:1, spawn 0:b:2:2 change"}});
    CHECK(after.told(FactType::reload_build_failed) == 0);
  }
}

TEST_CASE("a crash during a build is healed with what is there") {
  Scene s = serving();
  play(s, {{"changed 0", "spawn 0:b:2:1 change"},
           {"lives 0:b:2:1", ""},
           {"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"}});
}

TEST_CASE("a built generation that fails is not built again until something changes") {
  Scene s = serving();
  play(s, {{"changed 0", "spawn 0:b:2:1 change"},
           {"lives 0:b:2:1", ""},
           {"exits 0:b:2:1 0", "spawn 0:0:2:1 change, kill_tree 0:b:2:1"},
           {"swept 0:b:2:1", "forget 0:b:2:1"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"exits 0:0:2:1 256", "stop_probe 0:0:2:1, kill_tree 0:0:2:1"},
           {"swept 0:0:2:1", "forget 0:0:2:1"},
           {"tick 50", ""},
           {"due", "never"},
           {"state 0", "ready"}});
}

TEST_CASE("what a build leaves alive is named, and keeps nobody from starting") {
  Scene s;
  s.configure({built("web")});
  play(s, {{"lives 0:b:1:1", ""},
           {"exits 0:b:1:1 0", "spawn 0:0:1:1 start, kill_tree 0:b:1:1"},
           {"swept 0:b:1:1 77-daemon", "forget 0:b:1:1", "child.survivors_left"},
           {"lives 0:0:1:1", "probe 0:0:1:1"},
           {"ready 0:0:1:1", ""},
           {"state 0", "ready"}});
}

// From a change to a new generation: what acts at once, what is gathered, what is given up (I1, I3, I6).
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec alone(ServiceSpec spec) {
  spec.overlap = false;
  return spec;
}

}  // namespace

TEST_CASE("the leading edge: the first change acts at once, what follows in the settle time makes one more") {
  Scene s = serving_watched();
  play(s, {{"changed 0", "spawn 0:0:2:1 change", "reload.starting"},
           {"due", "50"},
           {"tick 30", ""},
           {"changed 0", "", "reload.settling"},
           {"due", "50"},
           {"tick 30", ""},
           {"changed 0", "", ""},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"tick 49", ""},
           {"tick 1", "stop_probe 0:0:2:1, ask_drain 0:0:2:1, kill 0:0:2:1 15", "reload.queued"},
           {"exits 0:0:2:1 15", "kill_tree 0:0:2:1"},
           {"swept 0:0:2:1", "forget 0:0:2:1, spawn 0:0:3:1 change"},
           {"lives 0:0:3:1", "probe 0:0:3:1"},
           {"ready 0:0:3:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15", "child.ready, reload.done"},
           {"due", "10000"}});
}

TEST_CASE("a change that nothing follows closes its window in silence") {
  Scene s = serving_watched();
  play(s, {{"changed 0", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"tick 50", "", ""},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"due", "never"},
           {"changed 0", "spawn 0:0:3:1 change"}});  // and the next one is a leading edge again
}

TEST_CASE("while a tool is at work changes are gathered, and acted on when it is done") {
  Scene s = serving_watched();
  play(s, {{"hold 0", "", ""},
           {"hold 0", "", ""},
           {"changed 0", "", "reload.settling"},
           {"tick 50", "", ""},
           {"due", "never"},
           {"unknown 0", "", ""},
           {"tick 5000", ""},
           {"release 0", "spawn 0:0:2:1 change"},
           {"release 0", ""}});
}

TEST_CASE("a hold without a change holds nothing back, and a release inside the window waits for its end") {
  Scene s = serving_watched();
  play(s, {{"hold 0", ""},
           {"release 0", "", ""},
           {"hold 0", ""},
           {"changed 0", ""},
           {"tick 20", ""},
           {"release 0", ""},
           {"due", "30"},
           {"tick 30", "spawn 0:0:2:1 change"}});
}

TEST_CASE("a command and a crash are not held back") {
  Scene s = serving_watched();
  play(s, {{"hold 0", ""},
           {"changed 0", ""},
           {"reload 1 0", "spawn 0:0:2:1 change"},
           {"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"}});
}

TEST_CASE("overflow means everything: a change of unknown paths is a change") {
  Scene s = serving_watched();
  play(s, {{"unknown 0", "spawn 0:0:2:1 change"},
           {"unknown 0", "", "reload.settling"},
           {"tick 50", ""},
           {"lives 0:0:2:1", "ask_drain 0:0:2:1, kill 0:0:2:1 15"}});
}

TEST_CASE("a change in each state: it is never lost (I1)") {
  struct Row {
    const char* what;
    std::initializer_list<Step> before;
    const char* effects;
  };
  const Row rows[] = {
      {"spawning: what was read may be the old file, so the next one is started when this one is there",
       {},
       ""},
      {"starting",
       {{"lives 0:0:1:1", "probe 0:0:1:1"}},
       "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
      {"ready", {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"ready 0:0:1:1", ""}}, "spawn 0:0:2:1 change"},
      {"back-off", {{"fails 0:0:1:1 EAGAIN", "forget 0:0:1:1"}}, "spawn 0:0:2:1 change"},
      {"failed", {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"}}, "spawn 0:0:2:1 change"},
      {"stopped: a later start takes it in",
       {{"stop 1 0", ""}, {"fails 0:0:1:1 ENOENT", "forget 0:0:1:1, answer 1"}},
       ""},
      {"draining by its own word",
       {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"ready 0:0:1:1", ""}, {"stopping 0:0:1:1", ""}},
       "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    s.configure({watched("web")});
    play(s, row.before);
    play(s, {{"changed 0", row.effects}});
  }
}

TEST_CASE("an edit during a start: the start that is stale ends, and the next one begins after it") {
  Scene s;
  s.configure({watched("web")});
  play(s, {{"changed 0", ""},
           {"lives 0:0:1:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"ready 0:0:1:1", ""},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"tick 50", ""},
           {"ready 0:0:2:1", ""},
           {"state 0", "ready"}});
  CHECK(s.view(0).restarts == 0);
}

TEST_CASE("without overlap the old one goes first, and connections wait") {
  for (const bool port : {false, true}) {
    ServiceSpec spec = port ? watched("web") : alone(watched("web"));
    if (port) spec.port = 8000;
    Scene s = serving_watched(spec);
    play(s, {{"changed 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
             {"state 0", "starting"},
             {"tick 50", ""},
             {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
             {"changed 0", ""},
             {"swept 0:0:1:1", "forget 0:0:1:1, spawn 0:0:2:1 change"}});
  }
}

TEST_CASE("a new generation that fails before its first ready worker leaves the old one as it was") {
  Scene s = serving_watched(watched("web", 2));
  play(s, {{"changed 0", "spawn 0:0:2:1 change, spawn 0:1:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"lives 0:1:2:1", "probe 0:1:2:1"},
           // In the settle window a failure is not told yet.
           {"exits 0:0:2:1 256",
            "stop_probe 0:0:2:1, stop_probe 0:1:2:1, ask_drain 0:1:2:1, kill 0:1:2:1 15, "
            "kill_tree 0:0:2:1",
            "child.exited"},
           {"state 0", "ready"},
           {"tick 50", "", "reload.failed"},
           {"swept 0:0:2:1", "forget 0:0:2:1"},
           {"exits 0:1:2:1 15", "kill_tree 0:1:2:1"},
           {"swept 0:1:2:1", "forget 0:1:2:1"},
           {"workers 0", "0:0:1:1 ready, 0:1:1:1 ready"},
           {"changed 0", "spawn 0:0:3:1 change, spawn 0:1:3:1 change"}});
}

TEST_CASE("a failure that the next change cures is not told") {
  Scene s = serving_watched();
  play(s, {{"changed 0", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"exits 0:0:2:1 256", "stop_probe 0:0:2:1, kill_tree 0:0:2:1"},
           {"swept 0:0:2:1", "forget 0:0:2:1"},
           {"changed 0", ""},
           {"tick 50", "spawn 0:0:3:1 change"},
           {"lives 0:0:3:1", "probe 0:0:3:1"},
           {"ready 0:0:3:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"}});
  CHECK(s.told(FactType::reload_failed) == 0);
  CHECK(s.told(FactType::reload_done) == 1);
}

TEST_CASE(
    "after the first ready worker there is no way back: slots are tried again, old ones serve till then") {
  Scene s = serving_watched(watched("web", 2));
  play(s, {{"changed 0", "spawn 0:0:2:1 change, spawn 0:1:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"lives 0:1:2:1", "probe 0:1:2:1"},
           {"tick 50", ""},
           {"ready 0:0:2:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"exits 0:1:2:1 256", "stop_probe 0:1:2:1, spawn 0:1:2:2 crash, kill_tree 0:1:2:1",
            "child.exited, reload.failed"},
           {"lives 0:1:2:2", "probe 0:1:2:2"},
           {"exits 0:1:2:2 256", "stop_probe 0:1:2:2, kill_tree 0:1:2:2"},
           {"tick 100", "spawn 0:1:2:3 crash"},
           {"lives 0:1:2:3", "probe 0:1:2:3"},
           {"ready 0:1:2:3", "ask_drain 0:1:1:1, kill 0:1:1:1 15"}});
}

TEST_CASE("a reload by SIGHUP or command is not gathered") {
  Scene s = serving_watched();
  play(s, {{"HUP", "spawn 0:0:2:1 change"},
           {"due", "never"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"reload 1 0", "stop_probe 0:0:2:1, ask_drain 0:0:2:1, kill 0:0:2:1 15", "reload.queued"},
           {"exits 0:0:2:1 15", "kill_tree 0:0:2:1"},
           {"swept 0:0:2:1", "forget 0:0:2:1, spawn 0:0:3:1 change"},
           {"lives 0:0:3:1", "probe 0:0:3:1"},
           {"ready 0:0:3:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15, answer 1"}});
}

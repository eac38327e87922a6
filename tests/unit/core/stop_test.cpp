// Stopping one service: the grace, its end, the tree, and what comes in between (I2, I4, I5, I9).
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

TEST_CASE("the grace ends with the child, not with its time") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15", "service.stopping"},
           {"due", "10000"},
           {"tick 9999", ""},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1", "child.stopped"},
           {"due", "never"},
           {"swept 0:0:1:1", "forget 0:0:1:1, answer 1", "service.stopped"},
           {"state 0", "stopped"}});
}

TEST_CASE("a child that outlives its grace is killed with its tree, once") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"tick 10000", "kill_tree 0:0:1:1", "child.stop_timed_out"},
           {"tick 10000", ""},
           {"exits 0:0:1:1 9", ""},
           {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"}});
}

TEST_CASE("a killed child whose tree is empty before anybody saw its end is gone") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"tick 10000", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"},
           {"exits 0:0:1:1 9", "", ""}});
}

TEST_CASE("how a child is asked: its signal, to the group or the main process, in its own time") {
  struct Row {
    int signal;
    bool group;
    Duration timeout;
    const char* effects;
    const char* due;
  };
  const Row rows[] = {
      {SIGTERM, true, 10s, "ask_drain 0:0:1:1, kill 0:0:1:1 15", "10000"},
      {SIGINT, true, 3s, "ask_drain 0:0:1:1, kill 0:0:1:1 2", "3000"},
      {SIGTERM, false, 10s, "ask_drain 0:0:1:1, kill 0:0:1:1 15 main", "10000"},
      {SIGQUIT, false, 0s, "ask_drain 0:0:1:1, kill 0:0:1:1 3 main", "0"},
      {SIGKILL, true, 1s, "ask_drain 0:0:1:1, kill 0:0:1:1 9", "1000"},
      {SIGTERM, true, Duration::max(), "ask_drain 0:0:1:1, kill 0:0:1:1 15", "31622400000"},
  };
  for (const Row& row : rows) {
    Scene s;
    ServiceSpec spec = service("web");
    spec.stop = {row.signal, row.timeout, row.group};
    s.configure({spec});
    s.serve({0, 0, 1, 1});
    play(s, {{"stop 1 0", row.effects}, {"due", row.due}, {"wait", "kill_tree 0:0:1:1"}});
  }
}

TEST_CASE("a stop in every phase of a child ends, without a second word to it") {
  struct Row {
    const char* what;
    std::initializer_list<Step> before;
    std::initializer_list<Step> stop;  // from the command to the answer
  };
  const Row rows[] = {
      {"spawning: it is asked as soon as it is there",
       {},
       {{"stop 1 0", ""},
        {"state 0", "stopping"},
        {"lives 0:0:1:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"}}},
      {"a spawn that fails in the meantime is as good",
       {},
       {{"stop 1 0", ""}, {"fails 0:0:1:1 ENOENT", "forget 0:0:1:1, answer 1"}}},
      {"starting",
       {{"lives 0:0:1:1", "probe 0:0:1:1"}},
       {{"stop 1 0", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"}}},
      {"draining by its own word: it is told all the same",
       {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"ready 0:0:1:1", ""}, {"stopping 0:0:1:1", ""}},
       {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"stop 2 0", ""},
        {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, answer 2, answer 1"}}},
      {"being killed",
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"tick 30000", "examine 0:0:1:1"},
        {"stuck 0:0:1:1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"tick 10000", "kill_tree 0:0:1:1"}},
       {{"stop 1 0", ""}, {"exits 0:0:1:1 9", ""}, {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"}}},
      {"back-off",
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"ready 0:0:1:1", ""},
        {"exits 0:0:1:1 1", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1"},
        {"fails 0:0:1:2 EAGAIN fork", "forget 0:0:1:2"}},
       {{"stop 1 0", "answer 1"}, {"due", "never"}, {"state 0", "stopped"}}},
      {"failed",
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"}},
       {{"stop 1 0", "answer 1"}, {"state 0", "stopped"}}},
      {"stopped",
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"}, {"stop 1 0", "answer 1"}},
       {{"stop 2 0", "answer 2"}}},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    s.configure({watched("web")});
    play(s, row.before);
    play(s, row.stop);
    CHECK(s.view(0).workers.empty());
    CHECK(s.machine.next_deadline() == kNever);
  }
}

TEST_CASE("a start during a stop waits for the last child, then starts a new generation (I2, I3)") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"start 2 0", "answer 1 (web was started again)"},
           {"state 0", "stopping"},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, spawn 0:0:2:1 start"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "answer 2"}});
}

TEST_CASE("a start during a stop during a spawn does not start twice") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"stop 1 0", ""},
           {"start 2 0", "answer 1 (web was started again)"},
           {"lives 0:0:1:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"stop 3 0", "answer 2 (web was stopped)"},
           {"start 4 0", "answer 3 (web was started again)"},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, spawn 0:0:2:1 start"}});
}

TEST_CASE("a stop that leaves something alive names it and fails; it never says done") {
  Scene s;
  s.configure({service("web", 2)});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15, ask_drain 0:1:1:1, kill 0:1:1:1 15"},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1 77-nfs", "forget 0:0:1:1", "child.survivors_left"},
           {"state 0", "stopping"},
           {"exits 0:1:1:1 15", "kill_tree 0:1:1:1"},
           {"swept 0:1:1:1 78-nfs",
            "forget 0:1:1:1, answer 1 (web could not be stopped, still alive: 77-nfs, 78-nfs)"},
           {"state 0", "failed"},
           // A start is a new try and a clean sheet.
           {"start 2 0", "spawn 0:0:2:1 start, spawn 0:1:2:1 start"}});
}

TEST_CASE("a restart that could not stop what was there fails and starts nothing beside it (I3)") {
  Scene s;
  s.configure({watched("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"restart 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"tick 10000", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1 77-nfs",
            "forget 0:0:1:1, answer 1 (web failed: could not be stopped, still alive: 77-nfs)"},
           {"state 0", "failed"}});
}

TEST_CASE("what a crashed worker left behind is told, and the service goes on") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"swept 0:0:1:1 77-nfs", "forget 0:0:1:1", "child.survivors_left"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", ""},
           {"stop 1 0", "ask_drain 0:0:1:2, kill 0:0:1:2 15"},
           {"exits 0:0:1:2 15", "kill_tree 0:0:1:2"},
           {"swept 0:0:1:2", "forget 0:0:1:2, answer 1"}});  // this stop left nothing
}

TEST_CASE("I4: events of a child that is gone move nothing") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  s.ends({0, 0, 1, 1}, 1);
  const std::string before = s.machine.save();
  for (const char* late : {"lives 0:0:1:1", "fails 0:0:1:1 ENOENT", "exits 0:0:1:1 0", "swept 0:0:1:1 77-x",
                           "ready 0:0:1:1", "stopping 0:0:1:1", "says 0:0:1:1 x", "watchdog 0:0:1:1 1",
                           "trigger 0:0:1:1", "extend 0:0:1:1 1", "main 0:0:1:1 5"}) {
    play(s, {{late, "", ""}});
  }
  play(s, {{"workers 0", "0:0:1:2 spawning"}, {"due", "never"}});
  CHECK(before.size() == s.machine.save().size());
}

TEST_CASE("who has served and announces its end is succeeded at once, and goes in its own time") {
  Scene s;
  ServiceSpec spec = service("web", 2);
  spec.stop.timeout = 5s;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  s.now += kWorkDone;
  play(s, {{"stopping 0:0:1:1", "spawn 0:0:1:2 recycle"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", ""},
           {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"stopping 0:0:1:2", ""},  // so soon it may be a loop
           {"exits 0:0:1:2 0", "spawn 0:0:1:3 crash, kill_tree 0:0:1:2"}});
  CHECK(s.count<Kill>() == 0);
}

TEST_CASE(
    "who announces its end and then does not go is killed in the end; a stop and a reload still reach it") {
  for (const char* what : {"nobody asks", "stop 1 0", "reload 1 0"}) {
    INFO(what);
    Scene s;
    ServiceSpec spec = service("web");
    spec.stop.timeout = 5s;
    s.configure({spec});
    s.serve({0, 0, 1, 1});
    s.now += kWorkDone;
    play(s, {{"stopping 0:0:1:1", "spawn 0:0:1:2 recycle"},
             {"lives 0:0:1:2", "probe 0:0:1:2"},
             {"ready 0:0:1:2", ""}});
    if (what[0] == 's')
      play(s, {{what, "ask_drain 0:0:1:1, kill 0:0:1:1 15, ask_drain 0:0:1:2, kill 0:0:1:2 15"}});
    if (what[0] == 'r') play(s, {{what, "spawn 0:0:2:1 change"}});
    s.now += 5s;
    s.handle(Tick{});
    CHECK(s.effects().find("kill_tree 0:0:1:1") != std::string::npos);
  }
}

TEST_CASE("who announces its end and ends with a failure is a crash all the same, and no loop is fast") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  s.now += kWorkDone;
  play(s, {{"stopping 0:0:1:1", "spawn 0:0:1:2 recycle"}});
  s.lives({0, 0, 1, 2});
  s.ready({0, 0, 1, 2});
  play(s, {{"exits 0:0:1:1 256", "kill_tree 0:0:1:1"}, {"swept 0:0:1:1", "forget 0:0:1:1"}});
  s.now += kWorkDone;
  play(s, {{"stopping 0:0:1:2", ""}, {"exits 0:0:1:2 256", "kill_tree 0:0:1:2"}});
  CHECK(s.machine.next_deadline() > s.now);  // the second one waits
}

TEST_CASE("after a failure weeks ago who has lived well is succeeded at once; a kill by the grace is none") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.stop.timeout = 5s;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.now += kWorkDone;
  play(s, {{"stopping 0:0:1:1", "spawn 0:0:1:2 recycle"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", ""},
           {"tick 5000", "kill_tree 0:0:1:1"},
           {"exits 0:0:1:1 9", ""},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"stopping 0:0:1:2", "spawn 0:0:1:3 recycle"},
           {"exits 0:0:1:2 256", "kill_tree 0:0:1:2"},
           {"swept 0:0:1:2", "forget 0:0:1:2"},
           {"lives 0:0:1:3", "probe 0:0:1:3"},
           {"ready 0:0:1:3", ""},
           {"tick 10000", ""},
           {"stopping 0:0:1:3", "spawn 0:0:1:4 recycle"}});
}

TEST_CASE("copies of one slot that drain are bounded: the next one waits for its predecessor's end") {
  for (const std::uint32_t lingering : {0U, 1U}) {
    Scene s;
    ServiceSpec spec = service("web");
    spec.stop.timeout = 600s;
    spec.stop.lingering = lingering;
    s.configure({spec});
    s.serve({0, 0, 1, 1});
    std::uint32_t attempt = 1;
    for (;; ++attempt) {
      s.now += kWorkDone;
      const K key{0, 0, 1, attempt};
      s.handle(Stopping{key, Scene::pid(key)});
      if (s.spawned().empty()) break;
      s.serve({0, 0, 1, attempt + 1});
    }
    CHECK(attempt == lingering + 2);
    const K last{0, 0, 1, attempt};
    s.handle(Exited{last, Scene::pid(last), 0, true});
    CHECK(s.spawned() == Keys{{0, 0, 1, attempt + 1}});
  }
}

TEST_CASE("of several processes that serve one may go, or be done, without the others") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  const K key{0, 0, 1, 1};
  for (const std::int32_t pid : {501, 502}) s.handle(Claimed{key, 1, pid, true, "", {}, false});
  s.now += kWorkDone;
  for (const std::int32_t pid : {501, 502}) {
    s.handle(Stopping{key, pid});
    s.handle(Drained{key, pid, {}});
    CHECK(s.effects().empty());
    CHECK(s.state(0) == ServiceState::ready);
  }
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"}, {"due", "10000"}});
  s.handle(Drained{key, 501, {}});
  s.handle(Drained{key, 501, {}});
  s.handle(Drained{key, 777, {}});
  play(s, {{"due", "10000"}});
  Scene ended = s;
  s.handle(Drained{key, 502, {}});
  play(s, {{"due", "2000"}});
  ended.handle(Drained{key, 501, {502}});  // the other one has gone without a word
  play(ended, {{"due", "2000"}});
}

TEST_CASE("a master that recycles its only worker is asked to go, with the time that everybody has") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  const K key{0, 0, 1, 1};
  s.handle(Claimed{key, 1, 501, true, "", {}, false});
  s.now += kWorkDone;
  s.handle(Stopping{key, 501});
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}});
  s.handle(Drained{key, 501, {}});
  s.serve({0, 0, 1, 2});
  s.handle(Claimed{key, 2, 502, true, "", {501}, false});
  CHECK(s.effects() == "grant 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15");
  play(s, {{"due", "10000"}});
  s.handle(Drained{key, 502, {}});
  play(s, {{"due", "2000"}});
}

TEST_CASE("who is drained by its own word has no more time for it when it is stopped") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"stopping 0:0:1:1", ""}});
  s.handle(Drained{K{0, 0, 1, 1}, Scene::pid({0, 0, 1, 1}), {}});
  play(s, {{"due", "2000"}, {"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"}, {"due", "2000"}});
}

TEST_CASE("who had to wait, since too many were on their way out, is succeeded as soon as they are not") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.stop.lingering = 0;
  spec.stop.timeout = 60s;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.now += kWorkDone;
  s.handle(Stopping{K{0, 0, 1, 1}, Scene::pid({0, 0, 1, 1})});
  s.serve({0, 0, 1, 2});
  s.now += kWorkDone;
  play(s, {{"stopping 0:0:1:2", ""}, {"exits 0:0:1:1 0", "spawn 0:0:1:3 recycle, kill_tree 0:0:1:1"}});
}

TEST_CASE("a reload does not wait for who ends by itself, where two may be") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  s.now += kWorkDone;
  play(s, {{"stopping 0:0:1:1", "spawn 0:0:1:2 recycle"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"reload 1 0", "stop_probe 0:0:1:2, ask_drain 0:0:1:2, kill 0:0:1:2 15"},
           {"exits 0:0:1:2 15", "kill_tree 0:0:1:2"},
           {"swept 0:0:1:2", "forget 0:0:1:2, spawn 0:0:2:1 change"}});
}

TEST_CASE("how a worker ends decides whether it has a successor: then that is awaited") {
  for (int n = 0; n < 5; ++n) {
    Scene s;
    ServiceSpec spec = service("web");
    if (n == 4) spec.roll.order = RollOrder::old_first;
    if (n == 0) spec.restart = RestartPolicy::on_failure;
    if (n == 1) spec.no_restart = {3};
    if (n == 2) spec.overlap = false;
    if (n == 3) spec.port = std::uint16_t{8000};
    s.configure({spec});
    s.serve({0, 0, 1, 1});
    s.now += kWorkDone;
    play(s, {{"stopping 0:0:1:1", ""}});
  }
}

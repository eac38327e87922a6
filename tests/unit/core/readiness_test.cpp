// How a child comes to be called ready, and what becomes of one that does not.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

TEST_CASE("every proof makes a child ready, and is shown as what it is") {
  for (const char* proof : {"notify", "claim", "epoll", "probe", "listens", "elapsed", "unproven"}) {
    Scene s;
    s.configure({service("web")});
    const std::string ready = std::string("ready 0:0:1:1 ") + proof;
    play(s, {{"lives 0:0:1:1", "probe 0:0:1:1", "child.started"},
             {ready.c_str(), "", "child.ready, service.ready, services.all_ready"},
             {"due", "never"}});
    CHECK(std::string(name_of(s.view(0).workers.at(0).proof)) == proof);
    CHECK(s.out.facts.at(0).text == proof);
  }
}

TEST_CASE("where a child listens is told with its readiness") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1", "child.started"}});
  s.handle(Ready{{ServiceId{0}, 0, 1, 1}, Proof::listens, "127.0.0.1:3000"});
  CHECK(s.out.facts.at(0).text == "listens 127.0.0.1:3000");
}

TEST_CASE("who looks for readiness may ask whether it is enough") {
  const K key(0, 0, 1, 1);
  for (const bool by_probe_only : {false, true}) {
    ServiceSpec spec = service("web");
    if (by_probe_only) spec.ready.kind = ReadyKind::tcp;
    Scene s;
    s.configure({spec});
    CHECK_FALSE(s.machine.is_ready(key));
    s.lives(key);
    CHECK_FALSE(s.machine.is_ready(key));
    s.handle(Ready{key, Proof::claim, {}});
    CHECK(s.machine.is_ready(key) == !by_probe_only);
    s.handle(Ready{key, Proof::probe, {}});
    CHECK(s.machine.is_ready(key));
    s.exits(key, 1);
    CHECK_FALSE(s.machine.is_ready(key));
    CHECK_FALSE(s.machine.is_ready({ServiceId{7}, 0, 1, 1}));
  }
}

TEST_CASE("READY counts once and only from a child that is starting") {
  struct Row {
    const char* what;
    std::initializer_list<Step> before;
    const char* worker;  // as it is, and stays
  };
  const Row rows[] = {
      {"not spawned yet", {}, "0:0:1:1 spawning"},
      {"ready already", {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"ready 0:0:1:1", ""}}, "0:0:1:1 ready"},
      {"on its way out by its own word",
       {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"stopping 0:0:1:1", "stop_probe 0:0:1:1"}},
       "0:0:1:1 draining"},
      {"asked to stop",
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"stop 1 0", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"}},
       "0:0:1:1 draining"},
      {"late: its time was over",
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"tick 30000", "examine 0:0:1:1"},
        {"stuck 0:0:1:1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"}},
       "0:0:1:1 draining"},
      {"killed",
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"tick 30000", "examine 0:0:1:1"},
        {"stuck 0:0:1:1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"tick 10000", "kill_tree 0:0:1:1"}},
       "0:0:1:1 killing"},
      {"exited",
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"stop 1 0", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"}},
       "0:0:1:1 sweeping"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    s.configure({service("web")});
    play(s, row.before);
    play(s, {{"workers 0", row.worker}, {"ready 0:0:1:1", "", ""}, {"workers 0", row.worker}});
  }
}

TEST_CASE("READY of a child that exited or never was changes nothing, and nothing of its replacement") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"exits 0:0:1:1 256", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:1", "", ""},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"ready 0:0:1:1", "", ""},
           {"ready 0:0:9:9", "", ""},
           {"ready 7:0:1:1", "", ""},
           {"state 0", "starting"}});
}

TEST_CASE("a child that is not ready in time is asked to go, and that counts as a crash") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.ready.timeout = 3s;
  spec.stop.timeout = 2s;
  s.configure({spec});
  play(s, {{"due", "never"},
           {"pass 60000", ""},  // the time runs from the keeper's word that it lives
           {"lives 0:0:1:1", "probe 0:0:1:1"},
           {"due", "3000"},
           {"tick 2999", ""},
           {"tick 1", "examine 0:0:1:1", ""},
           {"stuck 0:0:1:1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15", "child.not_ready"},
           {"due", "2000"},
           {"tick 2000", "kill_tree 0:0:1:1", "child.stop_timed_out"},
           {"exits 0:0:1:1 9", "spawn 0:0:1:2 crash"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"tick 3000", "examine 0:0:1:2"},
           {"stuck 0:0:1:2", "stop_probe 0:0:1:2, ask_drain 0:0:1:2, kill 0:0:1:2 15"},
           {"exits 0:0:1:2 0", "kill_tree 0:0:1:2"},
           {"due", "100"}});
}

TEST_CASE("EXTEND_TIMEOUT moves the deadline that is running, further only") {
  struct Row {
    const char* what;
    const char* extend;
    const char* due;
  };
  const Row starting[] = {
      {"further", "extend 0:0:1:1 60000", "60000"},
      {"nearer: as it was", "extend 0:0:1:1 1000", "29000"},
      {"nothing", "extend 0:0:1:1 0", "29000"},
      {"without measure: a bound", "extend 0:0:1:1 9000000000000000", "31622400000"},
      {"of another child", "extend 0:0:1:2 60000", "29000"},
  };
  for (const Row& row : starting) {
    INFO(row.what);
    Scene s;
    s.configure({service("web")});
    play(s, {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"pass 1000", ""}, {row.extend, "", ""}, {"due", row.due}});
  }
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"extend 0:0:1:1 60000", ""},
           {"due", "never"},  // a ready child has none
           {"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"extend 0:0:1:1 60000", ""},
           {"due", "60000"},
           {"tick 60000", "kill_tree 0:0:1:1"},
           {"extend 0:0:1:1 60000", ""},
           {"due", "never"}});  // a killed one none either
}

TEST_CASE("EXTEND_TIMEOUT before the keeper's answer does not start the clock") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"extend 0:0:1:1 1", ""}, {"due", "never"}, {"lives 0:0:1:1", "probe 0:0:1:1"}, {"due", "30000"}});
}

TEST_CASE("a watchdog that is fed is quiet; one that is not ends the child, and that counts as a crash") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"beat 0:0:1:1", "", ""},
           {"due", "never"},  // no interval was ever given
           {"watchdog 0:0:1:1 2000", ""},
           {"due", "2000"},
           {"tick 1999", ""},
           {"beat 0:0:1:1", ""},
           {"due", "2000"},
           {"watchdog 0:0:1:1 500", ""},
           {"due", "500"},
           {"tick 500", "examine 0:0:1:1", ""},
           {"stuck 0:0:1:1", "kill 0:0:1:1 6 main, spawn 0:0:1:2 crash",
            "child.watchdog_missed, child.hung, service.starting"},
           {"beat 0:0:1:1", ""},
           {"due", "10000"},
           {"exits 0:0:1:1 6", "kill_tree 0:0:1:1", "child.exited"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"due", "30000"}});  // the interval was the old process's
  CHECK(s.view(0).restarts == 1);
}

TEST_CASE("a watchdog before ready, at once by its own word, and after the end") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"watchdog 0:0:1:1 5", ""},
           {"due", "never"},
           {"lives 0:0:1:1", "probe 0:0:1:1"},
           {"watchdog 0:0:1:1 5000", ""},
           {"due", "5000"},
           {"trigger 0:0:1:1", "stop_probe 0:0:1:1, kill 0:0:1:1 6 main, spawn 0:0:1:2 crash",
            "child.watchdog_missed, child.hung"},
           {"trigger 0:0:1:1", "", ""},
           {"tick 10000", "kill_tree 0:0:1:1"},
           {"trigger 0:0:1:1", "", ""},
           {"exits 0:0:1:1 9", ""},
           {"trigger 0:0:1:1", "", ""},
           {"swept 0:0:1:1", "forget 0:0:1:1"}});
}

TEST_CASE("a child that hangs while it drains has no watchdog but the grace") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"watchdog 0:0:1:1 2000", ""},
           {"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"due", "10000"},
           {"watchdog 0:0:1:1 1", ""},
           {"due", "10000"}});
}

TEST_CASE("a new generation that is not ready, or misses its watchdog, is given up: the old one serves on") {
  struct Row {
    const char* end;
    const char* effects;
  };
  const Row rows[] = {
      {"stuck 0:0:2:1", "stop_probe 0:0:2:1, ask_drain 0:0:2:1, kill 0:0:2:1 15"},
      {"trigger 0:0:2:1", "stop_probe 0:0:2:1, kill 0:0:2:1 6 main"},
      {"exits 0:0:2:1 256", "stop_probe 0:0:2:1, kill_tree 0:0:2:1"},
      {"exits 0:0:2:1 0", "stop_probe 0:0:2:1, kill_tree 0:0:2:1"},
      {"lost 0:0:2:1", "stop_probe 0:0:2:1, kill_tree 0:0:2:1"},
  };
  for (const Row& row : rows) {
    INFO(row.end);
    Scene s;
    s.configure({watched("web")});
    s.serve({0, 0, 1, 1});
    play(s, {{"changed 0", "spawn 0:0:2:1 change"},
             {"lives 0:0:2:1", "probe 0:0:2:1"},
             {"tick 30000", "examine 0:0:2:1"}});
    play(s, {{row.end, row.effects}, {"state 0", "ready"}});
    CHECK(s.told(FactType::reload_failed) == 1);
    CHECK(s.view(0).restarts == 0);
  }
}

TEST_CASE("what a child says of itself is kept, bounded, told when it is new, and gone with it") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"says 0:0:1:1 warm", "", "child.status_told"}, {"says 0:0:1:1 warm", "", ""}});
  CHECK(s.view(0).workers.at(0).status_text == "warm");
  const std::string umlaut = "\xc3\xbc";
  std::string longer(kStatusTextMax - 1, 'x');
  s.handle(StatusText{K{0, 0, 1, 1}, longer + umlaut + "y"});
  CHECK(s.view(0).workers.at(0).status_text == longer);  // not half a character
  play(s, {{"reloading 0:0:1:1", "", ""},
           {"exits 0:0:1:1 0", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"says 0:0:1:1 late", "", ""}});
}

TEST_CASE("MAINPID: the exit that counts is the new main process's") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  const std::int32_t first = Scene::pid(K{0, 0, 1, 1});
  play(s, {{"main 0:0:1:1 0", ""},
           {("main 0:0:1:1 " + std::to_string(first)).c_str(), ""},
           {"main 0:0:1:1 4242", "main_pid 0:0:1:1 4242"},
           {"exits 0:0:1:1 0", "", ""}});  // the launcher goes
  CHECK(s.view(0).workers.at(0).pid == 4242);
  s.handle(Exited{K{0, 0, 1, 1}, 4242, 1 << 8, true});
  CHECK(s.effects() == "spawn 0:0:1:2 crash, kill_tree 0:0:1:1");
  play(s, {{"main 0:0:1:1 4243", ""}, {"main 0:0:1:2 4243", ""}});  // gone, and not there yet
}

TEST_CASE("readiness by command: run until it exits with 0, with a pause, one worker after the other") {
  ServiceSpec spec = service("web", 2);
  spec.ready.kind = ReadyKind::exec;
  spec.ready.timeout = 30s;
  Scene s;
  s.configure({spec});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1, spawn 0:65532:1:1 start"},
           {"lives 0:1:1:1", "probe 0:1:1:1"},
           {"lives 0:65532:1:1", ""},
           {"exits 0:65532:1:1 256", "kill_tree 0:65532:1:1", ""},
           {"swept 0:65532:1:1", "forget 0:65532:1:1"},
           {"due", "100"},
           {"wait", "spawn 0:65532:1:2 start"},
           {"lives 0:65532:1:2", ""},
           {"exits 0:65532:1:2 0", "stop_probe 0:1:1:1, kill_tree 0:65532:1:2", "child.ready"},
           {"swept 0:65532:1:2", "forget 0:65532:1:2, spawn 0:65532:1:3 start"},
           {"lives 0:65532:1:3", ""},
           {"due", "10000"}});
  play(s, {{"ready 0:0:1:1 notify", "", ""},  // its own word does not count
           {"exits 0:65532:1:3 0", "stop_probe 0:0:1:1, kill_tree 0:65532:1:3"}});
  CHECK(s.state(0) == ServiceState::ready);
}

TEST_CASE("where the specification says how to tell, a program's own word does not count") {
  using enum ReadyKind;
  for (const ReadyKind kind : {automatic, notify, tcp, http, after, exec}) {
    for (const Proof proof : {Proof::notify, Proof::claim, Proof::probe}) {
      ServiceSpec spec = service("web");
      spec.ready.kind = kind;
      Scene s;
      s.configure({spec});
      s.lives({0, 0, 1, 1});
      s.handle(Ready{K{0, 0, 1, 1}, proof, {}});
      const bool counts = kind == automatic || kind == notify || proof == Proof::probe;
      INFO(static_cast<int>(kind) << " " << static_cast<int>(proof));
      CHECK((s.state(0) == ServiceState::ready) == counts);
    }
  }
}

TEST_CASE("readiness by command: one that takes too long is ended, and the start has its time as ever") {
  ServiceSpec spec = service("web");
  spec.ready.kind = ReadyKind::exec;
  spec.ready.timeout = 15s;
  Scene s;
  s.configure({spec});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1, spawn 0:65532:1:1 start"},
           {"lives 0:65532:1:1", ""},
           {"due", "10000"},
           {"wait", "kill_tree 0:65532:1:1"},
           {"exits 0:65532:1:1 9", ""},
           {"swept 0:65532:1:1", "forget 0:65532:1:1"},
           {"wait", "spawn 0:65532:1:2 start"},
           {"fails 0:65532:1:2 EAGAIN", "forget 0:65532:1:2"},
           {"due", "100"},
           {"wait", "spawn 0:65532:1:3 start"},
           {"lives 0:65532:1:3", ""},
           {"wait", "examine 0:0:1:1"},
           {"stuck 0:0:1:1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15, kill 0:65532:1:3 15",
            "child.not_ready"}});
}

TEST_CASE("readiness by command in a roll: each generation is asked as it was started") {
  ServiceSpec spec = service("web", 2);
  spec.roll.gradual = true;
  spec.roll.memory_guard = false;
  Scene s;
  s.configure({spec}, Mode::prod);
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  spec.ready.kind = ReadyKind::exec;
  s.configure({spec}, Mode::prod);
  play(s, {{"lives 0:0:2:1", "probe 0:0:2:1, spawn 0:65532:2:1 start"},
           {"lives 0:65532:2:1", ""},
           {"exits 0:65532:2:1 0",
            "stop_probe 0:0:2:1, ask_drain 0:0:1:1, kill 0:0:1:1 15, spawn 0:1:2:1 change, kill_tree "
            "0:65532:2:1"}});
}

TEST_CASE("readiness by command: one that is found ready when the shutdown has begun stops in its turn") {
  ServiceSpec spec = service("db");
  spec.ready.kind = ReadyKind::exec;
  ServiceSpec needs_it = service("web");
  needs_it.depends_on = {"db"};
  Scene s;
  s.configure({spec, needs_it});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1, spawn 0:65532:1:1 start"},
           {"ready 0:0:1:1 probe", "spawn 1:0:1:1 start"}});
  s.serve({1, 0, 1, 1});
  play(s, {{"fails 0:65532:1:1 EAGAIN", "forget 0:65532:1:1"},
           {"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"wait", "spawn 0:65532:1:2 start"},
           {"lives 0:65532:1:2", ""},
           {"TERM", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"exits 0:65532:1:2 0", "stop_probe 0:0:1:2, kill_tree 0:65532:1:2", "child.ready"},
           {"swept 0:65532:1:2", "forget 0:65532:1:2"},
           {"exits 1:0:1:1 0", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1, ask_drain 0:0:1:2, kill 0:0:1:2 15"}});
}

// The end of runmain: asked for, forced, or because nothing is left to do; and its exit status.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

ServiceSpec job(const std::string& name, RestartPolicy policy = RestartPolicy::never) {
  ServiceSpec spec = service(name);
  spec.restart = policy;
  return spec;
}
ServiceSpec needing(ServiceSpec spec, std::vector<std::string> names) {
  spec.depends_on = std::move(names);
  return spec;
}

struct Ending {
  const char* what;
  std::vector<ServiceSpec> services;
  Mode mode;
  std::initializer_list<Step> steps;  // the last one ends it, or does not
};

}  // namespace

TEST_CASE("the exit status of each end") {
  const Ending rows[] = {
      {"SIGTERM, obeyed",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"TERM", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15",
         "shutdown.started, service.stopping"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, quit 0", "service.stopped, shutdown.done"}}},
      {"a grace that ran out is no failure",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"INT", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"tick 10000", "kill_tree 0:0:1:1"},
        {"exits 0:0:1:1 9", ""},
        {"swept 0:0:1:1", "forget 0:0:1:1, quit 0"}}},
      {"a second signal forces: 128 and the second one",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"TERM", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"INT", "kill_tree 0:0:1:1", "shutdown.forced"},
        {"INT", "", ""},
        {"exits 0:0:1:1 9", ""},
        {"swept 0:0:1:1", "forget 0:0:1:1, quit 130"}}},
      {"two signals while it spawns: killed as soon as it is there",
       {service("a")},
       Mode::prod,
       {{"TERM", ""},
        {"TERM", ""},
        {"lives 0:0:1:1", "kill_tree 0:0:1:1"},
        {"exits 0:0:1:1 9", ""},
        {"swept 0:0:1:1", "forget 0:0:1:1, quit 143"}}},
      {"a spawn that fails during the shutdown",
       {service("a")},
       Mode::prod,
       {{"TERM", ""}, {"fails 0:0:1:1 EAGAIN fork", "forget 0:0:1:1, quit 0"}}},
      {"a service had failed",
       {service("a"), service("b")},
       Mode::prod,
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"},
        {"lives 1:0:1:1", "probe 1:0:1:1"},
        {"TERM", "stop_probe 1:0:1:1, ask_drain 1:0:1:1, kill 1:0:1:1 15"},
        {"exits 1:0:1:1 0", "kill_tree 1:0:1:1"},
        {"swept 1:0:1:1", "forget 1:0:1:1, quit 1"}}},
      {"survivors fail it",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"TERM", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1 77-nfs", "forget 0:0:1:1, quit 1",
         "child.survivors_left, service.failed, shutdown.done"}}},
      {"by command, which is answered at the end",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"shutdown 1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"shutdown 2", ""},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, answer 1, answer 2, quit 0"}}},
      {"by command, with survivors: it never says done",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"shutdown 1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1 77-nfs",
         "forget 0:0:1:1, answer 1 (a could not be stopped, still alive: 77-nfs), quit 1"}}},
      {"a stop had left something before the shutdown began",
       {service("a", 2)},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"stop 1 0", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1 77-nfs", "forget 0:0:1:1"},
        {"TERM", ""},
        {"fails 0:1:1:1 EAGAIN",
         "forget 0:1:1:1, answer 1 (a could not be stopped, still alive: 77-nfs), quit 1"}}},
      {"what a job that is done left behind counts as well",
       {job("a"), service("b")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"exits 0:0:1:1 0", "stop_probe 0:0:1:1, kill_tree 0:0:1:1"},
        {"shutdown 1", ""},
        {"fails 1:0:1:1 ENOENT", "forget 1:0:1:1"},
        {"swept 0:0:1:1 77-nfs",
         "forget 0:0:1:1, answer 1 (a could not be stopped, still alive: 77-nfs), quit 1"}}},
      {"a forced end with survivors",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"shutdown 1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"TERM", ""},
        {"TERM", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1 77-nfs",
         "forget 0:0:1:1, answer 1 (a could not be stopped, still alive: 77-nfs), quit 143"}}},
      {"a shutdown without a child",
       {watched("a")},
       Mode::prod,
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"}, {"TERM", "quit 1"}}},
      {"a job is done",
       {job("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"exits 0:0:1:1 0", "stop_probe 0:0:1:1, kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, quit 0", "shutdown.done"}}},
      {"a job failed",
       {job("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"exits 0:0:1:1 256", "stop_probe 0:0:1:1, kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, quit 1"}}},
      {"one job of two is done",
       {job("a"), job("b")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"exits 0:0:1:1 0", "stop_probe 0:0:1:1, kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1"},
        {"fails 1:0:1:1 EACCES", "forget 1:0:1:1, quit 1"}}},
      {"who waits for one that failed waits for ever: over",
       {service("a"), needing(service("b"), {"a"})},
       Mode::prod,
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1, quit 1"}}},
      {"in dev a watch keeps it open",
       {watched("a")},
       Mode::dev,
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1", "child.spawn_failed, service.failed"}}},
      {"in prod as well, while the failed one is watched",
       {watched("a")},
       Mode::prod,
       {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1", "child.spawn_failed, service.failed"}}},
      {"what a user stopped keeps it open",
       {service("a")},
       Mode::prod,
       {{"lives 0:0:1:1", "probe 0:0:1:1"},
        {"stop 1 0", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
        {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"},
        {"due", "never"}}},
  };
  for (const Ending& row : rows) {
    INFO(row.what);
    Scene s;
    s.configure(row.services, row.mode);
    play(s, row.steps);
  }
}

TEST_CASE("I10: nothing is started once the shutdown has begun, whatever happens") {
  Scene s;
  s.configure({watched("a", 2), needing(service("b"), {"a"})});
  s.serve({0, 0, 1, 1});
  play(s, {{"TERM", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"exits 0:0:1:1 256", "kill_tree 0:0:1:1"},
           {"changed 0", ""},
           {"unknown 0", ""},
           {"hold 0", ""},
           {"release 0", ""},
           {"HUP", ""},
           {"start 1 0", "answer 1 (runmain is shutting down)"},
           {"restart 2 1", "answer 2 (runmain is shutting down)"},
           {"reload 3", "answer 3 (runmain is shutting down)"},
           {"tick 100000", ""},
           {"stop 4 1", "answer 4"},
           {"stop 5 0", ""},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"fails 0:1:1:1 EAGAIN fork", "forget 0:1:1:1, answer 5, quit 0"}});
  s.configure({service("c")});
  CHECK(s.effects().empty());
}

TEST_CASE("after the end commands are answered, and nothing else moves") {
  Scene s;
  s.configure({service("a")});
  play(s, {{"TERM", ""}, {"fails 0:0:1:1 ENOENT", "forget 0:0:1:1, quit 0"}});
  for (const char* late : {"changed 0", "lives 0:0:1:1", "TERM", "INT", "HUP", "tick 1000", "hold 0"})
    play(s, {{late, "", ""}, {"due", "never"}});
  for (const char* verb : {"start 9 0", "stop 9 0", "reload 9", "shutdown 9", "kill 9 1"})
    play(s, {{verb, "answer 9 (runmain has stopped)"}});
}

TEST_CASE("requests that wait are answered when the shutdown begins, stops when they are done (I8)") {
  Scene s;
  s.configure({service("a"), service("b")});
  s.lives({0, 0, 1, 1});
  s.serve({1, 0, 1, 1});
  play(s, {{"start 1 0", ""},
           {"restart 2 1", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"stop 3 1", "answer 2 (b was stopped)"},
           {"shutdown 4",
            "answer 1 (runmain is shutting down), stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"exits 1:0:1:1 0", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1, answer 3"},
           {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, answer 4, quit 0"}});
}

TEST_CASE("a forced end does not wait for the order of the dependencies") {
  Scene s;
  s.configure({service("a"), needing(service("b"), {"a"})});
  s.serve({0, 0, 1, 1});
  s.serve({1, 0, 1, 1});
  play(s, {{"INT", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"INT", "kill_tree 0:0:1:1, kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, quit 130"}});
}

TEST_CASE("USR1 is passed on to the main process of every worker that was not asked to go") {
  Scene s;
  s.configure({service("a", 2)});
  s.serve({0, 0, 1, 1});
  s.lives({0, 1, 1, 1});
  s.handle(Signalled{SIGUSR1});
  CHECK(s.effects() == "kill 0:0:1:1 10 main, kill 0:1:1:1 10 main");
  CHECK(s.facts.back().type == FactType::signal_passed_on);
  CHECK(s.facts.back().number == SIGUSR1);
  CHECK(s.facts.back().text == "2 workers");
  s.handle(Signalled{SIGTERM});
  s.handle(Signalled{SIGUSR1});
  CHECK(s.effects().empty());
}

TEST_CASE(
    "HUP with which the terminal goes ends everything, but under nohup nothing; without it is a reload") {
  struct Row {
    bool terminal_gone;
    bool nohup;
    const char* effects;
  };
  for (const Row& row : {Row{false, false, "spawn 0:0:2:1 change"}, Row{false, true, "spawn 0:0:2:1 change"},
                         Row{true, false, "ask_drain 0:0:1:1, kill 0:0:1:1 15"}, Row{true, true, ""}}) {
    Scene s;
    s.configure({service("a")});
    s.serve({0, 0, 1, 1});
    s.handle(Signalled{SIGHUP, row.terminal_gone, row.nohup});
    CHECK(s.effects() == row.effects);
    CHECK(Signalled{SIGHUP, row.terminal_gone, row.nohup}.reads_again() != row.terminal_gone);
  }
  CHECK_FALSE(Signalled{SIGTERM}.reads_again());
}

TEST_CASE("other signals end nothing") {
  Scene s;
  s.configure({service("a")});
  s.serve({0, 0, 1, 1});
  for (const int signal : {SIGWINCH, SIGPIPE, SIGCHLD, 0, -1}) {
    s.handle(Signalled{signal});
    CHECK(s.effects().empty());
  }
}

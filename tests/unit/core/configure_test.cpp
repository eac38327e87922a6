// A new configuration against the one in force: what is started, stopped, renewed, and what is let alone.
#include <functional>

#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

Scene serving(const std::vector<ServiceSpec>& specs) {
  Scene s;
  s.configure(specs, Mode::prod);
  for (std::uint32_t id = 0; id < specs.size(); ++id) {
    for (std::uint32_t slot = 0; slot < specs[id].workers; ++slot) s.serve({id, slot, 1, 1});
  }
  return s;
}

std::string configured(Scene& s, const std::vector<ServiceSpec>& specs) {
  s.configure(specs, Mode::prod);
  return s.effects();
}

}  // namespace

TEST_CASE("what a changed field of a running service does") {
  struct Row {
    const char* what;
    std::function<void(ServiceSpec&)> change;
    bool renews;
  };
  const Row rows[] = {
      {"nothing", [](ServiceSpec&) {}, false},
      {"its place in the file", [](ServiceSpec& s) { s.at = "supervisor.toml:9:1"; }, false},
      {"the policy", [](ServiceSpec& s) { s.restart = RestartPolicy::never; }, false},
      {"the back-off", [](ServiceSpec& s) { s.backoff.max = 1s; }, false},
      {"the stop", [](ServiceSpec& s) { s.stop.signal = SIGINT; }, false},
      {"the watch", [](ServiceSpec& s) { s.watch.emplace(); }, false},
      {"the command", [](ServiceSpec& s) { s.command.argv.push_back("-v"); }, true},
      {"shell or not", [](ServiceSpec& s) { s.command.shell = true; }, true},
      {"an address", [](ServiceSpec& s) { s.listen.emplace_back().text = ":8000"; }, true},
      {"the environment", [](ServiceSpec& s) { s.env.emplace_back("A", "1"); }, true},
      {"an env file", [](ServiceSpec& s) { s.env_files.push_back("/x/.env"); }, true},
      {"the folder", [](ServiceSpec& s) { s.cwd = "/y"; }, true},
      {"the user", [](ServiceSpec& s) { s.user = "www"; }, true},
      {"the group", [](ServiceSpec& s) { s.group = "www"; }, true},
      {"the umask", [](ServiceSpec& s) { s.umask = 027; }, true},
      {"a limit",
       [](ServiceSpec& s) {
         s.limits.push_back({7, 1, 1});
       },
       true},
      {"the terminal", [](ServiceSpec& s) { s.pty = true; }, true},
      {"where telemetry goes", [](ServiceSpec& s) { s.telemetry.endpoint = "http://a:4318"; }, false},
      {"what goes with it",
       [](ServiceSpec& s) {
         s.telemetry.headers = {{"key", "x"}};
       },
       false},
      {"telemetry or not", [](ServiceSpec& s) { s.telemetry.enabled = false; }, true},
      {"telemetry by itself", [](ServiceSpec& s) { s.telemetry.direct = true; }, true},
      {"instrumentation", [](ServiceSpec& s) { s.telemetry.automatic = true; }, true},
      {"its output as logs", [](ServiceSpec& s) { s.telemetry.logs = true; }, false},
      {"a death with the keeper", [](ServiceSpec& s) { s.die_with_keeper = false; }, true},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s = serving({service("web")});
    ServiceSpec changed = service("web");
    row.change(changed);
    CHECK(configured(s, {changed}) == (row.renews ? "spawn 0:0:2:1 change" : ""));
    CHECK(s.state(0) == (row.renews ? ServiceState::reloading : ServiceState::ready));
    CHECK(configured(s, {changed}).empty());  // it is in force now
  }
}

TEST_CASE("a program that exports by itself is started anew when it is to export elsewhere") {
  ServiceSpec direct = service("web");
  direct.telemetry.direct = true;
  direct.telemetry.endpoint = "http://a:4318";
  Scene s = serving({direct});
  direct.telemetry.logs = true;  // these are ours
  CHECK(configured(s, {direct}).empty());
  direct.telemetry.endpoint = "http://b:4318";
  CHECK(configured(s, {direct}) == "spawn 0:0:2:1 change");
}

TEST_CASE("a new policy counts from now on: the stop's signal, the back-off, the burst limit") {
  Scene s = serving({service("web")});
  ServiceSpec changed = service("web");
  changed.stop = {SIGINT, 3s, false};
  changed.backoff.initial = 7s;
  s.configure({changed}, Mode::prod);
  s.ends({0, 0, 1, 1}, 1);
  s.serve({0, 0, 1, 2});
  s.ends({0, 0, 1, 2}, 1);
  play(s, {{"due", "7000"}, {"wait", "spawn 0:0:1:3 crash"}});
  s.serve({0, 0, 1, 3});
  play(s, {{"stop 1 0", "ask_drain 0:0:1:3, kill 0:0:1:3 2 main"}, {"due", "3000"}});
}

TEST_CASE("a new service is started, at once or after what it needs") {
  Scene s = serving({service("web")});
  ServiceSpec page = service("page");
  page.depends_on = {"db"};
  CHECK(configured(s, {page, service("web"), service("db")}) == "spawn 2:0:1:1 start");
  CHECK(s.view(1).reason == "waits for db");
}

TEST_CASE("a name that is gone is stopped, its sockets are closed, and it is forgotten") {
  Scene s = serving({service("web"), service("db")});
  CHECK(configured(s, {service("web")}) == "ask_drain 1:0:1:1, kill 1:0:1:1 15");
  play(s, {{"exits 1:0:1:1 15", "kill_tree 1:0:1:1"},
           {"start 1 1", "answer 1 (no such service)"},
           {"swept 1:0:1:1", "forget 1:0:1:1, close db", "service.stopped, service.removed"},
           {"changed 1", ""},
           {"stop 2 1", "answer 2 (no such service)"}});
  CHECK(s.machine.snapshot().services.size() == 1);
}

TEST_CASE("a removed service without a child is gone at once") {
  Scene s = serving({service("web")});
  s.configure({service("web"), service("db")}, Mode::prod);
  s.spawn_fails({1, 0, 1, 1}, ENOENT);
  CHECK(configured(s, {service("web")}) == "close db");
}

TEST_CASE("removed while it spawns: stopped when it is there; a spawn that fails ends it as well") {
  for (const bool fails : {false, true}) {
    Scene s = serving({service("web")});
    CHECK(configured(s, {service("web"), service("db")}) == "spawn 1:0:1:1 start");
    CHECK(configured(s, {service("web")}).empty());
    if (fails) {
      play(s, {{"fails 1:0:1:1 EAGAIN fork", "forget 1:0:1:1, close db"}, {"due", "never"}});
      continue;
    }
    play(s, {{"lives 1:0:1:1", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
             {"exits 1:0:1:1 15", "kill_tree 1:0:1:1"},
             {"swept 1:0:1:1", "forget 1:0:1:1, close db"}});
  }
}

TEST_CASE("added again while it stops: the same id, a new generation, and its sockets stay") {
  Scene s = serving({service("web"), service("db")});
  s.configure({service("web")}, Mode::prod);
  CHECK(configured(s, {service("web"), service("db")}).empty());
  play(s,
       {{"exits 1:0:1:1 15", "kill_tree 1:0:1:1"}, {"swept 1:0:1:1", "forget 1:0:1:1, spawn 1:0:2:1 start"}});
}

TEST_CASE("added again when it is gone: the same id, and counting goes on (I3)") {
  Scene s = serving({service("web"), service("db")});
  s.configure({service("web")}, Mode::prod);
  s.ends({1, 0, 1, 1}, 15);
  CHECK(configured(s, {service("db"), service("web")}) == "spawn 1:0:2:1 start");
}

TEST_CASE("a rename is one that is gone and one that is new") {
  Scene s = serving({service("web")});
  CHECK(configured(s, {service("page")}) == "spawn 1:0:1:1 start, ask_drain 0:0:1:1, kill 0:0:1:1 15");
  s.lives({1, 0, 1, 1});
  play(s, {{"exits 0:0:1:1 15", "kill_tree 0:0:1:1"}, {"swept 0:0:1:1", "forget 0:0:1:1, close web"}});
}

TEST_CASE("requests of what is removed are answered (I8)") {
  Scene s = serving({service("web"), service("db")});
  play(s, {{"restart 1 1", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"stop 2 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"}});
  CHECK(configured(s, {service("page")}) ==
        "spawn 2:0:1:1 start, answer 1 (db was removed from the configuration)");
  play(s,
       {{"exits 0:0:1:1 15", "kill_tree 0:0:1:1"}, {"swept 0:0:1:1", "forget 0:0:1:1, close web, answer 2"}});
}

TEST_CASE("more workers are started beside those that run; fewer: the highest slots go") {
  Scene s = serving({service("web", 2)});
  CHECK(configured(s, {service("web", 4)}) == "spawn 0:2:1:1 scale, spawn 0:3:1:1 scale");
  CHECK(s.state(0) == ServiceState::starting);
  s.serve({0, 2, 1, 1});
  s.serve({0, 3, 1, 1});
  CHECK(s.state(0) == ServiceState::ready);
  CHECK(configured(s, {service("web", 1)}) ==
        "ask_drain 0:1:1:1, kill 0:1:1:1 15, ask_drain 0:2:1:1, kill 0:2:1:1 15, ask_drain 0:3:1:1, kill "
        "0:3:1:1 15");
  CHECK(s.state(0) == ServiceState::ready);
  for (const std::uint32_t slot : {1U, 2U, 3U}) s.ends({0, slot, 1, 1}, 15);
  CHECK(s.machine.next_deadline() == kNever);
  CHECK(configured(s, {service("web", 2)}) == "spawn 0:1:1:2 scale");  // a key is never used again
}

TEST_CASE("workers that come back while the old ones of their slots still go: one child a slot (I2)") {
  Scene s = serving({service("web", 2)});
  s.configure({service("web", 1)}, Mode::prod);
  CHECK(configured(s, {service("web", 2)}).empty());
  play(s, {{"exits 0:1:1:1 15", "spawn 0:1:1:2 scale, kill_tree 0:1:1:1"}});
}

TEST_CASE("fewer workers while the surplus ones spawn or wait in back-off") {
  Scene s = serving({service("web", 1)});
  s.configure({service("web", 3)}, Mode::prod);
  s.spawn_fails({0, 2, 1, 1}, EAGAIN);
  CHECK(configured(s, {service("web", 1)}).empty());
  play(s, {{"due", "never"},
           {"lives 0:1:1:1", "ask_drain 0:1:1:1, kill 0:1:1:1 15"},
           {"exits 0:1:1:1 15", "kill_tree 0:1:1:1"},
           {"swept 0:1:1:1", "forget 0:1:1:1"},
           {"workers 0", "0:0:1:1 ready"},
           {"state 0", "ready"}});
}

TEST_CASE("fewer workers, and those that are left were done: the service is done") {
  ServiceSpec job = service("job", 2);
  job.restart = RestartPolicy::never;
  Scene s = serving({job, service("web")});
  s.ends({0, 0, 1, 1}, 0);
  job.workers = 1;
  CHECK(configured(s, {job, service("web")}) == "ask_drain 0:1:1:1, kill 0:1:1:1 15");
  s.ends({0, 1, 1, 1}, 15);
  CHECK(std::string(name_of(s.state(0))) == "done");
}

TEST_CASE("more workers of a job that is done run it anew in all slots") {
  ServiceSpec job = service("job", 1);
  job.restart = RestartPolicy::never;
  Scene s = serving({job, service("web")});
  s.ends({0, 0, 1, 1}, 0);
  CHECK(s.state(0) == ServiceState::done);
  job.workers = 2;
  CHECK(configured(s, {job, service("web")}) == "spawn 0:0:2:1 change, spawn 0:1:2:1 change");
}

TEST_CASE("a change of workers and command at once: the new generation has the new number of workers") {
  for (const std::uint32_t workers : {1U, 3U}) {
    Scene s = serving({service("web", 2)});
    ServiceSpec changed = service("web", workers);
    changed.command.argv = {"./other"};
    s.configure({changed}, Mode::prod);
    std::uint32_t next = 0;
    for (const ChildKey& k : s.spawned()) next += k.generation == 2 ? 1 : 0;
    CHECK(next == workers);
  }
}

TEST_CASE("a changed command revives a failed service; an unchanged file does not") {
  Scene s = serving({service("web")});
  s.configure({service("web"), watched("db")}, Mode::prod);
  s.spawn_fails({1, 0, 1, 1}, ENOENT);
  CHECK(configured(s, {service("web"), watched("db")}).empty());
  ServiceSpec cured = watched("db");
  cured.command.argv = {"./found"};
  CHECK(configured(s, {service("web"), cured}) == "spawn 1:0:2:1 change");
}

TEST_CASE("a changed command of a service that a user stopped starts nothing") {
  Scene s = serving({service("web"), service("db")});
  s.command(CommandVerb::stop, {1}, 1);
  s.ends({1, 0, 1, 1}, 15);
  ServiceSpec changed = service("db");
  changed.command.argv = {"./other"};
  CHECK(configured(s, {service("web"), changed}).empty());
  play(s, {{"start 2 1", "spawn 1:0:2:1 start"}});
}

TEST_CASE("the same file 50 times in a row, in the middle of everything, does nothing") {
  Scene s = serving({service("web", 2)});
  const std::vector<ServiceSpec> specs{service("web", 2), service("db"), watched("page")};
  s.configure(specs, Mode::prod);
  s.lives({1, 0, 1, 1});
  s.serve({2, 0, 1, 1});
  s.changed(2);
  s.ends({0, 1, 1, 1}, 1);
  for (int n = 0; n < 50; ++n) CHECK(configured(s, specs).empty());
}

TEST_CASE("what waited for a dependent to stop goes on when the dependency is taken out of the file") {
  Scene s;
  ServiceSpec x = service("x");
  x.depends_on = {"b"};
  s.configure({service("b"), x});
  s.serve({0, 0, 1, 1});
  s.serve({1, 0, 1, 1});
  s.configure({});
  CHECK(s.effects() == "ask_drain 1:0:1:1, kill 1:0:1:1 15");
  s.configure({service("x")});
  CHECK(s.effects().find("kill 0:0:1:1 15") != std::string::npos);
}

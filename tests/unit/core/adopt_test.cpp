// Cold start: the keeper's children, known and unknown, living and dead, and no memory of what they were for.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

struct Child {
  K key;
  bool alive;
};

std::string adopt(Scene& s, std::vector<ServiceSpec> services, const std::vector<Child>& children,
                  std::uint64_t executed = 0) {
  Adopted adopted;
  adopted.executed = executed;
  for (const Child& c : children) {
    const std::size_t n = c.key.service.value;
    const std::string name = n < services.size() ? services[n].name : "stranger";
    adopted.children.push_back({c.key, name, Scene::pid(c.key), c.alive});
  }
  adopted.desired = Desired{Mode::prod, "/x/supervisor.toml", std::move(services)};
  s.handle(adopted);
  return s.effects();
}

struct Row {
  const char* what;
  std::vector<ServiceSpec> services;
  std::vector<Child> children;
  const char* effects;
  const char* state;  // of the first service
  std::vector<Step> then;
};

ServiceSpec alone(const std::string& name) {
  ServiceSpec spec = service(name);
  spec.overlap = false;
  return spec;
}
ServiceSpec needing(const std::string& name, const std::string& other) {
  ServiceSpec spec = service(name);
  spec.depends_on = {other};
  return spec;
}

}  // namespace

TEST_CASE("what is taken to serve, what goes, and what is started: each table of children") {
  const Row rows[] = {
      {"no child", {service("web")}, {}, "spawn 0:0:1:1 start", "starting", {}},
      {"one that lives serves on, unproven",
       {service("web")},
       {{{0, 0, 3, 2}, true}},
       "",
       "ready",
       {{"exits 0:0:3:2 11", "spawn 0:0:3:3 crash, kill_tree 0:0:3:2"}}},
      {"its next generation is above",
       {service("web")},
       {{{0, 0, 3, 2}, true}},
       "",
       "ready",
       {{"reload 1 0", "spawn 0:0:4:1 change"}}},
      {"a missing worker is started beside it",
       {service("web", 2)},
       {{{0, 1, 3, 2}, true}},
       "spawn 0:0:3:1 start",
       "starting",
       {}},
      {"one that is dead is swept, replaced and forgotten",
       {service("web", 2)},
       {{{0, 0, 3, 2}, true}, {{0, 1, 3, 7}, false}},
       "kill_tree 0:1:3:7, spawn 0:1:3:8 start",
       "starting",
       {{"swept 0:1:3:7", "forget 0:1:3:7"}}},
      {"without overlap not before its tree is empty",
       {alone("web")},
       {{{0, 0, 3, 2}, false}},
       "kill_tree 0:0:3:2",
       "stopping",
       {{"swept 0:0:3:2", "forget 0:0:3:2, spawn 0:0:4:1 start"}}},
      {"only dead ones: counting goes on above them",
       {service("web")},
       {{{0, 0, 3, 2}, false}, {{0, 0, 5, 1}, false}},
       "kill_tree 0:0:3:2, kill_tree 0:0:5:1",
       "stopping",
       {{"swept 0:0:5:1", "forget 0:0:5:1"}, {"swept 0:0:3:2", "forget 0:0:3:2, spawn 0:0:6:1 start"}}},
      {"two generations: the newer one serves, the older one goes",
       {service("web")},
       {{{0, 0, 3, 1}, true}, {{0, 0, 4, 1}, true}},
       "ask_drain 0:0:3:1, kill 0:0:3:1 15",
       "ready",
       {{"exits 0:0:3:1 15", "kill_tree 0:0:3:1"}, {"swept 0:0:3:1", "forget 0:0:3:1"}, {"due", "never"}}},
      {"the newest generation that lives, not that is known",
       {service("web")},
       {{{0, 0, 3, 1}, true}, {{0, 0, 4, 1}, false}},
       "kill_tree 0:0:4:1",
       "ready",
       {{"swept 0:0:4:1", "forget 0:0:4:1"}, {"reload 1 0", "spawn 0:0:5:1 change"}}},
      {"two in one slot: the latest attempt stays",
       {service("web")},
       {{{0, 0, 3, 2}, true}, {{0, 0, 3, 1}, true}},
       "ask_drain 0:0:3:1, kill 0:0:3:1 15",
       "ready",
       {}},
      {"more workers than are wanted",
       {service("web")},
       {{{0, 0, 3, 1}, true}, {{0, 1, 3, 1}, true}},
       "ask_drain 0:1:3:1, kill 0:1:3:1 15",
       "ready",
       {}},
      {"a build step is not waited for",
       {built("web")},
       {{{0, 0, 3, 1}, true}, {{0, kBuildSlot, 4, 1}, true}},
       "kill 0:b:4:1 15",
       "ready",
       {{"exits 0:b:4:1 0", "kill_tree 0:b:4:1"}, {"swept 0:b:4:1", "forget 0:b:4:1"}}},
      {"a build step and nobody serving: it is built anew when that one is gone",
       {built("web")},
       {{{0, kBuildSlot, 4, 1}, true}},
       "kill 0:b:4:1 15",
       "stopping",
       {{"exits 0:b:4:1 0", "kill_tree 0:b:4:1"}, {"swept 0:b:4:1", "forget 0:b:4:1, spawn 0:b:5:1 start"}}},
      {"of a service that nobody knows",
       {service("web")},
       {{{0, 0, 3, 1}, true}, {{5, 0, 1, 1}, true}},
       "ask_drain 5:0:1:1, kill 5:0:1:1 15",
       "ready",
       {{"exits 5:0:1:1 15", "kill_tree 5:0:1:1"}, {"swept 5:0:1:1", "forget 5:0:1:1"}, {"due", "never"}}},
      {"a dead one that nobody knows",
       {service("web")},
       {{{0, 0, 3, 1}, true}, {{5, 0, 1, 1}, false}},
       "kill_tree 5:0:1:1",
       "ready",
       {{"swept 5:0:1:1", "forget 5:0:1:1"}}},
      {"named twice by the table",
       {service("web")},
       {{{0, 0, 3, 1}, true}, {{0, 0, 3, 1}, true}},
       "",
       "ready",
       {}},
      {"who serves goes on, though what it needs has to start",
       {needing("web", "db"), service("db")},
       {{{0, 0, 3, 1}, true}},
       "spawn 1:0:1:1 start",
       "ready",
       {{"state 1", "starting"}}},
      {"who is missing waits for what it needs",
       {needing("web", "db"), service("db")},
       {},
       "spawn 1:0:1:1 start",
       "waiting",
       {}},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    adopt(s, row.services, row.children);
    CHECK(Script::short_keys(s.effects()) == row.effects);
    play(s, {{"state 0", row.state}});
    for (const Step& step : row.then) play(s, {step});
  }
}

TEST_CASE("the numbers of the effects go on above the last that the keeper has executed") {
  for (const std::uint64_t executed : {0ULL, 1ULL, 4711ULL, 1ULL << 40U}) {
    Scene s;
    adopt(s, {service("a"), service("b")}, {}, executed);
    REQUIRE(s.out.effects.size() == 2);
    CHECK(s.out.effects[0].number == executed + 1);
    CHECK(s.out.effects[1].number == executed + 2);
    CHECK(s.machine.effect_number() == executed + 2);
  }
}

TEST_CASE("what was adopted is a life like any other: stopped, shut down, its status shown") {
  Scene s;
  adopt(s, {service("web")}, {{{0, 0, 3, 2}, true}}, 100);
  const ServiceView view = s.view(0);
  REQUIRE(view.workers.size() == 1);
  CHECK(view.generation == 3);
  CHECK(view.workers[0].pid == Scene::pid(K{0, 0, 3, 2}));
  CHECK(view.workers[0].proof == Proof::unproven);
  CHECK(s.told(FactType::all_ready) == 1);
  play(s, {{"TERM", "ask_drain 0:0:3:2, kill 0:0:3:2 15"},
           {"exits 0:0:3:2 15", "kill_tree 0:0:3:2"},
           {"swept 0:0:3:2", "forget 0:0:3:2, quit 0"}});
}

TEST_CASE("an unknown service that is configured later gets an id of its own") {
  Scene s;
  adopt(s, {service("web")}, {{{0, 0, 1, 1}, true}, {{2, 0, 1, 1}, false}});
  s.configure({service("web"), service("new")}, Mode::prod);
  CHECK(s.effects() == "spawn 3:0:1:1 start");
}

TEST_CASE("children are adopted once, before everything else") {
  Scene s;
  s.configure({service("web")});
  CHECK(adopt(s, {service("web")}, {{{0, 0, 9, 9}, true}}, 1000).empty());
  CHECK(s.machine.effect_number() == 1);
  Scene late;
  late.handle(Signalled{SIGTERM});
  CHECK(adopt(late, {service("web")}, {{{0, 0, 9, 9}, true}}).empty());
}

TEST_CASE("a table from outside: keys beyond every bound start and stop nothing") {
  Scene s;
  CHECK(adopt(s, {service("web")},
              {{{kServicesMax, 0, 1, 1}, true},
               {{0, kBuildSlot + 1, 1, 1}, true},
               {{~0U, ~0U, ~0U, ~0U}, true}}) == "spawn 0:0:2:1 start");
}

TEST_CASE("a child belongs to the name that its id stood for, wherever the file has that name by now") {
  Scene s;
  Adopted adopted;
  adopted.desired = Desired{Mode::prod, "/x/supervisor.toml", {service("new"), service("b"), service("a")}};
  adopted.children = {
      {K{0, 0, 3, 1}, "a", 100, true}, {K{1, 0, 2, 1}, "b", 101, true}, {K{2, 0, 1, 1}, "gone", 102, true}};
  s.handle(adopted);
  CHECK(s.view(0).name == "a");
  CHECK(s.view(0).generation == 3);
  CHECK(s.view(1).name == "b");
  CHECK(s.view(1).generation == 2);
  CHECK(s.view(3).name == "new");
  CHECK(s.spawned() == Keys{{3, 0, 1, 1}});
  CHECK(s.effects().find("kill 2:0:1:1 15") != std::string::npos);
}

TEST_CASE("of a new start only what it names is started; what lives goes on all the same") {
  Scene s;
  Adopted adopted;
  adopted.children = {{{{0}, 0, 3, 1}, "b", 4711, true}};
  adopted.desired = Desired{Mode::prod, "/x/supervisor.toml", {service("a"), service("b"), service("c")}};
  adopted.only = {"a"};
  s.handle(adopted);
  CHECK(s.effects() == "spawn 1:0:1:1 start");  // ids: b as it had, then a and c
  CHECK(s.machine.snapshot().services[0].state == ServiceState::ready);
  CHECK(s.machine.snapshot().services[2].state == ServiceState::stopped);
}

TEST_CASE("who was adopted has the watchdog that its service asks for") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.hang.watchdog = std::chrono::seconds(3);
  adopt(s, {spec}, {{{0, 0, 3, 1}, true}});
  CHECK(s.machine.next_deadline() == s.now + std::chrono::seconds(3));
}

TEST_CASE("of an adopted wrapper nobody knows how it ended: its server has its time to answer") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.listen.emplace_back();
  adopt(s, {spec}, {{{0, 0, 3, 1}, true}});
  s.handle(Command{CommandVerb::stop, {}, 0, 1});
  s.handle(Exited{{ServiceId{0}, 0, 3, 1}, Scene::pid({0, 0, 3, 1}), 0, false});
  CHECK(s.effects() == "await_tree 0:0:3:1");
}

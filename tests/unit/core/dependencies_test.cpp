// Starts follow the dependencies, stops go against them (I12).
#include <algorithm>

#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

ServiceSpec needing(const std::string& name, std::vector<std::string> names) {
  ServiceSpec spec = service(name);
  spec.depends_on = std::move(names);
  return spec;
}

struct World {
  const char* what;
  std::vector<ServiceSpec> services;
  std::vector<std::string> only;
  std::vector<const char*> waves;  // who is spawned together, in order
};

std::string names(const std::vector<ServiceSpec>& services, const std::vector<ChildKey>& keys) {
  std::string text;
  for (const ChildKey& k : keys) text += (text.empty() ? "" : " ") + services[k.service.value].name;
  return text;
}

std::vector<ChildKey> asked_to_stop(const Scene& s) {
  std::vector<ChildKey> keys;
  for (const Effect& e : s.out.effects) {
    if (const auto* a = std::get_if<AskDrain>(&e.action)) keys.push_back(a->key);
  }
  return keys;
}

// Makes every wave ready; the events of one wave gather what the next one is.
void check_start(Scene& s, const World& w) {
  s.configure(w.services, Mode::prod, w.only);
  std::vector<ChildKey> wave = s.spawned();
  for (const char* expected : w.waves) {
    CHECK(names(w.services, wave) == expected);
    std::vector<ChildKey> next;
    for (const ChildKey& k : wave) {
      s.serve(K{k.service.value, k.slot, k.generation, k.attempt});
      const auto more = s.spawned();
      next.insert(next.end(), more.begin(), more.end());
    }
    wave = std::move(next);
  }
  CHECK(wave.empty());
}

// The same waves, backwards, when everything stops.
void check_stop(Scene& s, const World& w) {
  s.handle(Signalled{SIGTERM});
  std::vector<ChildKey> wave = asked_to_stop(s);
  std::size_t stopped = 0;
  for (; !wave.empty();) {
    std::vector<ChildKey> next;
    for (const ChildKey& k : wave) {
      ++stopped;
      s.ends(K{k.service.value, k.slot, k.generation, k.attempt}, SIGTERM);
      const auto more = asked_to_stop(s);
      next.insert(next.end(), more.begin(), more.end());
      for (const ChildKey& m : more) {  // nobody that needs it is left
        for (const ServiceSpec& spec : w.services) {
          const auto& needs = spec.depends_on;
          if (std::count(needs.begin(), needs.end(), w.services[m.service.value].name) == 0) continue;
          const auto id = static_cast<std::uint32_t>(&spec - w.services.data());
          CHECK(s.view(id).workers.empty());
        }
      }
    }
    wave = std::move(next);
  }
  std::size_t started = 0;
  for (const char* names_of_wave : w.waves) {
    std::istringstream in(names_of_wave);
    for (std::string name; in >> name;) ++started;
  }
  CHECK(stopped == started);
  CHECK(s.effects().find("quit 0") != std::string::npos);
}

}  // namespace

TEST_CASE("I12: who starts with whom, and everything stops the other way round") {
  std::vector<ServiceSpec> chain{service("c0")};
  std::vector<const char*> chain_waves{"c0"};
  static std::vector<std::string> chain_names;
  for (int n = 1; n < 32; ++n) chain_names.push_back("c" + std::to_string(n));
  for (int n = 1; n < 32; ++n) {
    chain.push_back(needing(chain_names[n - 1], {chain[n - 1].name}));
    chain_waves.push_back(chain_names[n - 1].c_str());
  }
  std::vector<ServiceSpec> backwards(chain.rbegin(), chain.rend());
  const ServiceSpec db = service("db");
  const World worlds[] = {
      {"no dependency", {service("a"), service("b")}, {}, {"a b"}},
      {"one", {db, needing("web", {"db"})}, {}, {"db", "web"}},
      {"named before it is there", {needing("web", {"db"}), db}, {}, {"db", "web"}},
      {"named twice", {db, needing("web", {"db", "db"})}, {}, {"db", "web"}},
      {"two for one", {service("a"), service("b"), needing("c", {"a", "b"})}, {}, {"a b", "c"}},
      {"a diamond",
       {needing("top", {"left", "right"}), needing("left", {"base"}), needing("right", {"base"}),
        service("base")},
       {},
       {"base", "left right", "top"}},
      {"a lopsided diamond",
       {service("base"), needing("left", {"base"}), needing("mid", {"left"}),
        needing("top", {"mid", "base"})},
       {},
       {"base", "left", "mid", "top"}},
      {"a chain of 32", chain, {}, chain_waves},
      {"a chain of 32, backwards in the file", backwards, {}, chain_waves},
      {"only one, with what it needs", {db, needing("web", {"db"}), service("mail")}, {"web"}, {"db", "web"}},
      {"only the one that is needed", {db, needing("web", {"db"}), service("mail")}, {"db"}, {"db"}},
      {"only two", {db, needing("web", {"db"}), service("mail")}, {"mail", "db"}, {"db mail"}},
      {"only, through a diamond",
       {service("base"), needing("l", {"base"}), needing("r", {"base"}), needing("top", {"l", "r"}),
        service("x")},
       {"top"},
       {"base", "l r", "top"}},
      {"only the end of the chain", chain, {"c31"}, chain_waves},
  };
  for (const World& w : worlds) {
    INFO(w.what);
    Scene s;
    check_start(s, w);
    CHECK(s.told(FactType::all_ready) == 1);
    check_stop(s, w);
  }
}

TEST_CASE("a dependency is met when every worker is ready, or when its work is done") {
  Scene s;
  ServiceSpec db = service("db", 2);
  s.configure({db, needing("web", {"db"})});
  play(s, {{"state 1", "waiting"},
           {"lives 0:0:1:1", "probe 0:0:1:1"},
           {"ready 0:0:1:1", ""},
           {"lives 0:1:1:1", "probe 0:1:1:1"},
           {"ready 0:1:1:1", "spawn 1:0:1:1 start"}});
  Scene job;
  ServiceSpec once = service("migrate", 2);
  once.restart = RestartPolicy::never;
  job.configure({once, needing("web", {"migrate"})});
  play(job, {{"lives 0:0:1:1", "probe 0:0:1:1"},
             {"lives 0:1:1:1", "probe 0:1:1:1"},
             {"exits 0:0:1:1 0", "stop_probe 0:0:1:1, kill_tree 0:0:1:1"},
             {"exits 0:1:1:1 0", "stop_probe 0:1:1:1, kill_tree 0:1:1:1, spawn 1:0:1:1 start"}});
}

TEST_CASE("what is ready and crashes takes nobody with it") {
  Scene s;
  s.configure({service("db"), needing("web", {"db"})});
  s.serve({0, 0, 1, 1});
  s.serve({1, 0, 1, 1});
  play(s, {{"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"state 1", "ready"},
           // But who has to start anew waits for it again.
           {"restart 1 1", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"exits 1:0:1:1 15", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1"},
           {"state 1", "waiting"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2", "spawn 1:0:2:1 start"}});
}

TEST_CASE("who needs one that failed waits and says why, along the chain, and starts when it is cured") {
  Scene s;
  s.configure({watched("db"), needing("web", {"db"}), needing("page", {"web"})});
  play(s, {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"}, {"state 1", "waiting"}, {"state 2", "waiting"}});
  CHECK(s.view(1).reason == "waits for db, which failed: cannot run");
  CHECK(s.view(2).reason == "waits for web, which waits for db, which failed: cannot run");
  play(s, {{"start 1 2", "spawn 0:0:2:1 start"}});
  CHECK(s.view(1).reason == "waits for db");
  play(s, {{"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "spawn 1:0:1:1 start"},
           {"lives 1:0:1:1", "probe 1:0:1:1"},
           {"ready 1:0:1:1", "spawn 2:0:1:1 start"}});
}

TEST_CASE("stopping one stops who needs it, last first; starting one starts what it needs") {
  Scene s;
  s.configure({service("db"), needing("web", {"db"}), needing("page", {"web"}), service("mail")});
  for (std::uint32_t n : {0U, 1U, 2U, 3U}) s.serve({n, 0, 1, 1});
  play(s, {{"stop 1 0", "ask_drain 2:0:1:1, kill 2:0:1:1 15"},
           {"state 0", "stopping"},
           {"state 3", "ready"},
           {"exits 2:0:1:1 15", "kill_tree 2:0:1:1"},
           {"swept 2:0:1:1", "forget 2:0:1:1, ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"exits 1:0:1:1 15", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"},
           // The user stopped all three: starting the base alone brings nobody else back.
           {"start 2 0", "spawn 0:0:2:1 start"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "answer 2"},
           {"stop 3 0", "ask_drain 0:0:2:1, kill 0:0:2:1 15"},
           {"exits 0:0:2:1 15", "kill_tree 0:0:2:1"},
           {"swept 0:0:2:1", "forget 0:0:2:1, answer 3"},
           {"start 4 2", "spawn 0:0:3:1 start"},
           {"lives 0:0:3:1", "probe 0:0:3:1"},
           {"ready 0:0:3:1", "spawn 1:0:2:1 start"}});
}

TEST_CASE("a dependency that is stopped while another waits for it: the wait has a reason and an answer") {
  Scene s;
  s.configure({service("db"), needing("web", {"db"})}, Mode::dev, {"db"});
  s.serve({0, 0, 1, 1});
  play(s, {{"start 1 1", "spawn 1:0:1:1 start"},
           {"lives 1:0:1:1", "probe 1:0:1:1"},
           {"ready 1:0:1:1", "answer 1"},
           {"restart 2 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},  // nobody asked to restart web
           {"restart 3 1", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"exits 1:0:1:1 15", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1"},
           {"stop 4 0", "answer 2 (db was stopped), answer 3 (web was stopped)"}});
}

TEST_CASE("a stop of the needed one while who needs it is being spawned waits for that child") {
  Scene s;
  s.configure({service("db"), needing("web", {"db"})});
  s.serve({0, 0, 1, 1});
  play(s, {{"stop 1 0", ""},
           {"lives 1:0:1:1", "ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"tick 10000", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15"}});
}

TEST_CASE("what was left out by `only` is stopped: it starts when asked, and who needs it waits till then") {
  Scene s;
  s.configure({service("db"), service("mail")}, Mode::prod, {"db"});
  play(s, {{"state 1", "stopped"}, {"workers 1", ""}});
  s.configure({service("db"), service("mail"), needing("web", {"mail"})}, Mode::prod);
  CHECK(s.effects().empty());
  CHECK(s.view(2).reason == "waits for mail, which is stopped");
  play(s, {{"start 1 1", "spawn 1:0:1:1 start"}, {"state 2", "waiting"}});
}

// What the end of a worker means: restart policy, exit status, and whether it had announced its end.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

constexpr std::int32_t kUnknown = -1;

struct End {
  const char* what;
  std::int32_t status;  // a wait status (wait(2))
};
constexpr End kClean{"exit 0", 0};
constexpr End kEnds[] = {kClean,
                         {"exit 1", 1 << 8},
                         {"exit 255", 255 << 8},
                         {"SIGTERM", SIGTERM},
                         {"SIGKILL", SIGKILL},
                         {"a core dump", SIGSEGV | 0x80},
                         {"nobody saw it", kUnknown}};

enum class Then { crash, recycle, done, failed };
const char* name(Then then) {
  static constexpr const char* kNames[] = {"crash", "recycle", "done", "failed"};
  return kNames[static_cast<int>(then)];
}

// What the policies promise, in words of their own.
Then promised(RestartPolicy policy, bool clean, bool was_ready, bool served) {
  if (clean && policy != RestartPolicy::always) return Then::done;
  if (policy == RestartPolicy::never) return Then::failed;
  return clean && was_ready && served ? Then::recycle : Then::crash;
}

Then seen(const Scene& s) {
  for (const Effect& e : s.out.effects) {
    if (const auto* spawn = std::get_if<Spawn>(&e.action))
      return spawn->reason == Reason::recycle ? Then::recycle : Then::crash;
  }
  return s.state(0) == ServiceState::done ? Then::done : Then::failed;
}

}  // namespace

TEST_CASE("every policy, every end, announced or not, ready or not, after long enough or not") {
  for (const RestartPolicy policy :
       {RestartPolicy::always, RestartPolicy::on_failure, RestartPolicy::never}) {
    for (const End& end : kEnds) {
      for (int n = 0; n < 8; ++n) {
        const bool announced = (n & 1) != 0;
        const bool was_ready = (n & 2) != 0;
        const bool served = (n & 4) != 0;
        INFO("policy " << static_cast<int>(policy) << ", " << end.what << (announced ? ", announced" : "")
                       << (was_ready ? ", was ready" : "") << (served ? ", has served" : ""));
        Scene s;
        ServiceSpec spec = watched("web");
        spec.restart = policy;
        s.configure({spec, service("other")});
        const K key{0, 0, 1, 1};
        s.lives(key);
        if (was_ready) s.ready(key);
        s.now += served ? kWorkDone : kWorkDone - Duration(1);
        if (announced) s.handle(Stopping{key, Scene::pid(key)});
        if (announced && was_ready && served && policy == RestartPolicy::always) {
          CHECK(s.effects() == "spawn 0:0:1:2 recycle");  // its successor does not wait for its end
          s.handle(Exited{key, Scene::pid(key), end.status, end.status != kUnknown});
          CHECK(s.effects() == "kill_tree 0:0:1:1");
          continue;
        }
        s.handle(Exited{key, Scene::pid(key), end.status, end.status != kUnknown});
        CHECK(std::string(name(seen(s))) == name(promised(policy, end.status == 0, was_ready, served)));
        CHECK(s.count<KillTree>() == 1);
      }
    }
  }
}

TEST_CASE("an end that the supervisor asked for is none of the policy's") {
  for (const RestartPolicy policy :
       {RestartPolicy::always, RestartPolicy::on_failure, RestartPolicy::never}) {
    for (const End& end : kEnds) {
      INFO("policy " << static_cast<int>(policy) << ", " << end.what);
      Scene s;
      ServiceSpec spec = watched("web");
      spec.restart = policy;
      s.configure({spec});
      s.serve({0, 0, 1, 1});
      s.changed(0);
      s.serve({0, 0, 2, 1});
      const K old{0, 0, 1, 1};
      s.handle(Exited{old, Scene::pid(old), end.status, end.status != kUnknown});
      CHECK(s.effects() == "kill_tree 0:0:1:1");
      CHECK(s.state(0) == ServiceState::ready);
    }
  }
}

TEST_CASE("who was not ready in time, or missed its watchdog, failed, whatever its status says") {
  for (const RestartPolicy policy :
       {RestartPolicy::always, RestartPolicy::on_failure, RestartPolicy::never}) {
    for (const bool watchdog : {false, true}) {
      Scene s;
      ServiceSpec spec = watched("web");
      spec.restart = policy;
      s.configure({spec});
      s.lives({0, 0, 1, 1});
      if (watchdog) {
        s.handle(Watchdog{K{0, 0, 1, 1}, 0, true});
        const bool again = policy != RestartPolicy::never;
        CHECK(s.spawned() == (again ? Keys{{0, 0, 1, 2}} : Keys{}));
        if (again) continue;
      } else {
        s.wait();
        Script(s, "stuck 0:0:1:1").run();
      }
      s.exits({0, 0, 1, 1}, 0);
      CHECK(std::string(name(seen(s))) == (policy == RestartPolicy::never ? "failed" : "crash"));
    }
  }
}

TEST_CASE("an end in words: the reason of a failed service") {
  struct Row {
    std::int32_t status;
    const char* words;
  };
  const Row rows[] = {
      {1 << 8, "exited with status 1"}, {255 << 8, "exited with status 255"},
      {SIGSEGV, "killed by SIGSEGV"},   {SIGSEGV | 0x80, "killed by SIGSEGV"},
      {SIGKILL, "killed by SIGKILL"},   {SIGRTMIN, nullptr},
  };
  for (const Row& row : rows) {
    Scene s;
    ServiceSpec spec = watched("job");
    spec.restart = RestartPolicy::never;
    s.configure({spec});
    s.lives({0, 0, 1, 1});
    s.exits({0, 0, 1, 1}, row.status);
    const std::string words =
        row.words != nullptr ? row.words : "killed by signal " + std::to_string(row.status);
    CHECK(s.view(0).reason == words);
  }
  Scene s;
  ServiceSpec spec = watched("job");
  spec.restart = RestartPolicy::never;
  s.configure({spec});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"lost 0:0:1:1", "stop_probe 0:0:1:1, kill_tree 0:0:1:1"}});
  CHECK(s.view(0).reason == "ended with an unknown status");
}

TEST_CASE("a service of several workers is done or has failed when the last one is") {
  ServiceSpec spec = watched("job", 2);
  spec.restart = RestartPolicy::never;
  Scene done;
  done.configure({spec});
  done.serve({0, 0, 1, 1});
  done.serve({0, 1, 1, 1});
  play(done, {{"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
              {"swept 0:0:1:1", "forget 0:0:1:1"},
              {"state 0", "ready"},
              {"exits 0:1:1:1 0", "kill_tree 0:1:1:1", "child.exited, service.done"},
              {"swept 0:1:1:1", "forget 0:1:1:1"},
              {"due", "never"}});
  Scene failed;
  failed.configure({spec});
  failed.serve({0, 0, 1, 1});
  failed.serve({0, 1, 1, 1});
  play(failed, {{"exits 0:0:1:1 256", "kill_tree 0:0:1:1", "child.exited, slot.failed, service.backed_off"},
                {"state 0", "backoff"},
                {"due", "never"},
                {"exits 0:1:1:1 0", "kill_tree 0:1:1:1"},
                {"state 0", "failed"}});
}

TEST_CASE("a job that is done runs anew when it is started, restarted, reloaded or its files change") {
  for (const char* again : {"start 1 0", "restart 1 0", "reload 1 0", "changed 0", "HUP"}) {
    INFO(again);
    Scene s;
    ServiceSpec spec = watched("job");
    spec.restart = RestartPolicy::on_failure;
    s.configure({spec});
    s.lives({0, 0, 1, 1});
    s.ends({0, 0, 1, 1}, 0);
    const bool by_change = std::string(again) != "start 1 0" && std::string(again) != "restart 1 0";
    play(s, {{"state 0", "done"}, {again, by_change ? "spawn 0:0:2:1 change" : "spawn 0:0:2:1 start"}});
  }
}

TEST_CASE("a job whose new generation ends cleanly before it was ready is done in the new one") {
  Scene s;
  ServiceSpec spec = watched("job");
  spec.restart = RestartPolicy::on_failure;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  play(s, {{"changed 0", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"exits 0:0:2:1 0", "stop_probe 0:0:2:1, ask_drain 0:0:1:1, kill 0:0:1:1 15, kill_tree 0:0:2:1"},
           {"state 0", "done"}});
}

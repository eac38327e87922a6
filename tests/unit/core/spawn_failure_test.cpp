// Failed spawns: a class of their own. They wait in their own measure and never count as crashes.
#include <cerrno>

#include "core/backoff.hpp"
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using std::chrono::milliseconds;

namespace {

constexpr SpawnStage kStages[] = {SpawnStage::resources, SpawnStage::fork, SpawnStage::session,
                                  SpawnStage::limits,    SpawnStage::user, SpawnStage::cwd,
                                  SpawnStage::exec};

struct Error {
  const char* name;
  int number;
  bool passes;  // may be gone by itself, at every stage
};
constexpr Error kErrors[] = {
    {"ENOENT", ENOENT, false},   {"EACCES", EACCES, false}, {"EAGAIN", EAGAIN, true},
    {"ENOMEM", ENOMEM, true},    {"EMFILE", EMFILE, true},  {"ENFILE", ENFILE, true},
    {"ETXTBSY", ETXTBSY, true},  {"EPERM", EPERM, false},   {"ENOEXEC", ENOEXEC, false},
    {"ENOTDIR", ENOTDIR, false},
};

// What is short at these stages is the machine, whatever the error says.
bool passes(const Error& error, SpawnStage stage) {
  return error.passes || stage == SpawnStage::resources || stage == SpawnStage::fork;
}

template <class F>
void each_failure(F&& use) {
  for (const Error& error : kErrors) {
    for (const SpawnStage stage : kStages) {
      INFO(error.name << " at stage " << static_cast<int>(stage));
      use(error, stage);
    }
  }
}

}  // namespace

TEST_CASE("the wait after a failed spawn: 100 ms, doubling up to 5 s") {
  const int expected[] = {100, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
  for (std::uint32_t n = 0; n < std::size(expected); ++n) {
    INFO(n);
    CHECK(spawn_delay(n) == milliseconds(expected[n]));
  }
  CHECK(spawn_delay(~0U) == kSpawnRetryMax);
}

TEST_CASE("the first spawn fails: what may pass is tried again, what will not fails the service") {
  each_failure([](const Error& error, SpawnStage stage) {
    Scene s;
    s.configure({watched("web")});
    s.spawn_fails({0, 0, 1, 1}, error.number, stage);
    CHECK(s.told(FactType::child_spawn_failed) == 1);
    if (passes(error, stage)) {
      play(s, {{"state 0", "backoff"}, {"due", "100"}, {"tick 99", ""}, {"tick 1", "spawn 0:0:1:2 start"}});
    } else {
      play(s, {{"state 0", "failed"}, {"due", "never"}});
      CHECK(s.view(0).reason == "cannot run");
    }
  });
}

TEST_CASE(
    "a spawn that fails after a crash is tried again, whatever the error: the program ran a moment ago") {
  each_failure([](const Error& error, SpawnStage stage) {
    Scene s;
    s.configure({service("web")});
    s.serve({0, 0, 1, 1});
    s.ends({0, 0, 1, 1}, 1);
    s.spawn_fails({0, 0, 1, 2}, error.number, stage);
    play(s, {{"state 0", "backoff"}, {"due", "100"}, {"wait", "spawn 0:0:1:3 crash"}});
  });
}

TEST_CASE(
    "a new generation that cannot be spawned: what will not pass gives it up, and the old one serves on") {
  each_failure([](const Error& error, SpawnStage stage) {
    Scene s;
    s.configure({watched("web")});
    s.serve({0, 0, 1, 1});
    s.changed(0);
    s.spawn_fails({0, 0, 2, 1}, error.number, stage);
    s.tick(milliseconds(50));  // the settle window
    CHECK(s.view(0).generation == 1);
    if (passes(error, stage)) {
      play(s, {{"state 0", "reloading"}, {"due", "50"}, {"wait", "spawn 0:0:2:2 change"}});
      CHECK(s.told(FactType::reload_failed) == 0);
    } else {
      play(s, {{"state 0", "ready"}, {"due", "never"}, {"workers 0", "0:0:1:1 ready"}});
      CHECK(s.told(FactType::reload_failed) == 1);
    }
  });
}

TEST_CASE("a new generation that cannot be spawned for as long as a start may take is given up") {
  for (const bool gradual : {false, true}) {
    ServiceSpec spec = watched("web");
    spec.ready.timeout = 1s;
    spec.roll.gradual = gradual;
    spec.roll.memory_guard = false;
    Scene s;
    s.configure({spec});
    s.serve({0, 0, 1, 1});
    s.changed(0);
    for (std::uint32_t attempt = 1; attempt <= 5; ++attempt) {
      CHECK(s.told(FactType::reload_failed) == 0);
      s.spawn_fails({0, 0, 2, attempt}, EAGAIN, SpawnStage::fork);
      while (attempt < 5 && s.effects() != "spawn 0:0:2:" + std::to_string(attempt + 1) + " change") s.wait();
    }
    play(s, {{"state 0", "ready"}, {"due", "never"}, {"workers 0", "0:0:1:1 ready"}});
    CHECK(s.told(FactType::reload_failed) == 1);
  }
}

TEST_CASE("a build step that cannot be spawned: what will not pass is a failed build") {
  each_failure([](const Error& error, SpawnStage stage) {
    Scene s;
    s.configure({built("web")});
    s.spawn_fails({0, kBuildSlot, 1, 1}, error.number, stage);
    if (passes(error, stage)) {
      play(s, {{"state 0", "building"}, {"due", "100"}, {"wait", "spawn 0:b:1:2 start"}});
    } else {
      play(s, {{"state 0", "failed"}, {"due", "never"}});
      CHECK(s.view(0).reason == "build failed: cannot run");
    }
  });
}

TEST_CASE(
    "failed spawns never count as crashes: neither for the delay, nor the burst limit, nor the restarts") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.backoff.burst = 2;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.ends({0, 0, 1, 1}, 1);
  int waits[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
  std::uint32_t attempt = 1;
  for (const int wait : waits) {
    s.spawn_fails({0, 0, 1, ++attempt}, EAGAIN, SpawnStage::fork);
    INFO("attempt " << attempt);
    CHECK(s.wait() == milliseconds(wait));
  }
  CHECK(s.view(0).restarts == 1);  // one crash, one restart, however long it took
  // It lives: the count of failed spawns starts anew, the one of crashes goes on.
  s.serve({0, 0, 1, ++attempt});
  CHECK(s.state(0) == ServiceState::ready);
  s.ends({0, 0, 1, attempt}, 1);
  CHECK(s.state(0) == ServiceState::failed);  // the second crash in a row, and only that
}

TEST_CASE("a spawn that succeeds starts the count of failed ones anew") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"fails 0:0:1:1 EAGAIN fork", "forget 0:0:1:1"},
           {"wait", "spawn 0:0:1:2 start"},
           {"fails 0:0:1:2 EAGAIN fork", "forget 0:0:1:2"},
           {"due", "200"},
           {"wait", "spawn 0:0:1:3 start"},
           {"lives 0:0:1:3", "probe 0:0:1:3"},
           {"exits 0:0:1:3 256", "stop_probe 0:0:1:3, spawn 0:0:1:4 crash, kill_tree 0:0:1:3"},
           {"fails 0:0:1:4 EAGAIN fork", "forget 0:0:1:4"},
           {"due", "100"}});
}

TEST_CASE("a restart policy says nothing about failed spawns: they are tried again under each") {
  for (const RestartPolicy policy :
       {RestartPolicy::always, RestartPolicy::on_failure, RestartPolicy::never}) {
    Scene s;
    ServiceSpec spec = service("job");
    spec.restart = policy;
    s.configure({spec});
    play(s, {{"fails 0:0:1:1 ENOMEM", "forget 0:0:1:1"}, {"wait", "spawn 0:0:1:2 start"}});
  }
}

TEST_CASE("a failed spawn leaves nothing to sweep and nothing to forget but its key") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"fails 0:0:1:1 EMFILE resources", "forget 0:0:1:1", "child.spawn_failed, service.backed_off"}});
}

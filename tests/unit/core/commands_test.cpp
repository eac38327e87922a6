// Every command in every state: what it answers, at once or later, and what it does (I8).
#include <iterator>

#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

// How a service comes to be in a state.
struct Situation {
  const char* what;
  std::initializer_list<Step> steps;
  const char* state;
  // verb by verb: start, stop, restart, reload, signal
  const char* effects[5];
};

const Step kLives{"lives 0:0:1:1", "probe 0:0:1:1"};
const Step kReady{"ready 0:0:1:1", ""};
const Step kStop{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"};
const Step kGone{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"};
constexpr const char* kNobody = "answer 9 (nothing runs that could get the signal)";
constexpr const char* kDrain = "ask_drain 0:0:1:1, kill 0:0:1:1 15";
constexpr const char* kEarlyDrain = "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15";

const Situation kSituations[] = {
    {"spawning", {}, "starting", {"", "", "", "", kNobody}},
    {"starting",
     {kLives},
     "starting",
     {"", kEarlyDrain, kEarlyDrain, kEarlyDrain, "kill 0:0:1:1 10, answer 9"}},
    {"ready",
     {kLives, kReady},
     "ready",
     {"answer 9", kDrain, kDrain, "spawn 0:0:2:1 change", "kill 0:0:1:1 10, answer 9"}},
    {"reloading",
     {kLives, kReady, {"changed 0", "spawn 0:0:2:1 change"}},
     "reloading",
     {"answer 9", kDrain, kDrain, "", "kill 0:0:1:1 10, answer 9"}},
    {"stopping",
     {kLives, kReady, kStop},
     "stopping",
     {"answer 1 (web was started again)", "", "answer 1 (web was started again)", "answer 9 (web is stopped)",
      "kill 0:0:1:1 10, answer 9"}},
    {"swept after a stop",
     {kLives, kReady, kStop, {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"}},
     "stopping",
     {"answer 1 (web was started again)", "", "answer 1 (web was started again)", "answer 9 (web is stopped)",
      kNobody}},
    {"stopped",
     {{"stop 1 0", ""}, {"fails 0:0:1:1 ENOENT", "forget 0:0:1:1, answer 1"}},
     "stopped",
     {"spawn 0:0:2:1 start", "answer 9", "spawn 0:0:2:1 start", "answer 9 (web is stopped)", kNobody}},
    {"failed",
     {kGone},
     "failed",
     {"spawn 0:0:2:1 start", "answer 9", "spawn 0:0:2:1 start", "spawn 0:0:2:1 change", kNobody}},
    {"back-off",
     {{"fails 0:0:1:1 EAGAIN fork", "forget 0:0:1:1"}},
     "backoff",
     {"", "answer 9", "spawn 0:0:2:1 start", "spawn 0:0:2:1 change", kNobody}},
};

constexpr const char* kVerbs[] = {"start", "stop", "restart", "reload", "kill"};

std::string line(std::size_t verb) { return std::string(kVerbs[verb]) + (verb == 4 ? " 9 10 0" : " 9 0"); }

// Everything obeys until nothing more happens; how often request 9 was answered on the way.
int answers_when_all_obeys(Scene& s) {
  int answers = 0;
  const auto count = [&] {
    for (const Effect& e : s.out.effects) {
      if (const auto* a = std::get_if<Answer>(&e.action)) answers += a->request == 9 ? 1 : 0;
    }
  };
  for (int n = 0; n < 50; ++n) {
    bool moved = false;
    const std::vector<WorkerView> workers = s.view(0).workers;
    for (const WorkerView& w : workers) {
      const K k{0, w.key.slot, w.key.generation, w.key.attempt};
      if (w.state == WorkerState::backoff || w.state == WorkerState::ready) continue;
      if (w.state == WorkerState::spawning) s.lives(k);
      if (w.state == WorkerState::starting) s.ready(k);
      if (w.state == WorkerState::draining) s.exits(k, SIGTERM);
      if (w.state == WorkerState::sweeping) s.swept(k);
      moved = true;
      count();
    }
    if (moved) continue;
    if (s.machine.next_deadline() == kNever) break;
    s.wait();
    count();
  }
  return answers;
}

}  // namespace

TEST_CASE("every verb in every state: its effects at once, and one answer in the end") {
  for (const Situation& situation : kSituations) {
    for (std::size_t verb = 0; verb < std::size(kVerbs); ++verb) {
      INFO(kVerbs[verb] << " while " << situation.what);
      Scene s;
      s.configure({watched("web")});
      play(s, situation.steps);
      play(s, {{"state 0", situation.state}, {line(verb).c_str(), situation.effects[verb]}});
      int answers = 0;
      for (const Effect& e : s.out.effects) {
        if (const auto* a = std::get_if<Answer>(&e.action)) answers += a->request == 9 ? 1 : 0;
      }
      answers += answers_when_all_obeys(s);
      CHECK(answers == 1);
      // start, restart and reload want it up, stop wants it down; a signal changes nothing.
      if (verb == 0 || verb == 2) CHECK(std::string(name_of(s.state(0))) == "ready");
      if (verb == 1) CHECK(std::string(name_of(s.state(0))) == "stopped");
    }
  }
}

TEST_CASE("every verb about nothing is answered at once") {
  for (std::size_t verb = 0; verb < std::size(kVerbs); ++verb) {
    Scene empty;
    empty.configure({});
    const std::string all = std::string(kVerbs[verb]) + (verb == 4 ? " 9 10" : " 9");
    const std::string none = verb == 4 ? kNobody : "answer 9";
    play(empty, {{all.c_str(), none.c_str()}});
    Scene s;
    s.configure({service("web")});
    s.serve({0, 0, 1, 1});
    const std::string unknown = std::string(kVerbs[verb]) + (verb == 4 ? " 9 10 0 7" : " 9 0 7");
    play(s, {{unknown.c_str(), "answer 9 (no such service)"}, {"state 0", "ready"}});  // none, or all
  }
}

TEST_CASE("a command without a service is about all of them, and is answered when the last one is there") {
  Scene s;
  s.configure({service("a"), service("b")}, Mode::dev, {"a"});
  play(s, {{"start 1", "spawn 1:0:1:1 start"},
           {"lives 0:0:1:1", "probe 0:0:1:1"},
           {"ready 0:0:1:1", ""},
           {"lives 1:0:1:1", "probe 1:0:1:1"},
           {"ready 1:0:1:1", "answer 1"},
           {"kill 2 12", "kill 0:0:1:1 12, kill 1:0:1:1 12, answer 2"},
           {"stop 3 0 0 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15, ask_drain 1:0:1:1, kill 1:0:1:1 15"},
           {"exits 0:0:1:1 15", "kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"exits 1:0:1:1 15", "kill_tree 1:0:1:1"},
           {"swept 1:0:1:1", "forget 1:0:1:1, answer 3"}});
}

TEST_CASE("a request about several fails with the first fault, when all are decided") {
  Scene s;
  s.configure({watched("a"), service("b")});
  play(s, {{"start 1", ""},
           {"fails 0:0:1:1 ENOENT", "forget 0:0:1:1"},
           {"lives 1:0:1:1", "probe 1:0:1:1"},
           {"ready 1:0:1:1", "answer 1 (a failed: cannot run)"}});
}

TEST_CASE("a reload that fails says why, and what asked for a start is not told of it") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"reload 1 0", "spawn 0:0:2:1 change"}});
  s.spawn_fails({0, 0, 2, 1}, ENOENT);
  CHECK(s.effects() == "forget 0:0:2:1, answer 1 (web: generation 2: cannot run; generation 1 serves on)");
}

TEST_CASE("a signal goes to every worker that lives, as the service's own stop would, and to no build step") {
  Scene s;
  ServiceSpec spec = built("web", 2);
  spec.stop.group = false;
  s.configure({spec});
  play(s, {{"lives 0:b:1:1", ""}, {"kill 1 1 0", "answer 1 (nothing runs that could get the signal)"}});
  s.ends({0, kBuildSlot, 1, 1}, 0);
  s.serve({0, 0, 1, 1});
  play(s, {{"kill 2 1 0", "kill 0:0:1:1 1 main, answer 2"},
           {"lives 0:1:1:1", "probe 0:1:1:1"},
           {"kill 3 1 0", "kill 0:0:1:1 1 main, kill 0:1:1:1 1 main, answer 3"}});
}

TEST_CASE("requests that wait are bounded: one more is answered at once") {
  Scene s;
  s.configure({service("web")});
  for (std::size_t n = 0; n < kRequestsMax; ++n) {
    s.command(CommandVerb::start, {0}, 100 + n);
    REQUIRE(s.effects().empty());
  }
  play(s, {{"start 9 0", "answer 9 (too many requests are waiting for an answer)"},
           {"kill 9 1 0", kNobody},
           {"lives 0:0:1:1", "probe 0:0:1:1"}});
  s.ready({0, 0, 1, 1});
  CHECK(s.count<Answer>() == static_cast<int>(kRequestsMax));
  play(s, {{"start 9 0", "answer 9"}});
}

TEST_CASE("a shutdown begins however many requests wait") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  for (std::size_t n = 0; n < kRequestsMax; ++n) s.command(CommandVerb::stop, {0}, 100 + n);
  play(s, {{"shutdown 9", "answer 9 (too many requests are waiting for an answer)", "shutdown.started"}});
  s.ends({0, 0, 1, 1}, 15);
  CHECK(s.count<Quit>() == 1);
  // Those that the shutdown answers make room.
  Scene starts;
  starts.configure({service("web")});
  for (std::size_t n = 0; n < kRequestsMax; ++n) starts.command(CommandVerb::start, {0}, 100 + n);
  starts.command(CommandVerb::shutdown, {}, 9);
  CHECK(starts.count<Answer>() == static_cast<int>(kRequestsMax));
  play(starts, {{"fails 0:0:1:1 ENOENT", "forget 0:0:1:1, answer 9, quit 0"}});
}

TEST_CASE("start and restart do not wait for ever for what keeps failing") {
  for (const CommandVerb verb : {CommandVerb::start, CommandVerb::restart}) {
    Scene s;
    s.configure({service("web")});
    s.command(verb, {0}, 7);
    std::string answered;
    std::vector<K> living = {{0, 0, 1, 1}};
    const auto look = [&] {
      for (const ChildKey& k : s.spawned())
        living.push_back({k.service.value, k.slot, k.generation, k.attempt});
      for (const Effect& e : s.out.effects) {
        if (const auto* a = std::get_if<Answer>(&e.action)) answered = a->error;
      }
    };
    for (int n = 0; n < 60 && answered.empty(); ++n) {
      if (living.empty()) {
        s.wait();
        look();
        continue;
      }
      const K key = living.back();
      living.pop_back();
      s.lives(key);
      s.exits(key, 256);
      look();
      s.swept(key);
      look();
    }
    CHECK(answered == "web keeps failing, 8 times in a row; it is tried on");
  }
}

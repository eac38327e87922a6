// What speaks against a worker, when it is believed, and what follows: a hang is ended, an answer is not.
#include <algorithm>

#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec looked_after(std::uint32_t workers, std::uint32_t failures = 1) {
  ServiceSpec spec = pool(workers);
  spec.health.kind = HealthKind::http;
  spec.health.failures = failures;
  return spec;
}

void says_unwell(Scene& s, const K& key) {
  s.handle(Looked{key, false, Stall::unknown, "answered 503", true});
}

}  // namespace

TEST_CASE(
    "a beat that is missed is no verdict: the worker is looked at, and has another period if it starves") {
  Scene s = serving(service("web"));
  play(s, {{"watchdog 0:0:1:1 2000", ""},
           {"tick 2000", "examine 0:0:1:1", ""},
           {"starved 0:0:1:1", "", "child.starved"},
           {"due", "2000"},
           {"tick 2000", "examine 0:0:1:1", ""},
           {"excused 0:0:1:1", "", ""},
           {"due", "2000"},
           {"tick 2000", "examine 0:0:1:1", ""},
           {"stuck 0:0:1:1", "kill 0:0:1:1 6 main, spawn 0:0:1:2 crash",
            "child.watchdog_missed, child.hung, service.starting"}});
  const auto hung = std::find_if(s.facts.begin(), s.facts.end(),
                                 [](const Fact& f) { return f.type == FactType::child_hung; });
  CHECK(hung->text == "no WATCHDOG=1: seen from outside");
  CHECK(hung->number == 4000);
}

TEST_CASE("a beat that comes while the worker is looked at counts, and so does being ready") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1"},
           {"watchdog 0:0:1:1 2000", ""},
           {"tick 2000", "examine 0:0:1:1"},
           {"beat 0:0:1:1", ""},
           {"stuck 0:0:1:1", ""},
           {"due", "2000"},
           {"tick 2000", "examine 0:0:1:1"},
           {"ready 0:0:1:1", ""},
           {"stuck 0:0:1:1", ""},
           {"due", "2000"}});
}

TEST_CASE("who gets some CPU and says nothing is excused only so often; who gets none has all the time") {
  Scene s = serving(service("web"));
  s.handle(Watchdog{K{0, 0, 1, 1}, 1'000'000, false});
  for (std::uint32_t n = 1; n < kBeatsMissedMax; ++n)
    play(s, {{"wait", "examine 0:0:1:1"}, {"starved 0:0:1:1", ""}});
  play(s, {{"wait", "examine 0:0:1:1"}, {"starved 0:0:1:1", "kill 0:0:1:1 6 main, spawn 0:0:1:2 crash"}});

  Scene none = serving(service("web"));
  none.handle(Watchdog{K{0, 0, 1, 1}, 1'000'000, false});
  for (std::uint32_t n = 0; n < 3 * kBeatsMissedMax; ++n) {
    play(none, {{"wait", "examine 0:0:1:1"}});
    none.handle(Looked{K{0, 0, 1, 1}, false, Stall::starved, "", false, true, Duration::zero()});
    CHECK(none.effects().empty());
  }
}

TEST_CASE("nothing can be found out: another period, but not for ever") {
  Scene s = serving(service("web"));
  s.handle(Watchdog{K{0, 0, 1, 1}, 1'000'000, false});
  for (std::uint32_t n = 1; n < kBeatsMissedMax; ++n)
    play(s, {{"wait", "examine 0:0:1:1"}, {"due", "2000"}, {"wait", ""}, {"due", "1000"}});
  play(s, {{"wait", "examine 0:0:1:1"}, {"wait", "kill 0:0:1:1 6 main, spawn 0:0:1:2 crash"}});
}

TEST_CASE("the hook sees also whose watchdog was not fed, and a start that takes too long, and is told how") {
  ServiceSpec spec = service("web");
  spec.hang.hook = CommandSpec{{"gcore"}, false};
  Scene s = serving(spec);
  const auto kind = [](const Scene& scene) { return std::get<Spawn>(scene.out.effects.front().action).hang; };
  play(s, {{"watchdog 0:0:1:1 2000", ""}, {"wait", "examine 0:0:1:1"}});
  s.handle(Looked{K{0, 0, 1, 1}, false, Stall::uninterruptible, "in D", false, true});
  CHECK(s.effects() == "spawn 0:65534:1:1 start, spawn 0:0:1:2 crash");
  CHECK(kind(s) == "uninterruptible");
  play(s, {{"lives 0:65534:1:1", ""},
           {"exits 0:65534:1:1 0", "kill 0:0:1:1 6 main, kill_tree 0:65534:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"trigger 0:0:1:2", "stop_probe 0:0:1:2, spawn 0:65534:1:2 start"}});
  CHECK(std::get<Spawn>(s.out.effects[1].action).hang == "watchdog");

  Scene slow;
  slow.configure({spec});
  play(slow, {{"lives 0:0:1:1", "probe 0:0:1:1"},
              {"wait", "examine 0:0:1:1", ""},
              {"stuck 0:0:1:1 unknown", "stop_probe 0:0:1:1, spawn 0:65534:1:1 start", "child.not_ready"}});
  CHECK(std::get<Spawn>(slow.out.effects[1].action).hang == "not_ready");
  CHECK(slow.facts.back().text == "seen from outside");
  play(slow, {{"lives 0:65534:1:1", ""},
              {"exits 0:65534:1:1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15, kill_tree 0:65534:1:1"},
              {"exits 0:0:1:1 15", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"}});
}

TEST_CASE("who is ready in the end, while it is looked at why it is not, is ready") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1"},
           {"wait", "examine 0:0:1:1"},
           {"ready 0:0:1:1", ""},
           {"stuck 0:0:1:1", "", ""},
           {"due", "never"},
           {"state 0", "ready"}});
}

TEST_CASE("of a pool that hangs some have a hook each, and it is said that the others have none") {
  ServiceSpec spec = looked_after(kHooksMax + 1);
  spec.hang.hook = CommandSpec{{"gcore"}, false};
  Scene s = serving(spec);
  std::size_t hooks = 0;
  for (std::uint32_t slot = 0; slot <= kHooksMax; ++slot) {
    s.handle(Looked{K{0, slot, 1, 1}, false, Stall::waiting, "no answer"});
    for (const ChildKey& key : s.spawned()) hooks += key.is_hook() ? 1 : 0;
    CHECK(s.count<KillTree>() == (slot == kHooksMax ? 1 : 0));
  }
  CHECK(hooks == kHooksMax);
  const auto last = std::find_if(s.out.facts.begin(), s.out.facts.end(),
                                 [](const Fact& f) { return f.type == FactType::child_hung; });
  CHECK(last->text == "no answer; on_hang is left out, 4 run");
}

TEST_CASE("who answers that it is not well serves until its successor does, and is asked to go") {
  Scene s = serving(looked_after(2));
  says_unwell(s, {0, 0, 1, 1});
  CHECK(s.told(FactType::child_hung) == 0);
  CHECK(s.told(FactType::child_replaced) == 1);
  CHECK(s.effects() == "spawn 0:0:1:2 crash");
  says_unwell(s, {0, 1, 1, 1});
  CHECK(s.effects().empty());  // one batch after the other
  play(s, {{"lives 0:0:1:2", "probe 0:0:1:2"},
           {"ready 0:0:1:2",
            "watch 0:0:1:2, unwatch 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15, spawn 0:1:1:2 crash"}});
}

TEST_CASE("the same where the old one goes first, and where two cannot be side by side") {
  for (const bool overlap : {true, false}) {
    ServiceSpec spec = looked_after(2);
    spec.roll.order = overlap ? RollOrder::old_first : RollOrder::new_first;
    spec.overlap = overlap;
    Scene s = serving(spec);
    says_unwell(s, {0, 0, 1, 1});
    says_unwell(s, {0, 1, 1, 1});
    CHECK(s.view(0).workers[0].state == WorkerState::draining);
    CHECK(s.view(0).workers[1].state == WorkerState::ready);
    s.ends({0, 0, 1, 1}, 0);
    play(s, {{"lives 0:0:1:2", "probe 0:0:1:2"},
             {"ready 0:0:1:2", "watch 0:0:1:2, unwatch 0:1:1:1, ask_drain 0:1:1:1, kill 0:1:1:1 15"}});
  }
}

TEST_CASE(
    "what no new worker can help (a database is away) does not turn the pool over: it waits ever longer") {
  ServiceSpec spec = looked_after(1);
  Scene s = serving(spec);
  std::vector<long long> waits;
  for (std::uint32_t n = 1; n <= 5; ++n) {
    s.now += spec.health.interval;
    says_unwell(s, {0, 0, 1, n});
    waits.push_back(
        to_ms(s.machine.next_deadline() == kNever ? Duration::zero() : s.machine.next_deadline() - s.now));
    if (waits.back() > 0) CHECK(s.spawned().empty());
    if (waits.back() > 0) s.wait();
    CHECK(s.spawned() == Keys{{0, 0, 1, n + 1}});
    s.serve({0, 0, 1, n + 1});
    s.ends({0, 0, 1, n}, 0);
  }
  CHECK(waits == std::vector<long long>{0, 100, 200, 400, 800});
}

TEST_CASE("who is well again before its turn stays") {
  Scene s = serving(looked_after(2));
  says_unwell(s, {0, 0, 1, 1});
  says_unwell(s, {0, 1, 1, 1});
  s.handle(Looked{K{0, 1, 1, 1}, true, Stall::unknown, ""});
  s.serve({0, 0, 1, 2});
  CHECK(s.effects().find("spawn") == std::string::npos);
}

TEST_CASE("a new generation that answers that it is not well is given up") {
  Scene s = serving(looked_after(2));
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  says_unwell(s, {0, 0, 2, 1});
  CHECK(s.told(FactType::reload_failed) == 1);
  CHECK(s.count<KillTree>() == 0);
}

TEST_CASE(
    "a worker that is not to be started again is asked to go when it is not well, and its slot has failed") {
  ServiceSpec spec = looked_after(2);
  spec.restart = RestartPolicy::never;
  Scene s = serving(spec);
  says_unwell(s, {0, 0, 1, 1});
  CHECK(s.effects() == "unwatch 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15");
  s.ends({0, 0, 1, 1}, 0);
  CHECK(s.told(FactType::slot_failed) == 1);
}

TEST_CASE("a look by command that fails is believed only if the worker had the CPU to do it") {
  ServiceSpec spec = service("web");
  spec.health.kind = HealthKind::exec;
  spec.health.failures = 1;
  Scene s = serving(spec);
  play(s, {{"wait", "spawn 0:65533:1:1 start"},
           {"lives 0:65533:1:1", ""},
           {"exits 0:65533:1:1 256", "examine 0:0:1:1, kill_tree 0:65533:1:1", ""},
           {"starved 0:0:1:1", "", "child.starved"},
           {"swept 0:65533:1:1", "forget 0:65533:1:1"},
           {"wait", "spawn 0:65533:1:2 start"},
           {"lives 0:65533:1:2", ""},
           {"exits 0:65533:1:2 256", "examine 0:0:1:1, kill_tree 0:65533:1:2", ""},
           {"stuck 0:0:1:1", "spawn 0:0:1:2 crash", "child.unwell, child.replaced"}});
}

TEST_CASE("a look by command that has no CPU itself has more time, but not for ever") {
  ServiceSpec spec = service("web");
  spec.health.kind = HealthKind::exec;
  spec.health.failures = 1;
  Scene s = serving(spec);
  play(s, {{"wait", "spawn 0:65533:1:1 start"}, {"lives 0:65533:1:1", ""}});
  for (std::uint32_t n = 1; n < kBeatsMissedMax; ++n) {
    play(s, {{"wait", "examine 0:65533:1:1"}, {"starved 0:65533:1:1", "", ""}});
  }
  play(s, {{"wait", "examine 0:65533:1:1"},
           {"starved 0:65533:1:1", "kill_tree 0:65533:1:1"},
           {"exits 0:65533:1:1 9", "examine 0:0:1:1"},
           {"stuck 0:0:1:1", "kill_tree 0:0:1:1, spawn 0:0:1:2 crash"}});
  // One that only takes too long has no excuse.
  Scene slow = serving(spec);
  play(slow, {{"wait", "spawn 0:65533:1:1 start"},
              {"lives 0:65533:1:1", ""},
              {"wait", "examine 0:65533:1:1"},
              {"stuck 0:65533:1:1", "kill_tree 0:65533:1:1"}});
}

TEST_CASE("a start that has no CPU, or is in a debugger's hand, has more time") {
  Scene s;
  s.configure({service("web")});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1"}, {"wait", "examine 0:0:1:1"}, {"excused 0:0:1:1", "", ""}});
  for (std::uint32_t n = 1; n < kBeatsMissedMax; ++n) {
    play(s, {{"due", "30000"}, {"wait", "examine 0:0:1:1"}, {"starved 0:0:1:1", "", "child.starved"}});
  }
  Scene late = s;
  play(s, {{"wait", "examine 0:0:1:1"},
           {"starved 0:0:1:1", "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15", "child.not_ready"}});
  play(late, {{"ready 0:0:1:1", ""}, {"due", "never"}, {"state 0", "ready"}});
}

TEST_CASE("hang.watchdog is armed when the worker is ready, and gives way to what it says itself") {
  ServiceSpec spec = service("web");
  spec.hang.watchdog = 3s;
  Scene s;
  s.configure({spec});
  play(s, {{"lives 0:0:1:1", "probe 0:0:1:1"},
           {"due", "30000"},
           {"ready 0:0:1:1", ""},
           {"due", "3000"},
           {"tick 2000", ""},
           {"beat 0:0:1:1", ""},
           {"due", "3000"},
           {"wait", "examine 0:0:1:1"},
           {"stuck 0:0:1:1", "kill 0:0:1:1 6 main, spawn 0:0:1:2 crash"}});
  Scene own;
  own.configure({spec});
  play(own, {{"lives 0:0:1:1", "probe 0:0:1:1"},
             {"watchdog 0:0:1:1 9000", ""},
             {"ready 0:0:1:1", ""},
             {"due", "9000"}});
}

TEST_CASE("I7: the time that it takes to find out about a failed look is none in which the worker was well") {
  ServiceSpec spec = service("web");
  spec.health.kind = HealthKind::exec;
  spec.health.failures = 1;
  Scene s = serving(spec);
  s.ends({0, 0, 1, 1}, SIGSEGV);
  s.serve({0, 0, 1, 2});
  play(s, {{"wait", "spawn 0:65533:1:1 start"},
           {"lives 0:65533:1:1", ""},
           {"exits 0:65533:1:1 256", "examine 0:0:1:2, kill_tree 0:65533:1:1", ""},
           {"tick 3600000", "", "child.unwell, child.replaced"},
           {"tick 100", "spawn 0:0:1:3 crash"}});
}

TEST_CASE("who is in doubt when everything stands still, or a person has it in hand, is not late for it") {
  Scene s = serving(service("web"));
  play(s, {{"watchdog 0:0:1:1 1000", ""}, {"wait", "examine 0:0:1:1"}});
  s.now += 1h;
  s.handle(StoodStill{1h});
  play(s, {{"due", "2000"}});
  s.handle(AtTerminal{K{0, 0, 1, 1}, true});
  play(s, {{"due", "never"}, {"stuck 0:0:1:1", ""}});
  s.handle(AtTerminal{K{0, 0, 1, 1}, false});
  play(s, {{"due", "1000"}});
}

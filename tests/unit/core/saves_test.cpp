// Many saves: a stream without end, and a roll under fire (I1, I6).
#include <algorithm>

#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

TEST_CASE("an endless stream of changes is acted on after settle_max each time") {
  struct Row {
    Duration settle;
    Duration settle_max;
    int every_ms;
    int acts_at_ms;  // after the first change
  };
  const Row rows[] = {{50ms, 1500ms, 10, 1500}, {50ms, 1500ms, 49, 1500}, {50ms, 1500ms, 51, 51},
                      {50ms, 0ms, 10, 10},      {0ms, 1500ms, 10, 10},    {200ms, 100ms, 10, 100}};
  for (const Row& row : rows) {
    INFO(row.settle.count() << " " << row.settle_max.count() << " every " << row.every_ms);
    ServiceSpec spec = watched("web");
    spec.watch->settle = row.settle;
    spec.watch->settle_max = row.settle_max;
    Scene s = serving_watched(spec);
    s.changed(0);
    s.lives({0, 0, 2, 1});
    int acted_at = 0;
    for (int t = 1; t <= 3000 && acted_at == 0; ++t) {
      s.tick(1ms);
      if (s.count<Kill>() == 1) acted_at = t;
      if (t % row.every_ms == 0) s.changed(0);
      if (s.count<Kill>() == 1) acted_at = t;
    }
    CHECK(acted_at >= row.acts_at_ms - 1);
    CHECK(acted_at <= row.acts_at_ms + row.every_ms);
  }
}

TEST_CASE(
    "10,000 edits in 60 s without a pause: settle_max forces progress, and the last edit is in what runs") {
  Scene s = serving_watched();
  const Time begin = s.now;
  Time changed{}, launched{};
  int launches = 0;
  std::uint32_t generation = 1;
  const auto obey = [&] {  // whatever is asked for is done at once
    for (bool more = true; more;) {
      more = false;
      for (const WorkerView& w : s.view(0).workers) {
        const K k{0, w.key.slot, w.key.generation, w.key.attempt};
        more = true;
        if (w.key.generation > generation) {
          generation = w.key.generation;
          launched = s.now;
          ++launches;
        }
        if (w.state == WorkerState::spawning) {
          s.serve(k);
        } else if (w.state == WorkerState::draining) {
          s.ends(k, SIGTERM);
        } else {
          more = false;
        }
        if (more) break;
      }
    }
  };
  for (int i = 0; i < 10'000; ++i) {
    // More files than a loop has.
    s.handle(Changed{ServiceId{0}, {std::to_string(i % 20)}, 1, false});
    changed = s.now;
    obey();
    s.tick(6ms);
    obey();
  }
  while (s.machine.next_deadline() != kNever) {
    s.wait();
    obey();
  }
  CHECK(changed - begin >= 59s);
  CHECK(launches >= 60'000 / 1500);
  CHECK(launches <= 2 * 60'000 / 1500 + 2);
  CHECK(launched >= changed);
  CHECK(s.state(0) == ServiceState::ready);
}

TEST_CASE("I6: 50 saves during a roll never make a third generation, and the last save is what runs") {
  Scene s = serving_watched(watched("web", 2));
  std::vector<ChildKey> waiting;
  const auto gather = [&] {
    for (const ChildKey& k : s.spawned()) waiting.push_back(k);
  };
  const auto generations = [&] {
    std::vector<std::uint32_t> seen;
    for (const WorkerView& w : s.view(0).workers) seen.push_back(w.key.generation);
    std::sort(seen.begin(), seen.end());
    return std::unique(seen.begin(), seen.end()) - seen.begin();
  };
  for (int save = 0; save < 50; ++save) {
    s.changed(0);
    gather();
    for (int n = 0; n < 3; ++n) {
      s.tick(20ms);
      gather();
      REQUIRE(generations() <= 2);
    }
    // The world is slow: one answer a save.
    if (waiting.empty()) continue;
    const ChildKey k = waiting.front();
    waiting.erase(waiting.begin());
    s.lives({0, k.slot, k.generation, k.attempt});
    gather();
    if (s.effects().find("kill " + k.text()) != std::string::npos) {
      s.exits({0, k.slot, k.generation, k.attempt}, SIGTERM);
      gather();
      s.swept({0, k.slot, k.generation, k.attempt});
      gather();
    }
    REQUIRE(generations() <= 2);
  }
  for (int n = 0; n < 100; ++n) {  // now everything obeys
    const std::vector<WorkerView> workers = s.view(0).workers;
    for (const WorkerView& w : workers) {
      const K k{0, w.key.slot, w.key.generation, w.key.attempt};
      if (w.state == WorkerState::spawning) s.lives(k);
      if (w.state == WorkerState::starting) s.ready(k);
      if (w.state == WorkerState::draining) s.exits(k, SIGTERM);
      if (w.state == WorkerState::sweeping || w.state == WorkerState::killing) s.swept(k);
    }
    const bool starting = std::any_of(workers.begin(), workers.end(),
                                      [](const WorkerView& w) { return w.state != WorkerState::ready; });
    if (!starting && s.machine.next_deadline() != kNever) s.wait();
  }
  CHECK(s.state(0) == ServiceState::ready);
  CHECK(s.view(0).workers.size() == 2);
  CHECK(s.told(FactType::reload_done) >= 1);
}

TEST_CASE("I6: a reload waits for an old generation that still drains") {
  Scene s = serving_watched();
  play(s, {{"changed 0", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"tick 50", ""},
           {"changed 0", ""},
           {"tick 10000", "kill_tree 0:0:1:1"},
           {"exits 0:0:1:1 9", ""},
           {"swept 0:0:1:1", "forget 0:0:1:1, spawn 0:0:3:1 change"}});
}

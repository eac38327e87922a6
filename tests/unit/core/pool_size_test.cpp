// How many workers a pool has: by its load, by those who ask, by those that end; and when each is renewed.
#include <vector>

#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

TEST_CASE("the load makes a pool larger and smaller, within its limits") {
  ServiceSpec spec = service("web");
  spec.workers_max = 2;
  Scene s = serving(spec);
  const auto load = [&](std::uint32_t queued, std::uint32_t busy) {
    s.now += 1s;
    s.handle(Load{ServiceId{0}, queued, busy});
  };
  load(5, 100);
  CHECK(s.effects().empty());
  load(5, 100);
  CHECK(s.effects() == "spawn 0:1:1:1 scale");
  for (int n = 0; n < 5; ++n) load(5, 100);  // the new one is to help first
  s.serve({0, 1, 1, 1});
  for (int n = 0; n < 5; ++n) load(5, 100);
  CHECK(s.view(0).wanted_workers == 2);
  for (int n = 0; n < 60; ++n) load(0, 10);
  CHECK(s.view(0).wanted_workers == 2);
  load(0, 10);
  CHECK(s.effects() == "ask_drain 0:1:1:1, kill 0:1:1:1 15");
  for (int n = 0; n < 200; ++n) load(0, 10);
  CHECK(s.view(0).wanted_workers == 1);
}

TEST_CASE("a pool does not shrink to slots that have failed for good; who is told to tries them again") {
  ServiceSpec spec = service("web");
  spec.workers_max = 2;
  spec.no_restart = {4};
  Scene s = serving(spec);
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, 2});
  s.serve({0, 1, 1, 1});
  s.ends({0, 0, 1, 1}, 4 << 8);
  CHECK(s.told(FactType::slot_failed) == 1);
  for (int n = 0; n < 200; ++n) {
    s.now += 1s;
    s.handle(Load{ServiceId{0}, 0, 10});
    REQUIRE(s.effects().empty());
  }
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 2, 1});
  CHECK(s.state(0) != ServiceState::failed);
  CHECK(s.effects().find("spawn 0:0:1:2 scale") != std::string::npos);
}

TEST_CASE("workers that are busy are as good as a queue, as kept connections make none") {
  struct Row {
    const char* what;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> looks;  // queued, busy percent; one a second
    std::uint32_t workers;
  };
  const std::vector<Row> rows{
      {"a queue, once", {{5, 10}}, 1},
      {"a queue, twice", {{5, 10}, {5, 10}}, 2},
      {"busy, once", {{0, 100}}, 1},
      {"busy, twice", {{0, 90}, {0, 100}}, 2},
      {"not busy enough", {{0, 89}, {0, 89}, {0, 89}}, 1},
      {"busy, with a pause", {{0, 100}, {0, 50}, {0, 100}}, 1},
      {"busy, then a queue", {{0, 100}, {1, 50}}, 2},
      {"busy for long: the new one is to help first", {{0, 100}, {0, 100}, {0, 100}, {0, 100}, {0, 100}}, 2},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    ServiceSpec spec = service("web");
    spec.workers_max = 3;
    Scene s = serving(spec);
    for (const auto& [queued, busy] : row.looks) {
      s.now += 1s;
      s.handle(Load{ServiceId{0}, queued, busy});
    }
    CHECK(s.view(0).wanted_workers == row.workers);
  }
}

TEST_CASE("what starting takes is no load: a pool does not grow by its own starts") {
  ServiceSpec spec = service("web");
  spec.workers_max = 3;
  Scene s;
  s.configure({spec}, Mode::prod);
  s.lives({0, 0, 1, 1});
  for (int n = 0; n < 5; ++n) s.handle(Load{ServiceId{0}, 0, 100});
  s.ready({0, 0, 1, 1});
  s.handle(Load{ServiceId{0}, 0, 100});  // the second before it was ready is in this one
  CHECK(s.view(0).wanted_workers == 1);
}

TEST_CASE(
    "who asks for more or fewer workers than the configuration allows is refused, and told the bounds") {
  struct Row {
    const char* what;
    std::uint32_t min, max, wish;
    const char* effects;
  };
  const Row rows[] = {
      {"above", 1, 3, 9, "answer 1 (web has 1 to 3 workers, as its configuration says)"},
      {"below", 2, 3, 1, "answer 1 (web has 2 to 3 workers, as its configuration says)"},
      {"no range in a range", 2, 2, 3, "answer 1 (web has 2 workers, as its configuration says)"},
      {"at the bound", 1, 2, 2, "spawn 0:1:1:1 scale"},
      {"none", 1, 0, 0, "answer 1 (web has 1 to 1024 workers)"},
      {"more than anybody has", 1, 0, 1025, "answer 1 (web has 1 to 1024 workers)"},
      {"more than a number of workers is", 1, 0, ~0U, "answer 1 (web has 1 to 1024 workers)"},
      {"without a range", 1, 0, 2, "spawn 0:1:1:1 scale"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    ServiceSpec spec = service("web", row.min);
    spec.workers_max = row.max;
    Scene s = serving(spec);
    s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, row.wish});
    CHECK(s.effects() == row.effects);
  }
  ServiceSpec spec = service("web", 2);
  spec.workers_max = 3;
  Scene s = serving(spec);
  s.handle(Signalled{SIGTTOU});
  CHECK(s.effects().empty());
  CHECK(s.facts.back().type == FactType::service_scale_refused);
  CHECK(s.facts.back().text == "2 to 3 workers, as its configuration says");
  s.handle(Signalled{SIGTTIN});
  CHECK(s.effects() == "spawn 0:2:1:1 scale");
  s.handle(Signalled{SIGTTIN});
  CHECK(s.told(FactType::service_scale_refused) == 2);
  CHECK(s.view(0).wanted_workers == 3);
}

TEST_CASE("a limit has jitter, however small it is, and is never 0") {
  struct Row {
    std::uint64_t limit;
    std::uint32_t percent;
    std::uint64_t reach;
  };
  const Row rows[] = {{0, 10, 0},      {1, 10, 1},    {5, 10, 1},         {50, 10, 5},
                      {99, 10, 10},    {100, 10, 10}, {199, 0, 0},        {199, 10, 20},
                      {199, 100, 199}, {10, 400, 10}, {~0ULL, 100, ~0ULL}};
  for (const Row& row : rows) CHECK(jitter_of(row.limit, row.percent) == row.reach);
  ServiceSpec spec = service("web", 8);
  spec.recycle.requests = 50;
  Scene s = serving(spec);
  for (std::uint32_t slot = 0; slot < 8; ++slot) s.handle(Requests{K{0, slot, 1, 1}, 49, 0});
  CHECK(s.told(FactType::child_recycled) > 0);
}

TEST_CASE("workers that have ended their work are told apart from those that serve") {
  ServiceSpec spec = service("web", 3);
  spec.restart = RestartPolicy::on_failure;
  Scene s = serving(spec);
  s.ends({0, 1, 1, 1}, 0);
  CHECK(s.state(0) == ServiceState::ready);
  CHECK(s.view(0).wanted_workers == 3);
  CHECK(s.view(0).serving_workers == 2);
  CHECK(s.view(0).done_workers == 1);
  s.ends({0, 0, 1, 1}, 0);
  s.ends({0, 2, 1, 1}, 0);
  CHECK(s.state(0) == ServiceState::done);
  CHECK(s.view(0).done_workers == 3);
}

TEST_CASE("a new worker that dies before any slot has changed hands gives nothing back") {
  Scene s = serving(pool(2));
  s.command(CommandVerb::reload, {0}, 1);
  s.lives({0, 0, 2, 1});
  s.exits({0, 0, 2, 1}, 256);
  CHECK(s.effects().find("generation 1 serves on") != std::string::npos);
  CHECK(s.told(FactType::reload_restored) == 0);
}

TEST_CASE("a scale-down leaves the one that serves until another one does, in whatever slot it is") {
  for (const Balance balance : {Balance::shared, Balance::reuseport}) {
    Scene s;
    ServiceSpec spec = service("web", 2);
    spec.balance = balance;
    s.configure({spec});
    s.serve({0, 0, 1, 1});
    s.serve({0, 1, 1, 1});
    s.ends({0, 0, 1, 1}, 256);
    s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, 1});
    CHECK(s.count<Kill>() == 0);
    CHECK(s.count<AwaitQueue>() == 0);
    s.serve({0, 0, 1, 2});
    CHECK(s.count<Kill>() + s.count<AwaitQueue>() == 1);
  }
}

TEST_CASE("the load takes no worker away while another one is not there") {
  Scene s;
  ServiceSpec spec = service("web", 1);
  spec.workers_max = 3;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  for (int n = 0; n < 2; ++n) s.handle(Load{ServiceId{0}, 5, 0});
  s.serve({0, 1, 1, 1});
  s.handle(Exited{{ServiceId{0}, 0, 1, 1}, Scene::pid({ServiceId{0}, 0, 1, 1}), 256, true});
  s.handle(Load{ServiceId{0}, 0, 0});
  s.now += kCalm;
  s.handle(Load{ServiceId{0}, 0, 0});
  CHECK(s.told(FactType::service_scaled) == 1);  // up
  s.serve({0, 0, 1, 2});
  s.handle(Load{ServiceId{0}, 0, 0});
  CHECK(s.told(FactType::service_scaled) == 2);
}

TEST_CASE(
    "a configuration with fewer workers does not end the one that serves where the others have failed") {
  Scene s;
  ServiceSpec spec = service("web", 2);
  spec.backoff.burst = 1;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  s.handle(Exited{{ServiceId{0}, 0, 1, 1}, Scene::pid({ServiceId{0}, 0, 1, 1}), 256, true});
  CHECK(s.told(FactType::slot_failed) == 1);
  spec.workers = 1;
  s.configure({spec});
  CHECK(s.told(FactType::service_failed) == 0);
  CHECK(s.count<Kill>() == 0);
}

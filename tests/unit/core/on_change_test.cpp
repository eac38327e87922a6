// What a change does while a start is under way, and what waits for a change.
#include "core/machine.hpp"
#include "scene.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

ServiceSpec with(OnChange on_change, ServiceSpec spec = watched("web")) {
  spec.watch->on_change = on_change;
  return spec;
}

// Generation 1 serves, generation 2 is being started for a first change whose window is over.
Scene starting_second(ServiceSpec spec) {
  spec.ready.kind = ReadyKind::notify;
  Scene s;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.changed(0);
  s.tick(std::chrono::seconds(1));
  if (s.view(0).workers.size() < 2) FAIL("no second generation");
  s.lives({0, 0, 2, 1});
  return s;
}

// What the change causes, and nothing more at the end of its window.
void change_and_settle(Scene& s) {
  s.changed(0);
  const Output out = s.out;
  s.tick(std::chrono::seconds(2));
  CHECK(s.effects().empty());
  s.out = out;
}

}  // namespace

TEST_CASE("restart: a change during a start gives it up for a newer one") {
  Scene s = starting_second(with(OnChange::restart));
  change_and_settle(s);
  CHECK(s.effects() == "stop_probe 0:0:2:1, ask_drain 0:0:2:1, kill 0:0:2:1 15");
  s.ends({0, 0, 2, 1}, 15);
  CHECK(s.spawned() == Keys{{0, 0, 3, 1}});
}

TEST_CASE("restart: a start that was given up three times in a row is seen to its end") {
  Scene s = starting_second(with(OnChange::restart));
  for (std::uint32_t generation = 2; generation < 5; ++generation) {
    change_and_settle(s);
    s.ends({0, 0, generation, 1}, 15);
    REQUIRE(s.spawned() == Keys{{0, 0, generation + 1, 1}});
    s.lives({0, 0, generation + 1, 1});
  }
  change_and_settle(s);
  CHECK(s.effects().empty());
  s.ready({0, 0, 5, 1});
  s.ends({0, 0, 1, 1}, 15);
  CHECK(s.spawned() == Keys{{0, 0, 6, 1}});  // the last change is in this one
}

TEST_CASE("restart: a change cancels the build that it makes stale") {
  Scene s;
  s.configure({with(OnChange::restart, built("web"))});
  const K first{0, kBuildSlot, 1, 1};
  REQUIRE(s.spawned() == Keys{first});
  s.lives(first);
  change_and_settle(s);
  CHECK(s.effects() == "kill " + first.text() + " 15");
  s.ends(first, 15);
  CHECK(s.spawned() == Keys{{0, kBuildSlot, 1, 2}});
  CHECK(s.told(FactType::reload_build_failed) == 0);
  CHECK(s.told(FactType::service_failed) == 0);
}

TEST_CASE("restart: somebody who saves faster than the build takes gets a build") {
  Scene s;
  s.configure({with(OnChange::restart, built("web"))});
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    s.lives({0, kBuildSlot, 1, attempt});
    change_and_settle(s);
    s.ends({0, kBuildSlot, 1, attempt}, 15);
  }
  s.lives({0, kBuildSlot, 1, 4});
  change_and_settle(s);
  CHECK(s.effects().empty());
}

TEST_CASE("restart: a start that nothing but time tells from a hanging one is given up for each save") {
  Scene s;
  s.configure({watched("web")});
  s.serve({0, 0, 1, 1});
  s.changed(0);
  s.tick(std::chrono::seconds(2));
  s.lives({0, 0, 2, 1});
  for (std::uint32_t generation = 2; generation < 12; ++generation) {
    s.handle(Changed{ServiceId{0}, {std::to_string(generation)}, 1, false});
    CHECK(s.count<Kill>() == 1);
    s.ends({0, 0, generation, 1}, 15);
    REQUIRE(s.spawned() == Keys{{0, 0, generation + 1, 1}});
    s.lives({0, 0, generation + 1, 1});
    s.tick(std::chrono::milliseconds(100));
  }
}

TEST_CASE("queue: a change during a start waits for it and then starts once more") {
  Scene s = starting_second(with(OnChange::queue));
  change_and_settle(s);
  CHECK(s.effects().empty());
  s.ready({0, 0, 2, 1});
  CHECK(s.effects() == "ask_drain 0:0:1:1, kill 0:0:1:1 15");
  CHECK(s.told(FactType::reload_done) == 1);  // it serves, though the next one is on its way
  s.ends({0, 0, 1, 1}, 15);
  CHECK(s.spawned() == Keys{{0, 0, 3, 1}});
}

TEST_CASE("queue: what waits begins when the start fails") {
  Scene s = starting_second(with(OnChange::queue));
  change_and_settle(s);
  s.ends({0, 0, 2, 1}, 256);
  CHECK(s.spawned() == Keys{{0, 0, 3, 1}});
}

TEST_CASE("queue: without overlap, and in the very first start") {
  ServiceSpec spec = with(OnChange::queue);
  spec.overlap = false;
  Scene s;
  s.configure({spec});
  s.lives({0, 0, 1, 1});
  change_and_settle(s);
  CHECK(s.effects().empty());
  s.ready({0, 0, 1, 1});
  CHECK(s.effects() == "ask_drain 0:0:1:1, kill 0:0:1:1 15");
  s.ends({0, 0, 1, 1}, 15);
  CHECK(s.spawned() == Keys{{0, 0, 2, 1}});
}

TEST_CASE(
    "ignore: a change during a start is dropped and counted, one at rest waits for all that belong to it") {
  Scene s;
  s.configure({with(OnChange::ignore)});
  s.serve({0, 0, 1, 1});
  s.changed(0);
  CHECK(s.effects().empty());
  s.changed(0);
  s.tick(std::chrono::seconds(2));
  REQUIRE(s.spawned() == Keys{{0, 0, 2, 1}});
  s.lives({0, 0, 2, 1});
  change_and_settle(s);
  change_and_settle(s);
  CHECK(s.effects().empty());
  CHECK(s.told(FactType::reload_ignored) == 2);
  s.ready({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 15);
  CHECK(s.state(0) == ServiceState::ready);
  s.changed(0);
  s.tick(std::chrono::seconds(2));
  CHECK(s.spawned() == Keys{{0, 0, 3, 1}});
}

TEST_CASE("signal: every ready worker gets it, and nothing is restarted") {
  ServiceSpec spec = with(OnChange::signal, watched("web", 2));
  spec.watch->signal = SIGUSR2;
  Scene s;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  s.changed(0);
  CHECK(s.effects() == "kill 0:0:1:1 12 main, kill 0:1:1:1 12 main");
  s.changed(0);
  CHECK(s.effects().empty());
  s.tick(std::chrono::seconds(2));
  CHECK(s.effects() == "kill 0:0:1:1 12 main, kill 0:1:1:1 12 main");
  CHECK(s.told(FactType::reload_signalled) == 2);
  CHECK(s.view(0).generation == 1);
}

TEST_CASE("signal: a worker that is still starting is started again, it may have read the old files") {
  Scene s;
  s.configure({with(OnChange::signal)});
  s.lives({0, 0, 1, 1});
  s.changed(0);
  CHECK(s.effects() == "stop_probe 0:0:1:1, ask_drain 0:0:1:1, kill 0:0:1:1 15");
}

TEST_CASE("a reload by command restarts, whatever on_change says") {
  for (const OnChange on_change : {OnChange::restart, OnChange::queue, OnChange::ignore, OnChange::signal}) {
    Scene s;
    s.configure({with(on_change)});
    s.serve({0, 0, 1, 1});
    s.command(CommandVerb::reload, {0}, 1);
    CAPTURE(static_cast<int>(on_change));
    CHECK(s.spawned() == Keys{{0, 0, 2, 1}});
  }
}

TEST_CASE("await_change: what fails before it was ready waits for a change, without back-off") {
  struct Case {
    const char* what;
    bool gets_ready;
    int status;
    ServiceState then;
  };
  const Case cases[] = {
      {"exit 1 before ready", false, 256, ServiceState::failed},
      {"a signal before ready", false, 11, ServiceState::failed},
      {"a crash of one that was ready", true, 256, ServiceState::starting},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    ServiceSpec spec = watched("web");
    spec.await_change = true;
    Scene s;
    s.configure({spec});
    s.lives({0, 0, 1, 1});
    if (c.gets_ready) s.ready({0, 0, 1, 1});
    s.ends({0, 0, 1, 1}, c.status);
    CHECK(s.state(0) == c.then);
    if (c.then != ServiceState::failed) continue;
    CHECK(s.machine.next_deadline() == kNever);
    CHECK(s.view(0).reason.find("waits for a change") != std::string::npos);
    s.changed(0);
    CHECK(s.spawned() == Keys{{0, 0, 2, 1}});
    s.lives({0, 0, 2, 1});
    s.ready({0, 0, 2, 1});
    CHECK(s.state(0) == ServiceState::ready);
    CHECK(s.told(FactType::reload_done) == 1);
  }
}

TEST_CASE("await_change: a new generation that fails leaves the old one serving") {
  ServiceSpec spec = watched("web");
  spec.await_change = true;
  Scene s = starting_second(spec);
  s.ends({0, 0, 2, 1}, 256);
  CHECK(s.state(0) == ServiceState::ready);
  CHECK(s.view(0).generation == 1);
  CHECK(s.spawned().empty());
}

TEST_CASE("without a build nothing is told of one: a start that was cut short is part of the settling") {
  Scene s = starting_second(watched("web"));
  s.changed(0);
  s.tick(std::chrono::seconds(2));
  s.ends({0, 0, 2, 1}, 15);
  s.serve({0, 0, 3, 1});
  const auto done = std::find_if(s.facts.begin(), s.facts.end(),
                                 [](const Fact& f) { return f.type == FactType::reload_done; });
  REQUIRE(done != s.facts.end());
  CHECK(done->text.find("build 0,") != std::string::npos);
  CHECK(done->text.find("settle " + std::to_string(done->number) + ",") == 0);
}

TEST_CASE("a reload tells where its time went") {
  Scene s;
  s.configure({built("web")});
  const K build{0, kBuildSlot, 1, 1};
  s.lives(build);
  s.ends(build, 0);
  s.serve({0, 0, 1, 1});
  s.held(0, true);
  s.changed(0);
  s.tick(std::chrono::milliseconds(400));
  s.held(0, false);
  const K again{0, kBuildSlot, 2, 1};
  REQUIRE(s.spawned() == Keys{again});
  s.lives(again);
  s.now += std::chrono::milliseconds(1200);
  s.ends(again, 0);
  s.lives({0, 0, 2, 1});
  s.now += std::chrono::milliseconds(80);
  s.ready({0, 0, 2, 1});
  const auto done = std::find_if(s.facts.begin(), s.facts.end(),
                                 [](const Fact& f) { return f.type == FactType::reload_done; });
  REQUIRE(done != s.facts.end());
  CHECK(done->number == 1680);
  CHECK(done->text == "settle 400, build 1200, start 80");
}

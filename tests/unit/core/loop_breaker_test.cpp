// A service that writes into its own watched tree is reloaded some times, then it is said, then no more.
#include "scene.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

constexpr Duration kSoon = std::chrono::milliseconds(100);
constexpr Duration kLate = kLoopSoon + std::chrono::seconds(1);

Changed change(std::vector<std::string> paths) {
  const auto count = static_cast<std::uint32_t>(paths.size());
  return {ServiceId{0}, std::move(paths), count, false};
}

// One start, and what follows it after `later`.
bool reloads(LoopBreaker& loop, Time& now, const std::vector<std::string>& paths, Duration later = kSoon) {
  loop.reload_begins(now);
  now += later;
  return loop.judge(change(paths), false, now) == LoopBreaker::Says::reload;
}

// As many starts as are followed by these paths and lead to the next; kLoopReloads + 10 at most.
std::uint32_t reloads_in_a_row(LoopBreaker& loop, Time& now, const std::vector<std::string>& paths,
                               Duration later = kSoon) {
  std::uint32_t count = 0;
  while (count < kLoopReloads + 10 && reloads(loop, now, paths, later)) ++count;
  return count;
}

// A service whose file a.cpp changes after each start, for many starts. Returns the last generation.
std::uint32_t run_loop(Scene& s) {
  s.configure({watched("web")});
  s.serve(K(0, 0, 1, 1));
  std::uint32_t generation = 1;
  for (std::uint32_t i = 0; i < 2 * kLoopReloads; ++i) {
    s.changed(0);
    // The settle window that the change opened, or that it fell into, ends.
    while (s.spawned().empty() && s.machine.next_deadline() != kNever) s.wait();
    s.now += kSoon;
    if (s.spawned().empty()) continue;
    s.serve(K(0, 0, generation + 1, 1));
    s.ends(K(0, 0, generation, 1), 0);
    ++generation;
  }
  return generation;
}

}  // namespace

TEST_CASE("the same file after each start breaks the loop, and is said once") {
  LoopBreaker loop;
  Time now{};
  CHECK(reloads_in_a_row(loop, now, {"app.json"}) == kLoopReloads - 1);
  CHECK(loop.broken);
  CHECK(loop.judge(change({"app.json"}), false, now) == LoopBreaker::Says::broken);
  CHECK(loop.judge(change({"app.json"}), false, now + kLate) == LoopBreaker::Says::broken);
}

TEST_CASE("files that one start writes one after the other are one loop") {
  LoopBreaker loop;
  Time now{};
  std::uint32_t starts = 0;
  for (; starts < kLoopReloads + 10 && !loop.broken; ++starts) {
    loop.reload_begins(now);
    now += kSoon;
    loop.judge(change({"a.o"}), true, now);
    loop.judge(change({"b.o"}), true, now + kSoon);
  }
  CHECK(loop.broken);
  CHECK(starts == kLoopReloads);
}

TEST_CASE("another file breaks no loop and is broken by none") {
  LoopBreaker loop;
  Time now{};
  reloads_in_a_row(loop, now, {"app.json"});
  REQUIRE(loop.broken);
  CHECK(loop.judge(change({"main.py"}), false, now) == LoopBreaker::Says::reload);
  // Its start is followed by the suspect: once is enough now, and it is not said again.
  loop.reload_begins(now);
  now += kSoon;
  CHECK(loop.judge(change({"app.json"}), false, now) == LoopBreaker::Says::broken);
  CHECK(loop.judge(change({"app.json", "main.py"}), false, now) == LoopBreaker::Says::reload);
}

TEST_CASE("a person who saves two files in turn, late, or much at once is no loop") {
  LoopBreaker loop;
  Time now{};
  for (std::uint32_t i = 0; i < 4 * kLoopReloads; ++i) CHECK(reloads(loop, now, {i % 2 == 0 ? "a" : "b"}));
  CHECK(reloads_in_a_row(loop, now, {"a"}, kLate) == kLoopReloads + 10);
  std::vector<std::string> many;
  for (std::size_t i = 0; i < kLoopPathsMax; ++i) many.push_back(std::to_string(i));
  for (std::uint32_t i = 0; i < 2 * kLoopReloads; ++i) {
    loop.reload_begins(now);
    Changed more = change(many);
    more.count += 1;
    CHECK(loop.judge(more, false, now) == LoopBreaker::Says::reload);
    CHECK(loop.judge(Changed{ServiceId{0}, {}, 0, true}, false, now) == LoopBreaker::Says::reload);
  }
  CHECK(loop.paths.size() <= kLoopPathsMax);
}

TEST_CASE("a late save between two starts clears the suspicion, and so does a person who asks") {
  LoopBreaker loop;
  Time now{};
  for (std::uint32_t i = 0; i + 2 < kLoopReloads; ++i) REQUIRE(reloads(loop, now, {"a"}));
  CHECK(loop.judge(change({"a"}), false, now + kLate) == LoopBreaker::Says::reload);
  CHECK(reloads_in_a_row(loop, now, {"a"}) == kLoopReloads - 1);
  loop.forgive();
  CHECK(reloads_in_a_row(loop, now, {"a"}) == kLoopReloads - 1);
}

TEST_CASE("what somebody else has written clears the suspicion and mends a broken loop, not without end") {
  LoopBreaker loop;
  Time now{};
  Changed by_others = change({"a"});
  by_others.by_others = true;
  std::uint32_t reloaded = 0;
  for (std::uint32_t i = 0; i < 4 * kLoopReloads; ++i) {
    loop.reload_begins(now);
    now += kSoon;
    const bool seen = loop.suspects() && i % 3 == 0;  // not at every one is it plain who it was
    reloaded += loop.judge(seen ? by_others : change({"a"}), false, now) == LoopBreaker::Says::reload;
  }
  CHECK(reloaded == 4 * kLoopReloads);
  reloads_in_a_row(loop, now, {"a"});
  REQUIRE(loop.broken);
  CHECK(loop.judge(by_others, false, now + kLate) == LoopBreaker::Says::reload);
  CHECK_FALSE(loop.broken);
  // A program that has others write for it is a loop in the end.
  std::uint32_t pardoned = 0;
  for (; pardoned < 2 * kLoopPardonsMax && !loop.broken; ++pardoned) {
    loop.reload_begins(now);
    now += kSoon;
    loop.judge(by_others, false, now);
  }
  CHECK(loop.broken);
  CHECK(pardoned <= kLoopPardonsMax + kLoopReloads);
}

TEST_CASE("somebody else's edit of another file reloads once, and the loop stays broken") {
  LoopBreaker loop;
  Time now{};
  CHECK(reloads_in_a_row(loop, now, {"app.json"}) == kLoopReloads - 1);
  for (int edit = 0; edit < 3; ++edit) {
    Changed by_person = change({"main.py"});
    by_person.by_others = true;
    now += kLate;
    CHECK(loop.judge(by_person, false, now) == LoopBreaker::Says::reload);
    CHECK_FALSE(reloads(loop, now, {"app.json"}));
  }
}

TEST_CASE("many changes after one start count once") {
  LoopBreaker loop;
  Time now{};
  loop.reload_begins(now);
  for (std::uint32_t i = 0; i < 4 * kLoopReloads; ++i)
    CHECK(loop.judge(change({"a"}), false, now + kSoon) == LoopBreaker::Says::reload);
}

TEST_CASE("a long build whose output is watched is a loop, too") {
  LoopBreaker loop;
  Time now{};
  std::uint32_t builds = 0;
  for (; builds < 2 * kLoopReloads && !loop.broken; ++builds) {
    loop.reload_begins(now);
    now += std::chrono::minutes(1);
    loop.judge(change({"out/app"}), true, now);
  }
  CHECK(builds == kLoopReloads);
}

TEST_CASE("the machine reloads a service that writes its own file only so often, says so once, and goes on") {
  Scene s;
  std::uint32_t generation = run_loop(s);
  CHECK(s.told(FactType::reload_loop) == 1);
  CHECK(generation == kLoopReloads);
  s.changed(0);
  CHECK(s.effects().empty());
  s.handle(Changed{ServiceId{0}, {"main.cpp"}, 1, false});
  CHECK(s.spawned().size() == 1);
}

TEST_CASE("who has been started and not been looked at is cleared by nobody") {
  Scene s;
  const std::uint32_t generation = run_loop(s);
  s.handle(Changed{ServiceId{0}, {"main.cpp"}, 1, false, true});
  REQUIRE(s.spawned().size() == 1);
  s.now += kSoon;
  s.handle(Changed{ServiceId{0}, {"a.cpp"}, 1, false, true});  // written before anybody knew its process
  s.serve(K(0, 0, generation + 1, 1));
  s.ends(K(0, 0, generation, 1), 0);
  bool again = false;
  while (!again && s.machine.next_deadline() != kNever) {
    s.wait();
    again = !s.spawned().empty();
  }
  CHECK_FALSE(again);
  s.handle(Changed{ServiceId{0}, {"a.cpp"}, 1, false, true});  // all have been looked at
  CHECK(s.spawned().size() == 1);
}

TEST_CASE("a broken loop is broken for the next head, until a person asks for a reload") {
  Scene s;
  std::uint32_t generation = run_loop(s);
  const std::string bytes = s.machine.save();
  s.machine = Machine(1);
  REQUIRE(s.machine.restore(bytes));
  s.changed(0);
  CHECK(s.effects().empty());
  s.command(CommandVerb::reload, {0}, 7);
  CHECK(s.spawned().size() == 1);
  s.serve(K(0, 0, generation + 1, 1));
  s.ends(K(0, 0, generation, 1), 0);
  s.changed(0);
  while (s.spawned().empty() && s.machine.next_deadline() != kNever) s.wait();
  CHECK(s.spawned().size() == 1);
}

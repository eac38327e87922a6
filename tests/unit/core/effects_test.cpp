// The protocol of effects: numbers without gaps, causes, one story for each key, the same for every head.
#include <map>
#include <set>

#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

// A life with everything in it, without play(): only its effects count.
const char* const kLife[] = {
    "lives 0:b:1:1",     "exits 0:b:1:1 0",   "swept 0:b:1:1",    "lives 0:0:1:1",    "ready 0:0:1:1",
    "claim 0:0:1:1 501", "claim 0:0:1:1 502", "main 0:0:1:1 42",  "lives 0:1:1:1",    "ready 0:1:1:1",
    "reload 1 0",        "lives 0:b:2:1",     "exits 0:b:2:1 0",  "lives 0:0:2:1",    "swept 0:b:2:1",
    "lives 0:1:2:1",     "ready 0:0:2:1",     "ready 0:1:2:1",    "exits 0:1:1:1 15", "swept 0:1:1:1",
    "tick 10000",        "swept 0:0:1:1",     "exits 0:0:2:1 11", "swept 0:0:2:1",    "fails 0:0:2:2 EAGAIN",
    "tick 1000",         "lives 0:0:2:3",     "trigger 0:0:2:3",  "tick 10000",       "exits 0:0:2:3 9",
    "swept 0:0:2:3",     "tick 1000",         "kill 2 10",        "shutdown 3",       "fails 0:0:2:4 EAGAIN",
    "exits 0:1:2:1 15",  "swept 0:1:2:1",
};

}  // namespace

TEST_CASE("effects are numbered without a gap from 1 and name the event that caused them") {
  Scene s;
  std::uint64_t number = 0;
  const auto check = [&] {
    for (const Effect& e : s.out.effects) {
      CHECK(e.number == ++number);
      CHECK(e.cause == s.machine.event_number());
    }
    for (const Fact& f : s.out.facts) CHECK(f.cause == s.machine.event_number());
    CHECK(s.machine.effect_number() == number);
  };
  s.configure({built("web", 2)});
  check();
  std::uint64_t events = s.machine.event_number();
  for (const char* line : kLife) {
    INFO(line);
    Script(s, line).run();
    CHECK(s.machine.event_number() == ++events);
    check();
  }
  CHECK(number > 40);
}

TEST_CASE("one story for each key: spawned once, killed as a tree once, forgotten once and last (I9)") {
  Scene s;
  std::map<ChildKey, std::string> stories;
  std::string quit;
  const auto tell = [&] {
    for (const Effect& e : s.out.effects) {
      std::visit(
          [&](const auto& a) {
            using A = std::decay_t<decltype(a)>;
            if constexpr (std::is_same_v<A, Quit>) {
              quit += "q";
            } else if constexpr (requires { a.key; }) {
              stories[a.key] += std::is_same_v<A, Spawn>       ? 's'
                                : std::is_same_v<A, Probe>     ? 'p'
                                : std::is_same_v<A, StopProbe> ? 'P'
                                : std::is_same_v<A, AskDrain>  ? 'd'
                                : std::is_same_v<A, Kill>      ? 'k'
                                : std::is_same_v<A, KillTree>  ? 'T'
                                : std::is_same_v<A, GrantRole> ? 'g'
                                : std::is_same_v<A, Forget>    ? 'F'
                                                               : 'm';
            }
          },
          e.action);
    }
  };
  s.configure({built("web", 2)});
  tell();
  for (const char* line : kLife) {
    Script(s, line).run();
    tell();
  }
  std::string seen;
  for (const auto& [key, story] : stories) seen += key.text() + " " + story + "\n";
  CHECK(seen ==
        "0:0:1:1 spggmdkTF\n"  // the one that did not go when asked
        "0:0:2:1 spTF\n"
        "0:0:2:2 sF\n"
        "0:0:2:3 spPkTF\n"
        "0:0:2:4 sF\n"
        "0:1:1:1 spdkTF\n"
        "0:1:2:1 spkdkTF\n"
        "0:65535:1:1 sTF\n"
        "0:65535:2:1 sTF\n");
  CHECK(quit == "q");
}

TEST_CASE("a head that replays the same events makes the same effects with the same numbers") {
  Scene one;
  one.configure({built("web", 2)});
  std::vector<std::string> texts;
  std::string middle;
  std::size_t after = 0;
  for (const char* line : kLife) {
    Script(one, line).run();
    texts.push_back(one.effects() + " @" + std::to_string(one.machine.effect_number()));
    if (texts.size() == std::size(kLife) / 2) {
      middle = one.machine.save();
      after = texts.size();
    }
  }
  Scene two;
  REQUIRE(two.machine.restore(middle));
  for (std::size_t n = 0; n < std::size(kLife); ++n) {
    Scene clock;  // the same times
    if (n < after) {
      if (std::string(kLife[n]).rfind("tick", 0) == 0) Script(clock, kLife[n]).run();
      two.now += clock.now - Scene{}.now;
      continue;
    }
    Script(two, kLife[n]).run();
    CHECK(two.effects() + " @" + std::to_string(two.machine.effect_number()) == texts[n]);
  }
  CHECK(two.machine.digest() == one.machine.digest());
}

TEST_CASE("an event changes a copy of the machine and not the machine it was copied from") {
  Scene s;
  s.configure({service("web")});
  const std::string before = s.machine.save();
  Machine copy = s.machine;
  Output out;
  copy.handle(Spawned{K{0, 0, 1, 1}, 5, SpawnStage::none, 0, ""}, s.now, out);
  CHECK(out.effects.size() == 1);
  CHECK(s.machine.save() == before);
  CHECK(copy.save() != before);
  CHECK(copy.digest() != s.machine.digest());
}

TEST_CASE("a Tick that comes early, and a head that starts, change nothing but the count of events") {
  Scene s;
  s.configure({watched("web")});
  s.serve({0, 0, 1, 1});
  s.changed(0);
  s.out.clear();
  const Time due = s.machine.next_deadline();
  for (int n = 0; n < 10; ++n) play(s, {{"tick 0", "", ""}});
  s.handle(HeadStarted{3});
  CHECK(s.out.effects.empty());
  CHECK(s.machine.next_deadline() == due);
}

TEST_CASE("every wire name of a fact is there once") {
  std::set<std::string> names;
  for (int n = 0; n <= static_cast<int>(kLastFactType); ++n)
    names.insert(type_name(static_cast<FactType>(n)));
  CHECK(names.size() == static_cast<std::size_t>(kLastFactType) + 1);
  CHECK(names.count("unknown") == 0);
}

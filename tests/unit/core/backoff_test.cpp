// Back-off between crashes: at once, then exponential, jittered, capped, and anew after a healthy time (I7).
#include "core/backoff.hpp"
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

Backoff backoff(Duration initial, Duration max, std::uint32_t factor_percent, std::uint32_t jitter_percent) {
  Backoff b;
  b.initial = initial;
  b.max = max;
  b.factor_percent = factor_percent;
  b.jitter_percent = jitter_percent;
  return b;
}

// Crashes the only worker's attempt `n`, which was ready for `lived`; how long its replacement waits.
Duration crash(Scene& s, std::uint32_t n, Duration lived) {
  const K key{0, 0, 1, n};
  s.lives(key);
  s.ready(key);
  s.now += lived;
  s.ends(key, 1 << 8);
  const Time crashed_at = s.now;
  while (s.spawned().empty() && s.view(0).state == ServiceState::backoff) s.wait();
  return s.now - crashed_at;
}

}  // namespace

TEST_CASE("the delay after each crash: none, the initial one, then the factor up to the cap") {
  struct Row {
    const char* what;
    Backoff backoff;
    std::uint32_t crashes;
    Duration delay;
  };
  const Backoff usual = backoff(milliseconds(100), seconds(30), 200, 0);
  const Row rows[] = {
      {"no crash", usual, 0, Duration(0)},
      {"the first restart is at once", usual, 1, Duration(0)},
      {"the second waits the initial time", usual, 2, milliseconds(100)},
      {"the third twice as long", usual, 3, milliseconds(200)},
      {"the tenth", usual, 10, milliseconds(25600)},
      {"the cap", usual, 11, seconds(30)},
      {"far beyond the cap", usual, kCountMax, seconds(30)},
      {"the highest count there is", usual, ~0U, seconds(30)},
      {"a factor of one", backoff(seconds(2), seconds(30), 100, 0), 50, seconds(2)},
      {"a factor below one shortens nothing", backoff(seconds(2), seconds(30), 50, 0), 50, seconds(2)},
      {"a factor of zero", backoff(seconds(2), seconds(30), 0, 0), 3, seconds(2)},
      {"one and a half", backoff(seconds(2), seconds(30), 150, 0), 4, milliseconds(4500)},
      {"the highest factor", backoff(seconds(1), seconds(30), ~0U, 0), 3, seconds(30)},
      {"no initial time", backoff(Duration(0), seconds(30), 200, 0), 9, Duration(0)},
      {"an initial time above the cap", backoff(seconds(60), seconds(30), 200, 0), 2, seconds(30)},
      {"a cap of zero", backoff(seconds(1), Duration(0), 200, 0), 5, Duration(0)},
      {"a cap without end", backoff(seconds(1), Duration::max(), 200, 0), 1000, kSpanMax},
      {"a time before zero", backoff(seconds(-1), seconds(30), 200, 0), 5, Duration(0)},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(crash_delay(row.backoff, row.crashes) == row.delay);
  }
}

TEST_CASE("I7: jitter stays within its percentage, and never above the cap") {
  for (const std::uint32_t percent : {0U, 1U, 10U, 50U, 100U, 1000U}) {
    const Backoff b = backoff(seconds(1), seconds(8), 200, percent);
    std::uint64_t random = 42;
    Duration least = hours(1);
    Duration most{0};
    for (int n = 0; n < 2000; ++n) {
      for (const std::uint32_t crashes : {1U, 2U, 3U, 5U, 9U}) {
        const Duration base = crash_delay(b, crashes);
        const Duration reach = base / 100 * std::min(percent, 100U);
        const Duration delay = crash_delay(b, crashes, random);
        REQUIRE(delay >= base - reach);
        REQUIRE(delay <= std::min<Duration>(base + reach, seconds(8)));
        if (crashes != 2) continue;
        least = std::min(least, delay);
        most = std::max(most, delay);
      }
    }
    INFO(percent << " percent");
    // It is used: both ends are approached.
    const Duration reach = Duration(seconds(1)) / 100 * std::min(percent, 100U);
    CHECK(least <= seconds(1) - reach * 9 / 10);
    CHECK(most >= seconds(1) + reach * 9 / 10);
  }
}

TEST_CASE("two workers that crash together are not started together: each draws its own jitter") {
  Scene s;
  ServiceSpec spec = service("web", 2);
  spec.backoff = backoff(seconds(10), seconds(60), 200, 50);
  spec.backoff.reset = hours(1);
  s.configure({spec});
  for (std::uint32_t attempt = 1; attempt <= 2; ++attempt) {
    for (std::uint32_t slot = 0; slot < 2; ++slot) s.serve({0, slot, 1, attempt});
    for (std::uint32_t slot = 0; slot < 2; ++slot) s.ends({0, slot, 1, attempt}, 1 << 8);
  }
  play(s, {{"workers 0", "0:0:1:2 backoff, 0:1:1:2 backoff"}});
  const Duration first = s.wait();
  CHECK(s.spawned().size() == 1);
  CHECK(first >= seconds(5));
}

TEST_CASE("a worker that keeps crashing waits longer each time, and one that is killed by hand does too") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.backoff = backoff(milliseconds(100), seconds(1), 200, 0);
  s.configure({spec});
  const int expected[] = {0, 100, 200, 400, 800, 1000, 1000};
  std::uint32_t attempt = 0;
  for (const int delay : expected) {
    INFO("attempt " << attempt + 1);
    CHECK(crash(s, ++attempt, milliseconds(5)) == milliseconds(delay));
  }
  CHECK(s.view(0).restarts == 7);
}

TEST_CASE("a run that was healthy for the reset time starts the count anew") {
  struct Row {
    const char* what;
    Duration lived;
    Duration next;
  };
  const Row rows[] = {
      {"shorter by a nanosecond", seconds(10) - Duration(1), milliseconds(800)},
      {"exactly as long", seconds(10), Duration(0)},
      {"much longer", hours(100), Duration(0)},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    ServiceSpec spec = service("web");
    spec.backoff.reset = seconds(10);
    s.configure({spec});
    for (std::uint32_t n = 1; n <= 4; ++n) crash(s, n, Duration(0));
    CHECK(crash(s, 5, row.lived) == row.next);
    // And the one after that goes on from there.
    CHECK(crash(s, 6, Duration(0)) == (row.next > Duration(0) ? milliseconds(1600) : milliseconds(100)));
  }
}

TEST_CASE(
    "one that ends with success after it has served is replaced at once, however often, and is no death") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.backoff.burst = 2;
  spec.success = {3};
  s.configure({spec});
  for (std::uint32_t n = 1; n <= 20; ++n) {
    const K key{0, 0, 1, n};
    s.lives(key);
    s.ready(key);
    s.now += kWorkDone;
    s.exits(key, n % 2 == 0 ? 0 : 3 << 8);
    CHECK(s.effects() == "spawn 0:0:1:" + std::to_string(n + 1) + " recycle, kill_tree " + key.text());
    s.swept(key);
  }
  CHECK(s.view(0).restarts == 0);
  // Sooner than that it is a loop.
  crash(s, 21, Duration(0));
  const K key{0, 0, 1, 22};
  s.lives(key);
  s.ready(key);
  s.now += kWorkDone - Duration(1);
  s.exits(key, 0);
  CHECK(s.spawned().empty());
  CHECK(s.state(0) == ServiceState::failed);
}

TEST_CASE("time before it was ready is no healthy time") {
  Scene s;
  ServiceSpec spec = service("web");
  spec.ready.timeout = hours(2);
  spec.backoff.reset = seconds(10);
  s.configure({spec});
  for (std::uint32_t n = 1; n <= 3; ++n) {
    s.lives({0, 0, 1, n});
    s.now += hours(1);
    s.ends({0, 0, 1, n}, 1 << 8);
    if (n > 1) CHECK(s.wait() == milliseconds(n == 2 ? 100 : 200));
  }
}

TEST_CASE(
    "the burst limit: so many deaths in a row fail the service, a healthy run between them counts anew") {
  struct Row {
    const char* what;
    std::uint32_t burst;
    std::initializer_list<int> lived_seconds;  // one for each death
    ServiceState end;
  };
  const Row rows[] = {
      {"no limit", 0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ServiceState::starting},
      {"the first death is one too many", 1, {0}, ServiceState::failed},
      {"one below the limit", 3, {0, 0}, ServiceState::starting},
      {"at the limit", 3, {0, 0, 0}, ServiceState::failed},
      {"a healthy run in between", 3, {0, 0, 60, 0, 0}, ServiceState::starting},
      {"three more after a healthy run", 3, {0, 0, 60, 0, 0, 0}, ServiceState::failed},
      {"only healthy runs", 1, {60, 60, 60}, ServiceState::starting},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    ServiceSpec spec = service("web");
    spec.watch.emplace();  // in dev a failed service then waits for a change
    spec.backoff.burst = row.burst;
    s.configure({spec});
    std::uint32_t n = 0;
    for (const int lived : row.lived_seconds) crash(s, ++n, seconds(lived));
    CHECK(std::string(name_of(s.state(0))) == name_of(row.end));
    if (row.end == ServiceState::failed) CHECK(s.machine.next_deadline() == kNever);
  }
}

TEST_CASE("a slot that failed of too many crashes says so; the service has failed when every slot has") {
  Scene s;
  ServiceSpec spec = watched("web", 2);
  spec.backoff.burst = 2;
  s.configure({spec});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  play(s, {{"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"swept 0:0:1:1", "forget 0:0:1:1"},
           {"lives 0:0:1:2", "probe 0:0:1:2"},
           {"exits 0:0:1:2 11", "stop_probe 0:0:1:2, kill_tree 0:0:1:2",
            "child.exited, slot.failed, service.backed_off"},
           {"swept 0:0:1:2", "forget 0:0:1:2"},
           {"due", "never"},
           {"workers 0", "0:0:1:2 failed, 0:1:1:1 ready"},
           {"exits 0:1:1:1 11", "spawn 0:1:1:2 crash, kill_tree 0:1:1:1"},
           {"swept 0:1:1:1", "forget 0:1:1:1"},
           {"lives 0:1:1:2", "probe 0:1:1:2"},
           {"exits 0:1:1:2 11", "stop_probe 0:1:1:2, kill_tree 0:1:1:2", "child.exited, service.failed"},
           {"swept 0:1:1:2", "forget 0:1:1:2"},
           {"due", "never"}});
  CHECK(s.view(0).reason == "killed by SIGSEGV, 2 times in a row");
  // A change revives it, with a clean sheet.
  play(s, {{"changed 0", "spawn 0:0:2:1 change, spawn 0:1:2:1 change"}});
}

TEST_CASE("I7: a clock that jumps ahead, or an early Tick, shortens no back-off of another worker") {
  Scene s;
  s.configure({service("web")});
  crash(s, 1, Duration(0));
  s.serve({0, 0, 1, 2});
  s.ends({0, 0, 1, 2}, 1);
  play(s, {{"due", "100"}, {"tick 0", ""}, {"tick 99", ""}, {"due", "1"}, {"tick 1", "spawn 0:0:1:3 crash"}});
  // An earlier time counts as the latest seen: nothing is due sooner.
  s.serve({0, 0, 1, 3});
  s.ends({0, 0, 1, 3}, 1);
  const Time due = s.machine.next_deadline();
  s.now -= hours(1);
  play(s, {{"tick 0", ""}});
  CHECK(s.machine.next_deadline() == due);
}

TEST_CASE("a change ends a back-off: new code has a clean sheet") {
  Scene s;
  s.configure({watched("web")});
  crash(s, 1, Duration(0));
  s.serve({0, 0, 1, 2});
  s.ends({0, 0, 1, 2}, 1);
  play(s, {{"state 0", "backoff"},
           {"changed 0", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"exits 0:0:2:1 256", "stop_probe 0:0:2:1, spawn 0:0:2:2 crash, kill_tree 0:0:2:1"}});
}

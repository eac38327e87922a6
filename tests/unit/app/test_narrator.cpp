#include <algorithm>
#include <cerrno>

#include "app/beside.hpp"
#include "app/narrator.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::app;
using core::Fact;
using core::FactType;

namespace {

Fact fact(FactType type, std::int64_t number = 0, const std::string& text = {}, std::uint64_t cause = 1) {
  Fact f;
  f.type = type;
  f.service = ServiceId{0};
  f.generation = 2;
  f.pid = 4711;
  f.number = number;
  f.text = text;
  f.cause = cause;
  return f;
}

std::string lines_of(Narrator& narrator, const std::vector<Fact>& facts) {
  std::string text;
  for (const Line& line : narrator.tell(facts, [](ServiceId) { return std::string("web"); }))
    text += (text.empty() ? "" : "|") + line.text;
  return text;
}

core::Changed changed(std::vector<std::string> paths, std::uint32_t more = 0) {
  const auto count = static_cast<std::uint32_t>(paths.size()) + more;
  return {ServiceId{0}, std::move(paths), count, false};
}

}  // namespace

TEST_CASE("what happens in one moment is one line") {
  struct Case {
    const char* what;
    std::vector<Fact> facts;
    const char* expected;
  };
  const std::string how = "exited with status 1";
  const Case cases[] = {
      {"a crash",
       {fact(FactType::child_exited, 256, how)},
       "web: exited with status 1 (pid 4711, generation 2)"},
      {"an end that is no fault",
       {fact(FactType::child_exited, 0, "exited with status 0"), fact(FactType::service_done)},
       "web: done"},
      {"a failed start",
       {fact(FactType::child_exited, 256, how),
        fact(FactType::service_failed, 0, how + ", waits for a change")},
       "web: failed: exited with status 1, waits for a change"},
      {"a failed reload that leaves nothing",
       {fact(FactType::child_exited, 256, how),
        fact(FactType::reload_failed, 0, how + ", waits for a change"),
        fact(FactType::service_failed, 0, how + ", waits for a change")},
       "web: generation 2 failed: exited with status 1, waits for a change"},
      {"a failed reload beside an old generation",
       {fact(FactType::child_exited, 256, how),
        fact(FactType::reload_failed, 0, "generation 2: " + how + "; generation 1 serves on")},
       "web: generation 2 failed: exited with status 1; generation 1 serves on"},
      {"a failed build",
       {fact(FactType::child_exited, 256, how),
        fact(FactType::reload_build_failed, 256, how + "; generation 2 serves on")},
       "web: build failed: exited with status 1; generation 2 serves on"},
      {"the end of another one in the same batch is not swallowed",
       {fact(FactType::child_exited, 256, how, 1), fact(FactType::service_failed, 0, how, 2)},
       "web: exited with status 1 (pid 4711, generation 2)|web: failed: exited with status 1"},
      {"a second worker that cannot start for the same reason, after the verdict",
       {fact(FactType::child_spawn_failed, 2, "exec ./x: no such file"),
        fact(FactType::service_failed, 0, "exec ./x: no such file"),
        fact(FactType::child_spawn_failed, 2, "exec ./x: no such file")},
       "web: cannot start: exec ./x: no such file|web: failed: exec ./x: no such file"},
      {"one that ends when its work is done",
       {fact(FactType::child_exited, 0, "exited with status 0"),
        fact(FactType::child_recycled, 0, "exited with status 0")},
       "web: is replaced, it is well: exited with status 0"},
      {"a signal that is passed on",
       {fact(FactType::signal_passed_on, 12, "2 workers")},
       "SIGUSR2: passed on to 2 workers"},
      {"a signal that scales no further",
       {fact(FactType::service_scale_refused, 3, "1 to 3 workers, as its configuration says")},
       "web: stays at 3 workers: it has 1 to 3 workers, as its configuration says"},
      {"a reload",
       {fact(FactType::reload_done, 120), fact(FactType::service_ready)},
       "web: generation 2 serves after 120 ms"},
      {"a reload with parts",
       {fact(FactType::reload_building),
        fact(FactType::reload_done, 1680, "settle 400, build 1200, start 80")},
       "web: generation 2 serves after 1.7 s (settle 400 ms, build 1.2 s, start 80 ms)"},
      {"a reload for which the old one had to go first",
       {fact(FactType::reload_done, 280, "settle 0, build 200, start 80")},
       "web: generation 2 serves after 280 ms (stop 200 ms, start 80 ms)"},
      {"a reload that was all start",
       {fact(FactType::reload_done, 80, "settle 0, build 0, start 80")},
       "web: generation 2 serves after 80 ms"},
      {"ready after a crash", {fact(FactType::service_ready)}, "web: ready"},
      {"a first dropped change",
       {fact(FactType::reload_ignored, 1)},
       "web: a change during the start, ignored"},
      {"the next one",
       {fact(FactType::reload_ignored, 1), fact(FactType::reload_ignored, 2)},
       "web: a change during the start, ignored"},
      {"one of the next start",
       {fact(FactType::reload_ignored, 1), fact(FactType::reload_starting),
        fact(FactType::reload_ignored, 2)},
       "web: a change during the start, ignored|web: a change during the start, ignored"},
      {"a signal", {fact(FactType::reload_signalled, 10)}, "web: SIGUSR1 sent"},
      {"a signal without a name", {fact(FactType::reload_signalled, 40)}, "web: signal 40 sent"},
      {"hostile text", {fact(FactType::service_failed, 0, "a\x1b[2Jb")}, "web: failed: a\\x1b[2Jb"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    Narrator narrator;
    CHECK(lines_of(narrator, c.facts) == c.expected);
  }
}

namespace {

Fact in_slot(std::uint32_t slot, FactType type, std::int64_t number = 0, const std::string& text = {}) {
  Fact f = fact(type, number, text);
  f.slot = slot;
  return f;
}

Fact at(Duration after, Fact f) {
  f.time = Time{} + after;
  return f;
}

}  // namespace

TEST_CASE("what becomes of a pool is told in a line each") {
  using namespace std::chrono_literals;
  struct Case {
    const char* what;
    std::vector<Fact> facts;
    const char* expected;
  };
  const Case cases[] = {
      {"a canary",
       {fact(FactType::reload_step, 1, "canary 1 of 4, held 10000 ms")},
       "web: generation 2: canary 1 of 4, held 10.0 s"},
      {"steps that follow fast are told with the end",
       {at(1s, fact(FactType::reload_starting)), at(2s, fact(FactType::reload_step, 1, "1 of 4"))},
       ""},
      {"steps that take long are told now and then",
       {at(1s, fact(FactType::reload_starting, 3)), at(5s, fact(FactType::reload_step, 1, "1 of 4")),
        at(6s, fact(FactType::reload_step, 2, "2 of 4")), at(9s, fact(FactType::reload_step, 3, "3 of 4"))},
       "web: generation 3: 1 of 4|web: generation 3: 3 of 4"},
      {"no room",
       {fact(FactType::reload_old_first, 0, "10 MiB left, a worker takes 60 MiB")},
       "web: old workers go first, for want of memory: 10 MiB left, a worker takes 60 MiB"},
      {"back again", {fact(FactType::reload_restored, 1)}, "web: generation 1 is back on every worker"},
      {"drained", {in_slot(1, FactType::child_drained, 80)}, ""},
      {"recycled",
       {in_slot(1, FactType::child_recycled, 0, "1000 requests")},
       "web.1: is replaced, it is well: 1000 requests"},
      {"frozen",
       {in_slot(1, FactType::child_frozen, 500)},
       "web.1: a signal has stopped it (pid 4711), it is ended after 500 ms"},
      {"frozen for good",
       {fact(FactType::child_frozen)},
       "web: a signal has stopped it (pid 4711), `kill -CONT 4711` lets it go on"},
      {"unwell, once",
       {in_slot(1, FactType::child_unwell, 1, "status 500"),
        in_slot(1, FactType::child_unwell, 2, "status 500")},
       "web.1: is not well: status 500"},
      {"starved, once a minute",
       {at(1s, in_slot(1, FactType::child_starved, 0, "no answer")),
        at(31s, in_slot(1, FactType::child_starved, 0, "no answer")),
        at(62s, in_slot(1, FactType::child_starved, 0, "no answer"))},
       "web.1: is slow because others have the CPUs, and is left alone: no answer|"
       "web.1: is slow because others have the CPUs, and is left alone: no answer"},
      {"hung",
       {in_slot(1, FactType::child_hung, 500, "stopped by a signal")},
       "web.1: hangs for 500 ms (stopped by a signal), is ended and replaced (pid 4711)"},
      {"not well, by its own word",
       {in_slot(1, FactType::child_replaced, 0, "answered 503"),
        in_slot(1, FactType::child_replaced, 2000, "answered 503")},
       "web.1: is not well: answered 503, replacing it|"
       "web.1: is not well: answered 503, replacing it in 2.0 s"},
      {"a watchdog that was not fed is told as a hang",
       {in_slot(1, FactType::child_watchdog_missed, 2000)},
       ""},
      {"a start that takes too long, and what it does",
       {in_slot(1, FactType::child_not_ready, 500, "process 7 (x) uses no CPU")},
       "web.1: not ready within 500 ms: process 7 (x) uses no CPU"},
      {"a slot that failed",
       {in_slot(1, FactType::slot_failed, 0, "exited with status 78")},
       "web.1: given up: exited with status 78; the other workers go on"},
      {"scaled", {fact(FactType::service_scaled, 4, "command")}, "web: 4 workers from now on (command)"},
      {"a shared socket is shut down",
       {in_slot(kNoSlot, FactType::listener_shut, 0, "127.0.0.1:80")},
       "web: one of its processes has shut down the socket 127.0.0.1:80; it listens again"},
      {"a slot's socket is shut down",
       {in_slot(2, FactType::listener_shut, EADDRINUSE, ":80")},
       "web.2: it has shut down the socket :80; it cannot listen again: Address already in use"},
      {"a slot's socket is closed",
       {in_slot(2, FactType::slot_closed, 7, ":80"), in_slot(3, FactType::slot_closed, 1, ":80")},
       "web.2: 7 connections were waiting and were closed, this worker has no successor|"
       "web.3: 1 connection was waiting and was closed, this worker has no successor"},
      {"a canary that there is not",
       {fact(FactType::reload_step, 1, "1 of 1 (no canary with one worker)")},
       "web: generation 2: 1 of 1 (no canary with one worker)"},
      {"the first of several has its number, too",
       {in_slot(0, FactType::child_not_ready, 500), in_slot(1, FactType::child_not_ready, 500)},
       "web.0: not ready within 500 ms|web.1: not ready within 500 ms"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    Narrator narrator;
    CHECK(lines_of(narrator, c.facts) == c.expected);
  }
}

TEST_CASE("what failed is told with its last lines, once") {
  Narrator narrator({}, [](const Fact& f) {
    std::vector<std::string> words(12, "generation " + std::to_string(f.generation));
    words.push_back("ImportError\x1b[2J");
    return words;
  });
  const Fact failed =
      fact(FactType::reload_failed, 0, "generation 2: exited with status 1; generation 1 serves on");
  const std::string text = lines_of(narrator, {failed, fact(FactType::service_failed, 0, "again")});
  CHECK(text.find(
            "web: generation 2 failed: exited with status 1; generation 1 serves on|  | generation 2") == 0);
  CHECK(text.ends_with("|  | ImportError\\x1b[2J"));
  CHECK(std::count(text.begin(), text.end(), '|') == 2 * 10);
  CHECK(lines_of(narrator, {fact(FactType::service_ready, 0, {}, 2)}) == "web: ready");
}

TEST_CASE("a reload that failed has the advice in its line") {
  Narrator narrator(
      [](const Fact& f) { return f.generation == 2 ? std::string("say --no-overlap") : std::string(); });
  CHECK(lines_of(narrator, {fact(FactType::reload_failed, 0, "generation 2: no; generation 1 serves on")}) ==
        "web: generation 2 failed: no; generation 1 serves on; say --no-overlap");
}

TEST_CASE("what a start has met beside another one is in its last lines") {
  CHECK(line_of_conflict({"booting", "  OSError: [Errno 98] Address already in use", "bye"}) ==
        "OSError: [Errno 98] Address already in use");
  CHECK(line_of_conflict({"Error: listen EADDRINUSE: address already in use 127.0.0.1:9229"}) != "");
  CHECK(line_of_conflict({"sqlite3.OperationalError: database is locked"}) != "");
  CHECK(line_of_conflict({"a server is ALREADY RUNNING (pid 12)"}) != "");
  CHECK(line_of_conflict({"SyntaxError: invalid syntax", "the address of the lock"}).empty());
  CHECK(line_of_conflict({}).empty());
  CHECK(line_of_conflict({"\x1b[31mdatabase is locked"}).find('\x1b') == std::string::npos);
  std::string far = "database is locked ";
  for (int i = 0; i < 100; ++i) far += "\xc3\xa4";
  CHECK(line_of_conflict({far}).size() <= 83);
  CHECK(line_of_conflict({far}).ends_with("\xa4\xe2\x80\xa6"));
}

TEST_CASE("where a program listens is told once, and again when it is elsewhere") {
  Narrator narrator;
  CHECK(lines_of(narrator, {fact(FactType::child_ready, 20, "listens 127.0.0.1:3000"),
                            fact(FactType::service_ready)}) == "web: ready, serves on 127.0.0.1:3000");
  CHECK(lines_of(narrator, {fact(FactType::child_ready, 20, "listens 127.0.0.1:3000"),
                            fact(FactType::reload_done, 120, "", 2)}) ==
        "web: generation 2 serves after 120 ms");
  CHECK(lines_of(narrator, {fact(FactType::child_ready, 20, "listens :3001"),
                            fact(FactType::reload_done, 120, "", 3)}) ==
        "web: generation 2 serves after 120 ms, now on :3001");
  CHECK(lines_of(narrator, {fact(FactType::child_ready, 20, "unproven"),
                            fact(FactType::service_ready, 0, "", 4)}) == "web: ready");
}

TEST_CASE("a crash loop does not repeat itself, and a success ends it") {
  Narrator narrator;
  const std::vector<Fact> crash{fact(FactType::child_exited, 256, "exited with status 1")};
  CHECK_FALSE(lines_of(narrator, crash).empty());
  CHECK(lines_of(narrator, crash).empty());
  CHECK(lines_of(narrator, {fact(FactType::service_ready, 0, "", 2)}) == "web: ready");
  CHECK_FALSE(lines_of(narrator, crash).empty());
}

TEST_CASE(
    "only a build that takes long is told while it goes on, and once, however often it is begun again") {
  const auto name_of = [](ServiceId) { return std::string("web"); };
  Narrator narrator;
  CHECK(narrator.due() == kNever);
  CHECK(lines_of(narrator, {fact(FactType::reload_building)}).empty());
  CHECK(narrator.due() == Time() + kSlowBuild);
  CHECK(narrator.tell_due(Time() + kSlowBuild - std::chrono::milliseconds(1), name_of).empty());
  REQUIRE(narrator.tell_due(Time() + kSlowBuild, name_of).size() == 1);
  CHECK(narrator.due() == kNever);
  CHECK(lines_of(narrator, {fact(FactType::reload_building)}).empty());
  CHECK(narrator.due() == kNever);
  lines_of(narrator, {fact(FactType::reload_starting)});
  lines_of(narrator, {fact(FactType::reload_building)});
  CHECK(narrator.due() == Time() + kSlowBuild);
  lines_of(narrator, {fact(FactType::reload_build_failed, 256, "no")});
  CHECK(narrator.due() == kNever);
}

TEST_CASE("a reload names what changed since a generation last served") {
  Narrator narrator;
  narrator.changes().noted(changed({"/x/a.py"}));
  lines_of(narrator, {fact(FactType::reload_starting)});
  narrator.changes().noted(changed({"/x/b.py", "/x/a.py"}, 3));
  CHECK(lines_of(narrator, {fact(FactType::reload_build_failed, 0, "no")}) ==
        "web: b.py and 4 more → build failed: no");
  CHECK(lines_of(narrator, {fact(FactType::reload_failed, 0, "no", 2)}) ==
        "web: a.py → generation 2 failed: no");
  lines_of(narrator, {fact(FactType::reload_starting, 0, "", 3)});
  narrator.changes().noted(changed({"/x/late.py"}));
  CHECK(lines_of(narrator, {fact(FactType::reload_done, 5, "", 4)}) ==
        "web: a.py and 4 more → generation 2 serves after 5 ms");
  lines_of(narrator, {fact(FactType::reload_starting, 0, "", 5)});
  CHECK(narrator.changes().paths(ServiceId{0}) == std::vector<std::string>{"/x/late.py"});
  CHECK(lines_of(narrator, {fact(FactType::reload_done, 5, "", 6)}) ==
        "web: late.py → generation 2 serves after 5 ms");
}

TEST_CASE("names of changes are bounded and harmless") {
  Changes changes;
  std::vector<std::string> many;
  for (std::size_t n = 0; n < Changes::kPathsMax + 10; ++n) many.push_back("/x/f" + std::to_string(n));
  changes.noted(changed(many));
  changes.launched(ServiceId{0});
  CHECK(changes.paths(ServiceId{0}).size() == Changes::kPathsMax);
  CHECK(changes.summary(ServiceId{0}) == "f0 and 73 more");
  changes.served(ServiceId{0});
  CHECK(changes.summary(ServiceId{0}).empty());
  changes.noted(changed({"/x/\x1b]0;bad\x07"}));
  changes.launched(ServiceId{0});
  CHECK(changes.summary(ServiceId{0}).find('\x1b') == std::string::npos);
}

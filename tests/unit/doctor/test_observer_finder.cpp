// The same rules on what the observer gets all the time.
#include <catch2/catch.hpp>

#include "app/observer_finder.hpp"

using namespace runmain;
using namespace runmain::app;

namespace {

telemetry::StoredSpan span(std::uint8_t trace, std::uint8_t id, std::uint8_t parent, int kind,
                           const std::string& instance = "i") {
  telemetry::StoredSpan s;
  s.service = "web";
  s.instance_id = instance;
  s.worker.service = ServiceId{1};
  s.ids.trace[15] = trace;
  s.ids.span[7] = id;
  if (parent != 0) s.parent = std::array<std::uint8_t, 8>{0, 0, 0, 0, 0, 0, 0, parent};
  s.name = "GET /";
  s.kind = kind;
  s.start_unix_nano = id * 1000U;
  s.end_unix_nano = id * 1000U + 500U;
  return s;
}

}  // namespace

TEST_CASE("a request with two server spans is told once, with its cause and the next step", "[doctor]") {
  ObserverFinder finder;
  finder.add(span(1, 1, 0, 2));
  CHECK(finder.look().empty());
  finder.add(span(1, 2, 1, 2));
  const auto facts = finder.look();
  REQUIRE(facts.size() == 1);
  CHECK(facts[0].type == "spans.doubled");
  CHECK(facts[0].text ==
        "web: one request has two server spans: \"GET /\" and \"GET /\" (auto-and-manual); next: runmain "
        "doctor web");
  finder.add(span(2, 3, 0, 2));
  finder.add(span(2, 4, 3, 2));
  CHECK(finder.look().empty());
}

TEST_CASE("requests side by side, a call of oneself and another process's span are no faults", "[doctor]") {
  ObserverFinder finder;
  telemetry::StoredSpan outer = span(1, 1, 0, 2);
  outer.end_unix_nano = 1'000'000;
  finder.add(outer);
  finder.add(span(2, 2, 0, 2));  // meanwhile, another trace
  finder.add(span(1, 3, 1, 3));
  finder.add(span(1, 4, 3, 2));  // below a client's
  finder.add(span(1, 5, 1, 2, "another"));
  CHECK(finder.look().empty());
}

TEST_CASE("ids that two instances use are told, and what is remembered is bounded", "[doctor]") {
  ObserverFinder finder;
  for (int i = 0; i < 2000; ++i)
    finder.add(span(static_cast<std::uint8_t>(i % 250 + 1), static_cast<std::uint8_t>(i / 250 + 100), 0, 1));
  CHECK(finder.look().empty());
  telemetry::StoredSpan same = span(7, 107, 0, 1, "other");
  same.start_unix_nano += 7;
  finder.add(same);
  const auto facts = finder.look();
  REQUIRE(facts.size() == 1);
  CHECK(facts[0].text.find("(repeated-ids)") != std::string::npos);
}

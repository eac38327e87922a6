#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/otlp_text.hpp"
#include "telemetry/lifecycle.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using core::Fact;
using core::FactType;

namespace {

constexpr ServiceId kWeb{3};
const std::string kSecret = "0123456789abcdef";

Time at(int ms) { return Time(std::chrono::milliseconds(ms)); }

// Facts as the core tells them, and the spans that come of them as lines "name [start,end]
// trace/span<parent".
class Scene {
 public:
  Fact fact(FactType type, int ms, std::uint32_t generation, std::int64_t number = 0, std::string text = {}) {
    Fact f;
    f.type = type;
    f.time = at(ms);
    f.service = kWeb;
    f.generation = generation;
    f.number = number;
    f.text = std::move(text);
    return f;
  }
  void tell(FactType type, int ms, std::uint32_t generation, std::int64_t number = 0, std::string text = {}) {
    feed(fact(type, ms, generation, number, std::move(text)));
  }
  void child(FactType type, int ms, std::uint32_t slot, std::uint32_t generation, std::int64_t number = 0,
             int drained_for_ms = 0) {
    Fact f = fact(type, ms, generation, number);
    f.slot = slot;
    f.pid = static_cast<std::int32_t>(1000 + slot);
    f.drained_for = std::chrono::milliseconds(drained_for_ms);
    feed(f);
  }
  void feed(const Fact& f) {
    lifecycle.on_fact(f);
    for (const LifecycleSpan& span : lifecycle.take()) spans.push_back(otlp::read_span(to_otlp(span, 0)));
  }
  const otlp::Span& named(const std::string& name) const {
    const otlp::Span* found = nullptr;
    for (const otlp::Span& span : spans) {
      if (span.name != name) continue;
      INFO(name);
      REQUIRE(found == nullptr);
      found = &span;
    }
    INFO(name << " is not there");
    REQUIRE(found != nullptr);
    return *found;
  }
  // "settle 0-50, build 50-90"; the order of their ends.
  std::string text() const {
    std::string out;
    for (const otlp::Span& span : spans) {
      out += (out.empty() ? "" : ", ") + span.name + " " + std::to_string(span.start / 1'000'000) + "-" +
             std::to_string(span.end / 1'000'000) + (span.status == 2 ? "!" : "");
    }
    return out;
  }

  Lifecycle lifecycle{kSecret, [](ServiceId) { return std::string("web"); }};
  std::vector<otlp::Span> spans;
};

void first_start(Scene& s) {
  s.tell(FactType::service_starting, 0, 0, 0, "start");
  s.child(FactType::child_started, 5, 0, 1, 1);
  s.child(FactType::child_ready, 80, 0, 1, 75);
  s.tell(FactType::service_ready, 80, 1, 1);
}

std::string hex_of(const std::array<std::uint8_t, 16>& id) {
  return otlp::hex({reinterpret_cast<const char*>(id.data()), id.size()});
}

}  // namespace

TEST_CASE("a first start is one trace, with the start of each worker in it") {
  Scene s;
  first_start(s);
  CHECK(s.text() == "start worker 5-80, start web 0-80");
  const otlp::Span& root = s.named("start web");
  const otlp::Span& worker = s.named("start worker");
  CHECK(root.parent.empty());
  CHECK(worker.parent == root.span_id);
  CHECK(worker.trace_id == root.trace_id);
  CHECK(worker.get("process.pid") == "1000");
  CHECK(root.get("runmain.service") == "web");
  for (const otlp::Span& span : s.spans) CHECK_FALSE(span.bad);
}

// Requirement 40.
TEST_CASE("a child's TRACEPARENT names the span of its own start") {
  Scene s;
  first_start(s);
  const std::string text = to_traceparent(start_of(kSecret, {kWeb, 0, 1, 1}));
  const otlp::Span& worker = s.named("start worker");
  CHECK(text == "00-" + worker.trace_id + "-" + worker.span_id + "-01");
}

// Requirement 54.
TEST_CASE(
    "a reload is one trace: settle, build, start, drain and flush, with its files, linked to the one "
    "before") {
  Scene s;
  first_start(s);
  s.spans.clear();
  s.lifecycle.on_change(kWeb, {"/app/a.py"}, 1, at(1000));
  s.lifecycle.on_change(kWeb, {"/app/b.py", "/app/a.py"}, 2, at(1010));
  s.tell(FactType::reload_settling, 1010, 1, 2);
  s.tell(FactType::reload_building, 1050, 2, 1);
  s.tell(FactType::reload_starting, 1090, 1, 2, "change");
  s.child(FactType::child_started, 1095, 0, 2, 1);
  s.child(FactType::child_ready, 1200, 0, 2, 105);
  s.tell(FactType::reload_done, 1200, 2, 200);
  s.child(FactType::child_drained, 1300, 0, 1, 90);
  s.child(FactType::child_stopped, 1350, 0, 1, 0, 140);
  CHECK(s.text() ==
        "start worker 1095-1200, settle 1000-1050, build 1050-1090, reload web 1000-1200, drain 1210-1300, "
        "flush 1300-1350");
  const otlp::Span& root = s.named("reload web");
  for (const otlp::Span& span : s.spans) {
    INFO(span.name);
    CHECK_FALSE(span.bad);
    CHECK(span.trace_id == root.trace_id);
    CHECK(span.parent == (span.name == "reload web" ? "" : root.span_id));
  }
  CHECK(root.get("runmain.changed_files") == "[/app/a.py,/app/b.py]");
  CHECK(root.get("runmain.changed_count") == "3");
  CHECK(root.get("runmain.generation") == "2");
  REQUIRE(root.links.size() == 1);
  CHECK(root.links[0].trace_id == hex_of(coming_of(kSecret, {kWeb, 0, 1, 1}).trace));
  CHECK(s.named("flush").get("process.exit.code") == "0");
}

TEST_CASE("a build that fails is a trace of its own, and the next one another") {
  Scene s;
  first_start(s);
  s.spans.clear();
  for (std::uint32_t attempt = 1; attempt <= 2; ++attempt) {
    const int begin = static_cast<int>(attempt) * 1000;
    s.lifecycle.on_change(kWeb, {"/app/a.c"}, 1, at(begin));
    s.tell(FactType::reload_building, begin, 2, attempt);
    s.tell(FactType::reload_build_failed, begin + 100, 2, 1 << 8, "exited with status 1");
    s.tell(FactType::reload_failed, begin + 100, 1, 0, "the build failed");
  }
  CHECK(s.text() == "build 1000-1100!, reload web 1000-1100!, build 2000-2100!, reload web 2000-2100!");
  CHECK(s.spans[0].trace_id == s.spans[1].trace_id);
  CHECK(s.spans[0].trace_id != s.spans[2].trace_id);
  CHECK(s.spans[1].status_message == "the build failed: exited with status 1");
  CHECK(s.spans[0].get("process.exit.code") == "1");
}

TEST_CASE("a new generation that does not come is an error of the reload and of its start") {
  Scene s;
  first_start(s);
  s.spans.clear();
  s.lifecycle.on_change(kWeb, {"/app/a.py"}, 1, at(1000));
  s.tell(FactType::reload_starting, 1000, 1, 2, "change");
  s.child(FactType::child_started, 1010, 0, 2, 1);
  s.child(FactType::child_exited, 1100, 0, 2, 1 << 8);
  s.tell(FactType::reload_failed, 1100, 1, 0, "generation 2: exited with status 1");
  CHECK(s.text() == "start worker 1010-1100!, exit worker 1100-1100!, reload web 1000-1100!");
  CHECK(s.named("reload web").trace_id == s.named("start worker").trace_id);
}

TEST_CASE("a crash and the restart after it: when it went, by what, and how long nobody served") {
  Scene s;
  first_start(s);
  s.spans.clear();
  s.child(FactType::child_exited, 5000, 0, 1, 9);
  s.child(FactType::child_started, 5100, 0, 1, 2);
  s.child(FactType::child_ready, 5180, 0, 1, 80);
  CHECK(s.text() == "exit worker 5000-5000!, start worker 5100-5180, restart web 5000-5180");
  CHECK(s.named("exit worker").get("runmain.exit.signal") == "SIGKILL");
  const otlp::Span& again = s.named("restart web");
  CHECK(s.named("start worker").trace_id == again.trace_id);
  CHECK(s.named("start worker").parent == again.span_id);
  REQUIRE(again.links.size() == 1);
  CHECK(again.links[0].trace_id == hex_of(coming_of(kSecret, {kWeb, 0, 1, 1}).trace));
}

TEST_CASE("a stop is one trace, with the drain of each worker in it") {
  Scene s;
  first_start(s);
  s.spans.clear();
  s.tell(FactType::service_stopping, 9000, 1);
  s.child(FactType::child_stopped, 9200, 0, 1, 15, 200);
  s.tell(FactType::service_stopped, 9210, 1);
  CHECK(s.text() == "drain 9000-9200, stop web 9000-9210");
  CHECK(s.named("drain").parent == s.named("stop web").span_id);
  CHECK(s.named("drain").get("runmain.exit.signal") == "SIGTERM");
}

TEST_CASE("helpers have no spans of their own, and what a head before us began does no harm") {
  Scene s;
  s.child(FactType::child_started, 0, kBuildSlot, 1, 1);
  s.child(FactType::child_exited, 10, kBuildSlot, 1, 0);
  s.child(FactType::child_ready, 20, 0, 7, 20);
  s.child(FactType::child_drained, 30, 0, 7, 20);
  s.child(FactType::child_stopped, 40, 0, 7, 0, 20);
  s.tell(FactType::service_stopped, 50, 7);
  CHECK(s.text().empty());
  s.tell(FactType::reload_done, 2000, 8, 500, "settle 50, start 80");
  CHECK(s.text() == "reload web 1500-2000");
}

TEST_CASE("files are named up to a bound and counted all") {
  Scene s;
  first_start(s);
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < kChangedFilesMax + 10; ++i) paths.push_back("/app/" + std::to_string(i));
  s.lifecycle.on_change(kWeb, paths, 5000, at(1000));
  s.tell(FactType::reload_starting, 1000, 1, 2, "change");
  s.tell(FactType::reload_done, 1100, 2, 100);
  CHECK(s.named("reload web").get("runmain.changed_count") == "5000");
}

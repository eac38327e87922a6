// Recent spans in bounded memory.
#include <protozero/pbf_writer.hpp>

#include <algorithm>
#include <map>
#include <random>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/trace_store.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

TraceStore::Source source_of(std::uint32_t service, std::uint32_t generation) {
  return {{ServiceId{service}, 0, generation, 1}, "service" + std::to_string(service), "instance-1"};
}

bool add(TraceStore& store, const TraceStore::Source& source, const std::string& bytes) {
  const auto checked = check(kSpan, bytes);
  REQUIRE(checked.valid());
  Item item;
  item.bytes = bytes;
  item.ids = checked.ids;
  return store.add(source, item);
}

std::string span_of(const std::string& trace, std::uint64_t span, const std::string& name = "GET /") {
  SpanSpec spec;
  spec.trace = trace;
  spec.span = id8(span);
  spec.name = name;
  return make_span(spec);
}

std::vector<std::string> names(const TraceStore& store, const TraceQuery& query = {}) {
  std::vector<std::string> all;
  for (std::uint64_t at = 0;;) {
    const auto next = store.next(at, query);
    if (!next) return all;
    all.push_back(next->second->name);
    at = next->first;
  }
}

std::string number_value(std::uint32_t field, std::int64_t number) {
  std::string out;
  protozero::pbf_writer{out}.add_int64(field, number);
  return out;
}

// As the store has to behave, without its ways to be quick.
class Model {
 public:
  explicit Model(std::size_t max) : max_(max) {}
  void add(std::uint8_t trace, const std::string& name) {
    if (std::count_if(spans_.begin(), spans_.end(), [&](const auto& s) { return s.first == trace; }) >=
        static_cast<std::ptrdiff_t>(max_ / 2))
      return;
    if (std::find(begun_.begin(), begun_.end(), trace) == begun_.end()) begun_.push_back(trace);
    spans_.emplace_back(trace, name);
    while (spans_.size() > max_ && begun_.size() > 1) {
      std::erase_if(spans_, [&](const auto& s) { return s.first == begun_.front(); });
      begun_.erase(begun_.begin());
    }
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [trace, name] : spans_) all.push_back(name);
    return all;
  }

 private:
  std::size_t max_;
  std::vector<std::pair<std::uint8_t, std::string>> spans_;
  std::vector<std::uint8_t> begun_;
};

}  // namespace

TEST_CASE("a span is kept as what it says, and its attributes as text") {
  SpanSpec spec;
  std::string list;
  protozero::pbf_writer{list}.add_message(1, text_value("a"));
  protozero::pbf_writer{list}.add_message(1, number_value(3, -2));
  std::string array;
  protozero::pbf_writer{array}.add_message(5, list);
  std::string real;
  protozero::pbf_writer{real}.add_double(4, 1.5);
  std::string raw;
  protozero::pbf_writer{raw}.add_bytes(7, std::string("\0\xff", 2));
  std::string map;
  protozero::pbf_writer{map}.add_message(6, std::string());
  spec.attributes = {attribute("text", "héllo"),
                     key_value("number", number_value(3, -7)),
                     key_value("yes", number_value(2, 1)),
                     key_value("list", array),
                     key_value("real", real),
                     key_value("raw", raw),
                     key_value("map", map),
                     key_value("nothing", "")};
  std::string bytes = make_span(spec);
  protozero::pbf_writer out{bytes};
  out.add_bytes(kSpanParentId, id8(9));
  {
    protozero::pbf_writer status(out, kSpanStatus);
    status.add_string(2, "no");
    status.add_enum(3, 2);
  }
  REQUIRE(check(kSpan, bytes).valid());
  const auto span = decode_span(bytes, {});
  REQUIRE(span.has_value());
  CHECK(span->name == "GET /");
  CHECK(span->kind == 2);
  CHECK(span->start_unix_nano == 1000);
  CHECK(span->end_unix_nano == 2000);
  CHECK(span->status == 2);
  CHECK(span->status_text == "no");
  REQUIRE(span->parent.has_value());
  CHECK(std::equal(span->parent->begin(), span->parent->end(), id8(9).begin(),
                   [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); }));
  const std::vector<std::pair<std::string, std::string>> expected{
      {"text", "héllo"}, {"number", "-7"},  {"yes", "true"}, {"list", "[a, -2]"},
      {"real", "1.5"},   {"raw", "0x00ff"}, {"map", "{…}"},  {"nothing", ""}};
  CHECK(span->attributes == expected);
  CHECK_FALSE(decode_span("\x0a\xff", {}).has_value());
}

TEST_CASE("long text is cut where a character ends, and of attributes so many are kept") {
  TraceStoreLimits limits;
  limits.text = 10;
  limits.attributes = 2;
  SpanSpec spec;
  spec.name = "ééééééé";  // two bytes each
  for (int i = 0; i < 5; ++i) spec.attributes.push_back(attribute("k" + std::to_string(i), "0123456789abc"));
  const auto span = decode_span(make_span(spec), limits);
  REQUIRE(span.has_value());
  CHECK(span->name == "ééé…");
  CHECK(span->attributes.size() == 2);
  CHECK(span->attributes_left_out == 3);
  CHECK(span->attributes[0].second == "0123456…");
}

TEST_CASE("a store that is off keeps nothing and forgets what it had") {
  TraceStore store;
  CHECK_FALSE(add(store, source_of(1, 1), span_number(1)));
  CHECK(store.spans() == 0);
  store.set_on(true);
  add(store, source_of(1, 1), span_number(1));
  CHECK(store.spans() == 1);
  CHECK(store.bytes() > 0);
  store.set_on(false);
  CHECK(store.spans() == 0);
  CHECK(store.bytes() == 0);
}

TEST_CASE("spans are found by service and generation, in the order of their coming") {
  TraceStore store;
  store.set_on(true);
  for (std::uint64_t n = 1; n <= 6; ++n) {
    add(store, source_of(n % 2 == 0 ? 1 : 2, n <= 4 ? 1 : 2), span_number(n));
  }
  CHECK(names(store).size() == 6);
  CHECK(names(store, {"service1", {}, false}) == std::vector<std::string>{"span 2", "span 4", "span 6"});
  CHECK(names(store, {"service1", 2, false}) == std::vector<std::string>{"span 6"});
  CHECK(names(store, {{}, 1, false}).size() == 4);
  CHECK(names(store, {"nobody", {}, false}).empty());
}

TEST_CASE("spans with the ids of others are duplicates, both of them") {
  TraceStore store;
  store.set_on(true);
  CHECK_FALSE(add(store, source_of(1, 1), span_of(id16(1), 1, "one")));
  CHECK_FALSE(add(store, source_of(1, 1), span_of(id16(2), 1, "another trace")));
  CHECK(add(store, source_of(1, 2), span_of(id16(1), 1, "again")));
  CHECK(names(store, {{}, {}, true}) == std::vector<std::string>{"one", "again"});
  CHECK(store.counters().duplicates == 1);
}

TEST_CASE("over the limit the oldest trace goes as a whole, counted") {
  TraceStoreLimits limits;
  limits.spans = 6;
  TraceStore store(limits);
  store.set_on(true);
  for (std::uint64_t n = 1; n <= 2; ++n) add(store, source_of(1, 1), span_of(id16(1), n, "old"));
  for (std::uint64_t n = 1; n <= 4; ++n) {
    add(store, source_of(1, 1), span_of(id16(static_cast<std::uint8_t>(1 + n)), n, "new"));
  }
  CHECK(store.spans() == 6);
  add(store, source_of(1, 1), span_of(id16(9), 1, "newest"));
  CHECK(names(store) == std::vector<std::string>{"new", "new", "new", "new", "newest"});
  CHECK(store.counters().traces_gone == 1);
  CHECK(store.counters().spans_gone == 2);
}

TEST_CASE("a trace has at most half of the room") {
  TraceStoreLimits limits;
  limits.spans = 10;
  TraceStore store(limits);
  store.set_on(true);
  for (std::uint64_t n = 1; n <= 20; ++n) add(store, source_of(1, 1), span_of(id16(1), n));
  CHECK(store.spans() == 5);
  CHECK(store.counters().spans_refused == 15);
}

TEST_CASE("bytes are bounded whatever spans say") {
  const std::uint64_t seed = 99;
  CAPTURE(seed);
  Random random(seed);
  TraceStoreLimits limits;
  limits.bytes = 64U << 10U;
  TraceStore store(limits);
  store.set_on(true);
  for (std::uint64_t n = 1; n <= 2000; ++n) {
    SpanSpec spec;
    spec.trace = id16(static_cast<std::uint8_t>(1 + random.below(50)));
    spec.span = id8(n);
    spec.name = std::string(random.below(1000), 'n');
    for (std::uint64_t i = random.below(60); i > 0; --i) {
      spec.attributes.push_back(attribute("k" + std::to_string(i), std::string(random.below(400), 'v')));
    }
    add(store, source_of(1, 1), make_span(spec));
    REQUIRE(store.bytes() <= limits.bytes);
  }
  CHECK(store.spans() > 0);
  CHECK(store.counters().spans_gone > 0);
}

TEST_CASE("who follows is told of each new span") {
  TraceStore store;
  store.set_on(true);
  int told = 0;
  auto heard = store.on_added([&] { ++told; });
  for (std::uint64_t n = 1; n <= 3; ++n) add(store, source_of(1, 1), span_number(n));
  CHECK(told == 3);
  heard.reset();
  add(store, source_of(1, 1), span_number(4));
  CHECK(told == 3);
}

TEST_CASE(
    "long traces and short ones in any order: what is there and in which order is as with the simplest "
    "store") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    TraceStoreLimits limits;
    limits.spans = 200;
    TraceStore store(limits);
    store.set_on(true);
    Model model(limits.spans);
    for (std::uint64_t n = 1; n <= 8000; ++n) {
      // A few that go on for long between many of a span or two.
      const auto trace =
          static_cast<std::uint8_t>(random.below(3) == 0 ? 1 + random.below(3) : 10 + n / 2 % 200);
      add(store, source_of(1, 1), span_of(id16(trace), n, std::to_string(n)));
      model.add(trace, std::to_string(n));
      if (n % 97 == 0) REQUIRE(names(store) == model.names());
      REQUIRE(store.spans() <= limits.spans);
    }
    CHECK(names(store) == model.names());
    CHECK(store.counters().duplicates == 0);
  }
}

TEST_CASE("a span that comes again is found in a trace of any length") {
  TraceStore store;
  store.set_on(true);
  for (std::uint64_t n = 1; n <= 100; ++n) {
    CHECK_FALSE(add(store, source_of(1, 1), span_of(id16(1), n, "first")));
    for (std::uint64_t again : {std::uint64_t{1}, n}) {
      CHECK(add(store, source_of(1, 1), span_of(id16(1), again, "again")));
    }
  }
  CHECK(store.counters().duplicates == 200);
  CHECK(names(store, {{}, {}, true}).size() == 300);
}

TEST_CASE("however fast spans come, those of a trace that is here are kept") {
  using namespace std::chrono_literals;
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  TraceStoreLimits limits;
  limits.spans = 50;
  TraceStore store(limits);
  store.set_on(true);
  Time now{100s};
  std::uint64_t spans = 0;
  std::uint64_t traces = 0;
  std::uint64_t left_out = 0;
  constexpr unsigned kRates[] = {20, 100, 400, 1600};  // each for as long as the store takes to turn over
  unsigned rate = 400;
  for (int second = 0; second < 120; ++second) {
    store.at(now += 1s);
    if (second % 10 == 9) rate = kRates[random() % std::size(kRates)];
    for (unsigned n = rate; n > 0; --n) {
      if (random() % 2 == 0) ++traces;
      const std::uint64_t trace = traces - std::min<std::uint64_t>(traces, random() % 300);
      std::string id = id16(1);
      id.replace(0, sizeof trace, reinterpret_cast<const char*>(&trace), sizeof trace);
      const auto here = names(store);
      const auto before = store.counters().spans_left_out;
      add(store, source_of(1, 1), span_of(id, ++spans, std::to_string(trace)));
      const bool was_left_out = store.counters().spans_left_out != before;
      left_out += was_left_out ? 1 : 0;
      if (was_left_out) CHECK(std::find(here.begin(), here.end(), std::to_string(trace)) == here.end());
    }
  }
  CHECK(left_out > 0);
}

TEST_CASE("a trace that began before a flood stays whole, however often the flood swells and falls") {
  using namespace std::chrono_literals;
  TraceStoreLimits limits;
  limits.spans = 200;
  TraceStore store(limits);
  store.set_on(true);
  Time now{100s};
  constexpr std::uint8_t kEarly = 20;
  for (std::uint8_t n = 1; n <= kEarly; ++n) add(store, source_of(1, 1), span_of(id16(n), 1));
  // One that has all the room of a trace: what comes is counted, and nothing goes for it.
  std::uint64_t span = 0;
  const auto offer = [&](int count) {
    for (int i = 0; i < count; ++i) add(store, source_of(1, 1), span_of(id16(100), ++span));
    store.at(now += 1s);
  };
  for (int i = 0; i < 40; ++i) {
    offer(400);
    offer(100);
  }
  for (std::uint8_t n = 1; n <= kEarly; ++n) add(store, source_of(1, 1), span_of(id16(n), 2));
  CHECK(store.counters().spans_left_out == 0);
  CHECK(store.counters().traces_gone == 0);
  CHECK(store.counters().spans_refused > 10'000);
}

TEST_CASE("of a flood whole traces are kept, so that the room lasts; of what comes slowly all are") {
  using namespace std::chrono_literals;
  TraceStoreLimits limits;
  limits.spans = 500;
  TraceStore store(limits);
  store.set_on(true);
  Time now{100s};
  std::uint64_t number = 0;
  std::map<std::string, int> spans_of;
  // A thousand traces of two spans a second: to last for 5 s the room has to be twenty times as large.
  for (int ms = 0; ms < 10'000; ++ms) {
    now += 1ms;
    store.at(now);
    std::string id = id16(1);
    ++number;
    id.replace(0, sizeof number, reinterpret_cast<const char*>(&number), sizeof number);
    for (std::uint64_t n = 1; n <= 2; ++n) add(store, source_of(1, 1), span_of(id, n, std::to_string(ms)));
  }
  for (const std::string& name : names(store)) ++spans_of[name];
  for (const auto& [name, count] : spans_of) CHECK(count == 2);
  CHECK(std::stoi(names(store).front()) < 10'000 - 3'000);
  const auto left_out = store.counters().spans_left_out;
  CHECK(left_out > 15'000);
  CHECK(left_out + store.counters().added == 20'000);
  // A span a second is kept as soon as a second without a flood was counted.
  for (int s = 0; s < 2; ++s) store.at(now += 1s);
  for (int s = 0; s < 5; ++s) {
    now += 1s;
    store.at(now);
    add(store, source_of(1, 1), span_of(id16(static_cast<std::uint8_t>(200 + s)), 1, "slow"));
  }
  const auto all = names(store);
  CHECK(std::count(all.begin(), all.end(), "slow") == 5);
  CHECK(store.counters().spans_left_out == left_out);
}

// Any bytes in every parser: nothing is read outside of them (sanitizers see that), and what comes out is
// valid.
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "child_runtime/propagation.hpp"
#include "support/catch.hpp"

namespace {

constexpr int kRounds = 20'000;
constexpr std::uint32_t kAll = RUNMAIN_PROPAGATE_TRACECONTEXT | RUNMAIN_PROPAGATE_BAGGAGE |
                               RUNMAIN_PROPAGATE_B3 | RUNMAIN_PROPAGATE_B3MULTI;

const std::string kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

// A text in a block of exactly its size.
struct Exact {
  explicit Exact(const std::string& from) : size(from.size()), bytes(new char[from.size()]) {
    from.copy(bytes.get(), size);
  }
  runmain_text text() const { return {bytes.get(), size}; }

  std::size_t size;
  std::unique_ptr<char[]> bytes;
};

class Source {
 public:
  Source() : seed_(std::random_device{}()), random_(seed_) {}
  std::uint32_t seed() const { return seed_; }
  std::size_t below(std::size_t n) { return random_() % n; }

  // Something like a header: pieces that mean something, and bytes that do not.
  std::string text() {
    static const std::vector<std::string> pieces = {kParent,
                                                    "cc",
                                                    "ff",
                                                    "-",
                                                    "=",
                                                    ",",
                                                    ";",
                                                    " ",
                                                    "\t",
                                                    "%",
                                                    "%4",
                                                    "%C3%A4",
                                                    "%ff",
                                                    "%00",
                                                    "key",
                                                    "k=v",
                                                    "a=1,",
                                                    "k@t",
                                                    std::string(256, 'z'),
                                                    std::string(130, 'v'),
                                                    "\"",
                                                    "\\",
                                                    "0",
                                                    "0af7651916cd43dd8448eb211c80319c",
                                                    "b7ad6b7169203331",
                                                    std::string("\0", 1),
                                                    "\xc3",
                                                    "\x7f"};
    std::string out;
    for (std::size_t n = below(12); n > 0; --n) {
      if (below(4) == 0) {
        out += static_cast<char>(below(256));
      } else {
        out += pieces[below(pieces.size())];
      }
    }
    if (below(3) == 0 && !out.empty()) out[below(out.size())] = static_cast<char>(below(256));
    return out;
  }
  // A traceparent with one byte changed finds more than noise.
  std::string parent() {
    std::string out = kParent;
    if (below(2) == 0)
      out[below(out.size())] = static_cast<char>(below(2) == 0 ? '0' + below(50) : below(256));
    if (below(4) == 0) out += text();
    return out;
  }

 private:
  std::uint32_t seed_;
  std::mt19937 random_;
};

void check_span(const runmain_span_context& span) {
  char out[RUNMAIN_TRACEPARENT_SIZE + 1];
  REQUIRE(runmain_traceparent_format(&span, out) == RUNMAIN_TRACEPARENT_SIZE);
  runmain_span_context again{};
  REQUIRE(runmain_traceparent_parse({out, RUNMAIN_TRACEPARENT_SIZE}, &again) == 0);
  REQUIRE(std::memcmp(&again, &span, sizeof span) == 0);
}

// What is kept is valid, and is read again as it is.
void check_state(const runmain_trace_state& state) {
  REQUIRE(state.size <= RUNMAIN_TRACE_STATE_MAX);
  REQUIRE(state.members <= RUNMAIN_TRACE_STATE_MEMBERS_MAX);
  const Exact kept(std::string(state.text, state.size));
  const runmain_text value = kept.text();
  runmain_trace_state again{};
  REQUIRE(runmain_trace_state_parse(&value, 1, &again) == 0);
  REQUIRE(again.members == state.members);
  REQUIRE(std::string(again.text, again.size) == std::string(state.text, state.size));
}

void check_baggage(const runmain_baggage& baggage) {
  REQUIRE(baggage.size <= RUNMAIN_BAGGAGE_MAX);
  const Exact kept(std::string(baggage.text, baggage.size));
  const runmain_text value = kept.text();
  auto again = std::make_unique<runmain_baggage>();
  REQUIRE(runmain_baggage_parse(&value, 1, again.get()) == baggage.members);
  REQUIRE(std::string(again->text, again->size) == std::string(baggage.text, baggage.size));
  std::size_t members = 0;
  runmain_baggage_member member{};
  for (std::size_t at = 0; runmain_baggage_next(&baggage, &at, &member) != 0; ++members) {
    REQUIRE(runmain_percent_decode(member.value, nullptr, 0) <= member.value.size);
    runmain_baggage_property property{};
    for (std::size_t p = 0; runmain_baggage_next_property(member.properties, &p, &property) != 0;) {
      REQUIRE(property.key.size > 0);
    }
  }
  REQUIRE(members == baggage.members);
}

}  // namespace

// Requirement 34.
TEST_CASE("any bytes as headers give a valid context or none") {
  Source source;
  INFO("seed " << source.seed());
  static const std::vector<std::string> names = {"traceparent",  "tracestate",  "baggage",      "b3",
                                                 "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"};
  int spans = 0;
  int baggages = 0;
  runmain::Propagated context;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::pair<std::string, Exact>> headers;
    for (std::size_t n = source.below(6); n > 0; --n) {
      const std::string& name = names[source.below(names.size())];
      headers.emplace_back(name, Exact(name == "traceparent" ? source.parent() : source.text()));
    }
    const auto get = [&](std::string_view name, std::size_t index) -> std::optional<std::string_view> {
      for (const auto& [key, value] : headers) {
        if (key == name && index-- == 0) return std::string_view(value.bytes.get(), value.size);
      }
      return std::nullopt;
    };
    const int found = runmain::extract(get, context, kAll);
    if ((found & RUNMAIN_EXTRACTED_SPAN) != 0) {
      ++spans;
      check_span(context.span);
      check_state(context.state.c());
    }
    if ((found & RUNMAIN_EXTRACTED_BAGGAGE) != 0) {
      ++baggages;
      check_baggage(context.baggage.c());
    }
  }
  CHECK(spans > kRounds / 100);  // else the bytes would be too wild to test anything
  CHECK(baggages > kRounds / 100);
}

TEST_CASE("any bytes as keys and values leave a valid tracestate and baggage") {
  Source source;
  INFO("seed " << source.seed());
  runmain_trace_state state{};
  auto baggage = std::make_unique<runmain_baggage>();
  for (int round = 0; round < kRounds; ++round) {
    const Exact key(source.below(3) == 0 ? source.text() : "k" + std::to_string(source.below(40)));
    const Exact value(source.text());
    const Exact properties(source.below(3) == 0 ? source.text() : "");
    if (source.below(5) == 0) {
      runmain_trace_state_remove(&state, key.text());
      runmain_baggage_remove(baggage.get(), key.text());
    } else {
      runmain_trace_state_set(&state, key.text(), value.text());
      runmain_baggage_set(baggage.get(), key.text(), value.text(), properties.text());
    }
    check_state(state);
    if (round % 16 == 0) check_baggage(*baggage);
  }
}

TEST_CASE("any bytes in values that somebody filled by hand are safe to read") {
  Source source;
  INFO("seed " << source.seed());
  auto baggage = std::make_unique<runmain_baggage>();
  for (int round = 0; round < kRounds / 20; ++round) {
    runmain_trace_state state{};
    const std::string noise = source.text() + source.text() + source.text();
    noise.copy(state.text, sizeof state.text);
    noise.copy(baggage->text, sizeof baggage->text);
    state.size = static_cast<std::uint16_t>(source.below(65536));
    state.members = static_cast<std::uint16_t>(source.below(65536));
    baggage->size = static_cast<std::uint16_t>(source.below(65536));
    baggage->members = static_cast<std::uint16_t>(source.below(65536));
    runmain_text value{};
    runmain_trace_state_get(&state, {"k", 1}, &value);
    runmain_trace_state_set(&state, {"k", 1}, {"v", 1});
    check_state(state);
    runmain_baggage_member member{};
    runmain_baggage_get(baggage.get(), {"k", 1}, &member);
    runmain_baggage_remove(baggage.get(), {"k", 1});
    runmain_baggage_set(baggage.get(), {"k", 1}, {"v", 1}, {nullptr, 0});
    for (std::size_t at = 0; runmain_baggage_next(baggage.get(), &at, &member) != 0;)
      REQUIRE(at <= RUNMAIN_BAGGAGE_MAX);
  }
}

TEST_CASE("any bytes are normalised, encoded and decoded within their room") {
  Source source;
  INFO("seed " << source.seed());
  for (int round = 0; round < kRounds; ++round) {
    const Exact text(source.text());
    const std::size_t size = source.below(16);
    const std::unique_ptr<char[]> out(new char[size]);
    for (const auto convert : {runmain_percent_decode, runmain_percent_encode, runmain_environment_name}) {
      const std::size_t whole = convert(text.text(), out.get(), size);
      if (size > 0) REQUIRE(out[whole < size ? whole : size - 1] == '\0');
    }
  }
}

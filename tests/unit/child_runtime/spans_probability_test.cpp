// ProbabilitySampler (requirement 31; OpenTelemetry specification, trace/sdk.md,
// trace/tracestate-probability-sampling and trace/tracestate-handling): decisions, what becomes of the
// tracestate, and what is told.
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <set>
#include <string>

#include "child_runtime/propagation.h"
#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

constexpr bool kParentBased = false;
constexpr bool kOfAll = true;  // the parent's decision is ignored

void use(double probability, bool ignore_parent) {
  if (!runmain::set_sampler(runmain::SamplerKind::probability, probability, ignore_parent)) abort();
}

std::string description() {
  std::string text(runmain_sampler_description(nullptr, 0), '\0');
  runmain_sampler_description(text.data(), text.size() + 1);
  return text;
}

struct Parent {
  std::string state;
  std::uint8_t random_byte = 0;  // the first of the 7 random ones of its trace id
  std::uint8_t flags = RUNMAIN_FLAG_SAMPLED | RUNMAIN_FLAG_RANDOM;
  bool remote = true;

  runmain::Context context() const {
    runmain::SpanContext span{};
    span.trace_id[0] = 0xff;  // …
    span.trace_id[8] = 0xff;  // none of the random ones
    span.trace_id[9] = random_byte;
    span.span_id[0] = 1;
    span.flags = flags;
    span.is_remote = remote ? 1 : 0;
    runmain_shared* shared = state.empty() ? nullptr : runmain_shared_make(state.data(), state.size());
    auto made = runmain::Context::adopt(runmain_context_make(&span, shared, nullptr));
    runmain_shared_release(shared);
    return made;
  }
};

std::string state_of(const runmain_context* context) {
  runmain_shared* state = runmain_context_trace_state(context);
  return state == nullptr ? "" : std::string(static_cast<char*>(runmain_shared_bytes(state)), state->size);
}

// What a child of it is: "sampled" or "dropped", and its tracestate.
std::string child_of(const Parent& parent) {
  const auto span = runmain::start_span("child", {.parent = parent.context()});
  const auto context = span.context();
  const std::string state = state_of(context.get());
  return (span.is_recording() ? "sampled" : "dropped") + (state.empty() ? "" : " " + state);
}

// The same in a process of its own with that sampler.
std::string child_with(double probability, bool ignore_parent, const Parent& parent) {
  const TestMailbox mailbox;
  return in_child(mailbox, [&] {
    use(probability, ignore_parent);
    return child_of(parent);
  });
}

std::string root_state(double probability) {
  use(probability, kParentBased);
  for (int i = 0; i < 10'000'000; ++i) {
    const auto span = runmain::start_span("root");
    if (!span.is_recording()) continue;
    const auto context = span.context();
    return state_of(context.get());
  }
  return "never";
}

// What a child process writes to stderr while it does `body`.
std::string told(const std::function<void()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const TestMailbox mailbox;
  Child child([&] {
    dup2(ends[1], STDERR_FILENO);
    attach(mailbox);
    body();
    return std::string();
  });
  close(ends[1]);
  child.finish();
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  return text;
}

std::string members(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i > 0 ? ",k" : "k") + std::to_string(i) + "=v";
  return text;
}

}  // namespace

// Requirement 31. The specification's table, with 4 digits.
TEST_CASE("a probability is a threshold of 4 digits without trailing zeros") {
  const TestMailbox mailbox({4, 1, 1U << 24U, 16384, 256});
  CHECK(in_child(mailbox, [] {
          std::string text;
          for (const double one_in : {1, 2, 3, 4, 5, 8, 10, 16, 100, 1000, 10000})
            text += root_state(1 / one_in).substr(3) + " ";
          return text + root_state(0.9999999);
        }) == "th:0 th:8 th:aaab th:c th:cccd th:e th:e666 th:f th:fd70a th:ffbe77 th:fff9724 ot=th:0");
}

// Requirement 31.
TEST_CASE("the last 56 bits of the trace id decide, and what is in front of them does not") {
  CHECK(child_with(0.25, kOfAll, {"", 0xbf}) == "dropped");
  CHECK(child_with(0.25, kOfAll, {"", 0xc0}) == "sampled ot=th:c");
  CHECK(child_with(1, kOfAll, {"", 0}) == "sampled ot=th:0");
  CHECK(child_with(0, kOfAll, {"", 0xff}) == "dropped");
  CHECK(child_with(std::ldexp(1, -56), kOfAll, {"", 0xff}) == "dropped");
  CHECK(child_with(std::ldexp(1, -56), kOfAll, {"ot=rv:ffffffffffffff", 0}) ==
        "sampled ot=rv:ffffffffffffff;th:ffffffffffffff");
}

// Requirement 31.
TEST_CASE("a higher probability has all that a lower one has, and about as many as asked for") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          std::set<int> few;
          std::set<int> many;
          for (auto* sampled : {&few, &many}) {
            use(sampled == &few ? 0.1 : 0.5, kOfAll);
            std::uint64_t x = 1;
            for (int i = 0; i < 2000; ++i) {
              x = x * 6364136223846793005ULL + 1442695040888963407ULL;
              if (child_of({"", static_cast<std::uint8_t>(x >> 40U)})[0] == 's') sampled->insert(i);
            }
          }
          for (const int i : few) {
            if (many.count(i) == 0) return std::string("not all");
          }
          const bool about = std::abs(static_cast<int>(few.size()) - 200) < 60 &&
                             std::abs(static_cast<int>(many.size()) - 1000) < 120;
          return std::string(about ? "as asked" : "another probability");
        }) == "as asked");
}

// Requirement 31: ot=rv is never overwritten.
TEST_CASE("rv goes before the trace id and stays as it is") {
  CHECK(child_with(0.5, kOfAll, {"ot=rv:7fffffffffffff", 0xff}) == "dropped ot=rv:7fffffffffffff");
  CHECK(child_with(0.5, kOfAll, {"ot=rv:80000000000000", 0}) == "sampled ot=rv:80000000000000;th:8");
  // What is none does not count, and stays too.
  for (const std::string wrong : {"8", "8000000000000G", "8000000000000A", "800000000000000", ""}) {
    CHECK(child_with(0.5, kOfAll, {"ot=rv:" + wrong, 0}) == "dropped ot=rv:" + wrong);
    CHECK(child_with(0.5, kOfAll, {"ot=rv:" + wrong, 0xff}) == "sampled ot=rv:" + wrong + ";th:8");
  }
}

// Requirement 31.
TEST_CASE("the threshold is written behind the other sub-keys, and ot moves to the front") {
  CHECK(child_with(0.5, kOfAll, {"a=1,ot=p:8;th:c;k1:7,b=2", 0xff}) == "sampled ot=p:8;k1:7;th:8,a=1,b=2");
  CHECK(child_with(0.5, kOfAll, {"a=1,b=2", 0xff}) == "sampled ot=th:8,a=1,b=2");
  CHECK(child_with(0.5, kOfAll, {"ot=th:c;th:e", 0xff}) == "sampled ot=th:8");
  // The same again, in whatever form: nothing changes, not even the order.
  CHECK(child_with(0.5, kOfAll, {"a=1,ot=th:8;p:8", 0xff}) == "sampled a=1,ot=th:8;p:8");
  CHECK(child_with(0.5, kOfAll, {"a=1,ot=th:800", 0xff}) == "sampled a=1,ot=th:800");
}

// Requirement 31.
TEST_CASE("a threshold is erased where the span is not sampled, and ot with its last sub-key") {
  CHECK(child_with(0.5, kOfAll, {"a=1,ot=th:c;p:8", 0}) == "dropped ot=p:8,a=1");
  CHECK(child_with(0.5, kOfAll, {"a=1,ot=th:c", 0}) == "dropped a=1");
  CHECK(child_with(0.5, kOfAll, {"ot=th:c", 0}) == "dropped");
  CHECK(child_with(0.5, kOfAll, {"ot=th:nothing", 0}) == "dropped");
  CHECK(child_with(0.5, kOfAll, {"a=1,ot=p:8", 0}) == "dropped a=1,ot=p:8");
}

// Requirements 30 and 31: tracestate-probability-sampling, "Parent-based threshold".
TEST_CASE("a parent's threshold goes on, but for a remote one that contradicts its own decision") {
  const std::uint8_t random = RUNMAIN_FLAG_RANDOM;
  CHECK(child_with(0.5, kParentBased, {"a=1,ot=th:c", 0xc0}) == "sampled a=1,ot=th:c");
  CHECK(child_with(0.5, kParentBased, {"a=1,ot=th:c", 0xbf}) == "sampled a=1");
  CHECK(child_with(0.5, kParentBased, {"ot=th:c;rv:c0000000000000", 0}) ==
        "sampled ot=th:c;rv:c0000000000000");
  CHECK(child_with(0.5, kParentBased, {"ot=th:c;rv:bfffffffffffff", 0xff}) == "sampled ot=rv:bfffffffffffff");
  CHECK(child_with(0.5, kParentBased, {"a=1,ot=th:c", 0xc0, random}) == "dropped a=1");
  CHECK(child_with(0.5, kParentBased, {"a=1,ot=th:c", 0xbf, random}) == "dropped a=1,ot=th:c");
  CHECK(child_with(0.5, kParentBased, {"a=1", 0}) == "sampled a=1");
  CHECK(child_with(0.5, kParentBased, {"ot=th:c", 0xbf, RUNMAIN_FLAG_SAMPLED, false}) == "sampled ot=th:c");
  // Whatever samples roots.
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] { return child_of({"ot=th:c", 0xbf}); }) == "sampled");
}

// Requirement 33: no more than 32 members and 256 bytes of a value.
TEST_CASE("what finds no room beside a threshold is dropped from the end and counted") {
  TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          use(0.5, kOfAll);
          const bool fits = child_of({members(31), 0xff}) == "sampled ot=th:8," + members(31);
          const bool last = child_of({members(32), 0xff}) == "sampled ot=th:8," + members(31);
          return std::string(fits ? "fits" : "lost") + (last ? ", the last one went" : ", no");
        }) == "fits, the last one went");
  CHECK(mailbox.lane(0).cut == 1);
  // ot would be too long with it: the old one goes all the same, which is not true any more.
  TestMailbox other;
  CHECK(in_child(other, [] {
          use(0.5, kOfAll);
          const std::string full = "k:" + std::string(250, 'x');
          const bool erased = child_of({"ot=" + full + ";th:", 0xff}) == "sampled ot=" + full;
          return std::string(erased ? "erased" : "kept");
        }) == "erased");
  CHECK(other.lane(0).cut == 1);
}

// Requirements 10 and 31.
TEST_CASE("what is recorded and what goes on to children has the threshold") {
  TestMailbox mailbox;
  const std::string long_name(300, 'n');
  const auto spans = spans_of(mailbox, [&] {
    use(1, kParentBased);
    {
      const auto root = runmain::start_as_current_span("root");
      const auto child = runmain::start_span("child", {.attributes = {{"a", 1}}});
    }
    { const auto named = runmain::start_span(long_name); }
    { const auto other = runmain::start_span("other", {.parent = Parent{"a=1,ot=th:c", 0xff}.context()}); }
    use(1, kOfAll);
    { const auto erased = runmain::start_span("erased", {.parent = Parent{"ot=th:c;p:1"}.context()}); }
  });
  REQUIRE(spans.size() == 5);
  for (const char* const name : {"root", "child"}) {
    REQUIRE(find(spans, name) != nullptr);
    CHECK(find(spans, name)->trace_state == "ot=th:0");
  }
  CHECK(find(spans, "child")->get("a") == "1");
  REQUIRE(find(spans, long_name) != nullptr);
  CHECK(find(spans, long_name)->trace_state == "ot=th:0");
  REQUIRE(find(spans, "other") != nullptr);
  CHECK(find(spans, "other")->trace_state == "a=1,ot=th:c");
  REQUIRE(find(spans, "erased") != nullptr);
  CHECK(find(spans, "erased")->trace_state == "ot=p:1;th:0");
  CHECK(mailbox.torn == 0);
}

// Requirement 31.
TEST_CASE("a sampled span whose threshold is its parent's shares the parent's tracestate") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          use(0.5, kOfAll);
          const auto parent = Parent{"ot=th:8", 0xff}.context();
          const auto span = runmain::start_span("child", {.parent = parent});
          const auto own = span.context();
          return std::string(
              runmain_context_trace_state(own.get()) == runmain_context_trace_state(parent.get()) ? "shared"
                                                                                                  : "copied");
        }) == "shared");
}

// Requirement 31.
TEST_CASE("the description tells probabilities apart") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox,
                 [] {
                   std::string text;
                   for (const double probability : {1.0, 0.25, 0.0001, std::ldexp(1, -56), 0.0}) {
                     use(probability, kOfAll);
                     text += description() + " ";
                   }
                   use(0.1, kParentBased);
                   return text + description().substr(0, 46);
                 }) ==
        "ProbabilitySampler{1.000000} ProbabilitySampler{0.250000} ProbabilitySampler{0.000100} "
        "ProbabilitySampler{0.000000000000000014} AlwaysOffSampler "
        "ParentBased{root:ProbabilitySampler{0.100000},");
}

TEST_CASE("a probability that is none is refused, and the sampler stays") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          use(0.25, kOfAll);
          std::string text;
          for (const double wrong : {-0.1, 1.1, std::ldexp(1, -57), std::nan("")}) {
            runmain_sampler sampler{};
            sampler.kind = RUNMAIN_SAMPLER_PROBABILITY;
            sampler.ratio = wrong;
            text += runmain_set_sampler(&sampler) == -EINVAL ? "." : "x";
          }
          return text + description();
        }) == "....ProbabilitySampler{0.250000}");
}

// Requirement 31: warned of as a child sampler.
TEST_CASE("TraceIdRatioBased that decides for a child tells it once, and under ParentBased not at all") {
  const auto children = [](bool ignore_parent) {
    return told([ignore_parent] {
      runmain::set_sampler(runmain::SamplerKind::trace_id_ratio, 0.5, ignore_parent);
      { const auto root = runmain::start_span("root"); }
      for (int i = 0; i < 3; ++i) child_of({});
    });
  };
  CHECK(children(true) ==
        "runmain: TraceIdRatioBased decides for a span with a parent, which is subject to change: use "
        "ProbabilitySampler, or ParentBased\n");
  CHECK(children(false).empty());
}

// Requirements 12 and 31: "Presumption of TraceID randomness".
TEST_CASE("trace ids that do not say that they are random are told once, unless rv is there") {
  const auto children = [](const Parent& parent) {
    return told([&parent] {
      use(0.5, kOfAll);
      for (int i = 0; i < 3; ++i) child_of(parent);
    });
  };
  CHECK(
      children({"", 0, RUNMAIN_FLAG_SAMPLED}) ==
      "runmain: ProbabilitySampler takes trace ids for random whose flag does not say so: callers should use "
      "W3C Trace Context, level 2\n");
  CHECK(children({"", 0}).empty());
  CHECK(children({"ot=rv:80000000000000", 0, RUNMAIN_FLAG_SAMPLED}).empty());
}

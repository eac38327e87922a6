// The program's own id generator (requirements 1, 6 and 12; OpenTelemetry specification, trace/sdk.md, "Id
// Generators" and "IdGenerator randomness").
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

// Trace ids tt…tt01, tt…tt02 and so on, span ids ss…ss01 and so on.
class Counting : public runmain::IdGenerator {
 public:
  explicit Counting(bool random = false) : random_(random) {}

  void trace_id(std::span<std::uint8_t, 16> out) noexcept override {
    std::fill(out.begin(), out.end(), std::uint8_t{0x77});
    out.back() = static_cast<std::uint8_t>(++traces);
  }
  void span_id(std::span<std::uint8_t, 8> out) noexcept override {
    std::fill(out.begin(), out.end(), std::uint8_t{0x55});
    out.back() = static_cast<std::uint8_t>(++spans);
  }
  bool is_random() const noexcept override { return random_; }

  std::atomic<int> traces{0};
  std::atomic<int> spans{0};

 private:
  bool random_;
};

const std::string kTrace(30, '7');
const std::string kSpan(14, '5');

// What a child process writes to stderr while it does `body`, and what `body` returns behind it.
std::string told(const std::function<std::string()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const TestMailbox mailbox;
  Child child([&] {
    dup2(ends[1], STDERR_FILENO);
    return attach(mailbox) ? body() : std::string("not attached");
  });
  close(ends[1]);
  const std::string result = child.finish();
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  return text + result;
}

}  // namespace

// Requirements 1 and 6: the provider's, so of tracers that were there before too; a child keeps its trace.
TEST_CASE("a program's own generator makes the ids, one trace id a root and one span id a span") {
  TestMailbox mailbox;
  static Counting generator;
  const auto spans = spans_of(mailbox, [] {
    const runmain::Tracer early("early");
    { const auto before = early.start_span("before"); }
    runmain::set_id_generator(generator);
    {
      const auto root = early.start_as_current_span("root");
      const auto child = early.start_span("child");
    }
    { const auto second = runmain::start_span("second"); }
    runmain::unset_id_generator();
    { const auto after = early.start_span("after"); }
  });
  REQUIRE(spans.size() == 5);
  const auto ids = [&](const char* name) {
    const otlp::Span* span = find(spans, name);
    return span == nullptr ? "none" : span->trace_id + " " + span->span_id;
  };
  CHECK(ids("root") == kTrace + "01 " + kSpan + "01");
  CHECK(ids("child") == kTrace + "01 " + kSpan + "02");
  CHECK(find(spans, "child")->parent == kSpan + "01");
  CHECK(ids("second") == kTrace + "02 " + kSpan + "03");
  for (const char* const name : {"before", "after"}) {
    CHECK(find(spans, name)->trace_id.find(kTrace) != 0);
    CHECK(find(spans, name)->span_id.find(kSpan) != 0);
  }
}

// Requirement 6: a span id of its own even when it is dropped.
TEST_CASE("a span that is not sampled gets its ids from the generator too") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          static Counting generator;
          runmain::set_id_generator(generator);
          runmain::set_sampler(runmain::SamplerKind::always_off);
          const auto root = runmain::start_as_current_span("root");
          const auto child = runmain::start_span("child");
          return std::to_string(root.span_context().span_id[7]) +
                 std::to_string(child.span_context().span_id[7]) + " of trace " +
                 std::to_string(child.span_context().trace_id[15]);
        }) == "12 of trace 1");
}

// Requirement 12: the Random flag only of trace ids that are random.
TEST_CASE("a root has the random flag only if the generator says that its trace ids are random") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          static Counting counting(false);
          static Counting random(true);
          std::string text;
          for (Counting* generator : {&counting, &random}) {
            runmain::set_id_generator(*generator);
            const auto root = runmain::start_as_current_span("root");
            const auto child = runmain::start_span("child");
            text +=
                std::to_string(root.span_context().flags) + std::to_string(child.span_context().flags) + " ";
          }
          // Only span ids are its own: the trace ids are ours, and random.
          static const runmain_id_generator spans_only{nullptr, [](void*, std::uint8_t* out) { out[0] = 9; },
                                                       nullptr, 0, 0};
          runmain_set_id_generator(&spans_only);
          const auto span = runmain::start_span("root");
          return text + std::to_string(span.span_context().flags) + " " +
                 std::to_string(span.span_context().span_id[0]);
        }) == "11 33 3 9");
}

// Requirement 12: neither id is all zeros.
TEST_CASE("ids of only zeros are replaced by random ones, and told once") {
  CHECK(told([] {
          static const runmain_id_generator zeros{[](void*, std::uint8_t*) {}, [](void*, std::uint8_t*) {},
                                                  nullptr, 0, 0};
          runmain_set_id_generator(&zeros);
          std::string text;
          for (int i = 0; i < 3; ++i) {
            const auto span = runmain::start_span("root");
            text += runmain::is_valid(span.span_context()) ? "valid " : "zero ";
            text += std::to_string(span.span_context().flags) + " ";
          }
          return text;
        }) ==
        "runmain: the id generator has answered an id of only zeros, taking a random one\nvalid 3 valid 3 "
        "valid 3 ");
}

TEST_CASE("a generator without functions is refused and leaves the one that there is") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          static Counting generator;
          runmain::set_id_generator(generator);
          static const runmain_id_generator none{};
          const bool refused = runmain_set_id_generator(&none) == -EINVAL;
          const auto span = runmain::start_span("root");
          return std::string(refused ? "refused " : "taken ") + std::to_string(generator.spans);
        }) == "refused 1");
}

TEST_CASE("ids that are given with the start are not asked for") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          static Counting generator;
          runmain::set_id_generator(generator);
          runmain_span_context ids{};
          ids.trace_id[0] = ids.span_id[0] = 3;
          ids.flags = RUNMAIN_FLAG_SAMPLED;
          runmain_start start{};
          start.size = sizeof start;
          start.ids = &ids;
          runmain::Span span(runmain_span_start(nullptr, "given", 5, &start));
          return std::to_string(span.span_context().span_id[0]) + " asked " + std::to_string(generator.spans);
        }) == "3 asked 0");
}

// Requirement 11: asked from every thread.
TEST_CASE("a generator is asked by all threads while it is set and unset") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    static Counting generator(true);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int n = 0; n < 200; ++n) const auto span = runmain::start_span("work");
      });
    }
    for (int n = 0; n < 200; ++n) {
      runmain::set_id_generator(generator);
      runmain::unset_id_generator();
    }
    for (std::thread& thread : threads) thread.join();
  });
  REQUIRE(spans.size() == 800);
  for (const otlp::Span& span : spans) {
    const bool of_trace = span.trace_id.find(kTrace) == 0;
    CHECK(of_trace == (span.span_id.find(kSpan) == 0));
  }
}

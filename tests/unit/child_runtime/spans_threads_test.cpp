// One span in the hands of several threads, and what happens in the middle of a start.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

// Requirement 11.
TEST_CASE("what other threads say of a span is put behind what its owner says") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    auto span = runmain::start_span("work");
    span.set_attribute("owner", 1);
    span.set_attribute("both", "owner");
    std::thread([&] {
      span.set_attribute("other", "text");
      span.set_attribute("both", "other");
      span.set_attribute("both", "other again");
      span.set_attribute("long", std::string(5000, 'x'));
      span.add_event("theirs", {{"a", 1}});
      span.add_link(span.span_context());
      span.update_name("renamed");
      span.set_status(runmain::StatusCode::error, "theirs");
    }).join();
    span.set_attribute("late", true);
    span.add_event("mine");
  });
  REQUIRE(spans.size() == 1);
  CHECK(mailbox.torn == 0);
  const otlp::Span& span = spans[0];
  CHECK(span.attributes.unique());
  CHECK(span.attributes.list.size() == 5);
  CHECK(span.get("owner") == "1");
  CHECK(span.get("other") == "text");
  CHECK(span.get("both") == "other again");
  CHECK(span.get("long") == std::string(5000, 'x'));
  CHECK(span.get("late") == "true");
  CHECK(span.events.size() == 2);
  CHECK(span.links.size() == 1);
  CHECK(span.name == "renamed");
  CHECK(span.status_message == "theirs");
}

// Requirements 11, 14 and 27.
TEST_CASE("limits and the rules of status hold for several threads together") {
  TestMailbox mailbox;
  const auto spans =
      spans_of(mailbox,
               [] {
                 auto span = runmain::start_span("work");
                 for (const char* const key : {"a", "b"}) span.set_attribute(key, 1);
                 span.set_status(runmain::StatusCode::ok);
                 std::thread([&] {
                   for (const char* const key : {"b", "c", "d", "e", "f"}) span.set_attribute(key, 2);
                   for (int i = 0; i < 4; ++i) span.add_event("event");
                   span.set_status(runmain::StatusCode::error, "too late");
                 }).join();
               },
               {{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3"}, {"OTEL_SPAN_EVENT_COUNT_LIMIT", "2"}});
  REQUIRE(spans.size() == 1);
  const otlp::Span& span = spans[0];
  CHECK(span.attributes.list.size() == 3);
  CHECK(span.attributes.unique());
  CHECK(span.dropped_attributes == 3);
  CHECK(span.events.size() == 2);
  CHECK(span.dropped_events == 2);
  CHECK(span.status == RUNMAIN_STATUS_OK);
  CHECK(span.status_message.empty());
}

// Requirement 11.
TEST_CASE("another thread may end a span; what its owner says later is ignored") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    auto span = runmain::start_span("work");
    span.set_attribute("before", std::string(3000, 'b'));
    std::thread([&] { span.end(); }).join();
    span.set_attribute("after", "x");
    span.set_attribute("after.number", 1);
    span.end();
  });
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].attributes.list.size() == 1);
  CHECK(mailbox.ended() == 1);
  CHECK(mailbox.open_names().empty());
}

TEST_CASE("a span that is handed over whole is the new thread's after adopt") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    auto span = runmain::start_span("work");
    span.set_attribute("first", 1);
    std::thread([moved = std::move(span)]() mutable {
      moved.adopt();
      moved.set_attribute("second", "x");
      moved.set_attribute("first", 2);
      moved.end();
    }).join();
  });
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].get("first") == "2");
  CHECK(spans[0].get("second") == "x");
  CHECK(mailbox.lane(0).ended == 0);
  CHECK(mailbox.lane(1).ended == 1);
}

namespace {

constexpr int kRounds = 2000;

// In each round another thread does `theirs(span, round)` while the owner, who has started it, does
// `ours(span, round, is_through)`, where is_through() says whether the other one is.
template <class Ours, class Theirs>
void beside_each_other(Ours&& ours, Theirs&& theirs) {
  runmain_span* span = nullptr;
  std::atomic<int> begun{0};
  std::atomic<int> done{0};
  std::thread other([&] {
    for (int i = 1; i <= kRounds; ++i) {
      while (begun.load() != i) std::this_thread::yield();
      theirs(span, i);
      done.store(i);
    }
  });
  for (int i = 1; i <= kRounds; ++i) {
    span = runmain_span_start(nullptr, "work", 4, nullptr);
    begun.store(i);
    ours(span, i, [&] { return done.load() == i; });
    while (done.load() != i) std::this_thread::yield();
    runmain_span_release(span);
  }
  other.join();
}

}  // namespace

// Requirements 11 and 14.
TEST_CASE("owner and others end one span at the same time: there is one record") {
  TestMailbox mailbox({8, 2, 4U << 20U, 16384, 256});
  const auto spans = spans_of(mailbox, [] {
    beside_each_other(
        [](runmain_span* span, int i, auto&&) {
          for (int k = 0; k < i % 50; ++k) runmain_span_set_string(span, "owner", 5, "value", 5);
          runmain_span_end(span, 0);
        },
        [](runmain_span* span, int i) {
          runmain_span_set_int(span, "helper", 6, i);
          if (i % 2 == 0) runmain_span_end(span, 0);
        });
  });
  CHECK(mailbox.torn == 0);
  CHECK(spans.size() == kRounds);
  CHECK(mailbox.ended() == kRounds);
  for (const otlp::Span& span : spans) CHECK(span.attributes.unique());
}

TEST_CASE("a span that gets another name while another thread ends it is not left open") {
  TestMailbox mailbox({8, 2, 4U << 20U, 16384, 256});
  const auto spans = spans_of(mailbox, [] {
    beside_each_other(
        [](runmain_span* span, int, auto&& is_through) {
          constexpr int kNames = 50;  // each takes room in the record
          for (int k = 0; k < kNames && !is_through(); ++k) runmain_span_update_name(span, "other", 5);
        },
        [](runmain_span* span, int) { runmain_span_end(span, 0); });
  });
  CHECK(mailbox.torn == 0);
  CHECK(spans.size() == kRounds);
  CHECK(mailbox.open_names().empty());
}

// Requirement 11.
TEST_CASE("many threads set attributes of one span while it grows") {
  TestMailbox mailbox({8, 2, 4U << 20U, 16384, 256});
  constexpr int kThreads = 3;
  const auto spans = spans_of(mailbox,
                              [] {
                                auto span = runmain::start_span("work");
                                std::vector<std::thread> threads;
                                for (int t = 0; t < kThreads; ++t) {
                                  threads.emplace_back([&, t] {
                                    for (int i = 0; i < 100; ++i)
                                      span.set_attribute("t" + std::to_string(t) + "." + std::to_string(i),
                                                         std::string(50, 'x'));
                                  });
                                }
                                for (int i = 0; i < 100; ++i)
                                  span.set_attribute("owner." + std::to_string(i), std::string(50, 'x'));
                                for (std::thread& t : threads) t.join();
                              },
                              {{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1000"}});
  REQUIRE(spans.size() == 1);
  CHECK(mailbox.torn == 0);
  CHECK(spans[0].attributes.list.size() == 100 * (kThreads + 1));
}

TEST_CASE("spans and their memory go from thread to thread, and come back") {
  TestMailbox mailbox({8, 2, 4U << 20U, 16384, 256});
  Child child([&] {
    attach(mailbox);
    // More than a thread's pool has blocks for, if those that others release did not come back.
    for (int round = 0; round < 40; ++round) {
      std::vector<runmain::Span> spans;
      for (int i = 0; i < 1000; ++i) spans.push_back(runmain::start_span("work"));
      std::thread([&] { spans.clear(); }).join();
      for (std::uint32_t i = 0; i < mailbox.lanes(); ++i) {
        mailbox.lane(i).read = mailbox.lane(i).write;
        if (mailbox.lane(i).state == RUNMAIN_LANE_CLOSED) mailbox.free_lane(i);
      }
    }
    return std::to_string(mailbox.ended()) + " " + std::to_string(mailbox.lost(RUNMAIN_LOST_NO_MEMORY));
  });
  CHECK(child.finish() == "40000 0");
}

TEST_CASE("there are at most so many open spans a thread; more are counted") {
  TestMailbox mailbox({3, 1, 16U << 20U, 16384, 16});
  Child child([&] {
    attach(mailbox);
    std::vector<runmain::Span> spans;
    for (int i = 0; i < 20'000; ++i) spans.push_back(runmain::start_span("work"));
    const bool last = spans.back().is_recording();
    spans.clear();
    return std::string(last ? "all" : "bounded");
  });
  CHECK(child.finish() == "bounded");
  CHECK(mailbox.lost(RUNMAIN_LOST_NO_MEMORY) == 20'000 - 16'384);
  CHECK(mailbox.read_all().size() == 16'384);
  CHECK(mailbox.ended() == 20'000);
}

TEST_CASE("a start and an end in the middle of another start are counted, and harm nothing") {
  TestMailbox mailbox;
  // A sampler is asked in the middle of a start, where a signal handler may come.
  CHECK(in_child(mailbox, [] {
          static runmain_span* open = runmain_span_start(nullptr, "open", 4, nullptr);
          static const runmain_sampler sampler{0,
                                               1,
                                               0,
                                               [](void*, const runmain_sampling*) {
                                                 runmain_span* inner =
                                                     runmain_span_start(nullptr, "in", 2, nullptr);
                                                 const int recorded = runmain_span_is_recording(inner);
                                                 runmain_span_release(inner);
                                                 runmain_span_end(open, 0);
                                                 return 1 - recorded;
                                               },
                                               nullptr,
                                               "Signals"};
          runmain_set_sampler(&sampler);
          const auto span = runmain::start_as_current_span("outer");
          return std::string(span.is_recording() ? "recording" : "not");
        }) == "recording");
  const auto spans = mailbox.read_all();
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].name == "outer");
  CHECK(mailbox.lost(RUNMAIN_LOST_REENTRANT) == 2);
  CHECK(mailbox.started() == 3);
  CHECK(mailbox.ended() == 3);
  CHECK(mailbox.open_names().empty());
}

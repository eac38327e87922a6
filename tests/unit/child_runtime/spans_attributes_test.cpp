// What is said of a span: values of every type, unique keys, limits, events, links, status, names.
#include <signal.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

// The one span that `body` fills.
otlp::Span filled(const std::function<void(runmain::ScopedSpan&)>& body, const Variables& variables = {}) {
  TestMailbox mailbox;
  const auto spans = spans_of(
      mailbox,
      [&] {
        auto span = runmain::start_as_current_span("work");
        body(span);
      },
      variables);
  CHECK(mailbox.torn == 0);
  CHECK(spans.size() == 1);
  return spans.empty() ? otlp::Span{} : spans[0];
}

}  // namespace

TEST_CASE("attributes have values of every type") {
  const otlp::Span span = filled([](auto& s) {
    s.set_attribute("string", "text");
    s.set_attribute("empty", "");
    s.set_attribute("long", std::string(500, 'a'));
    s.set_attribute("bool", true);
    s.set_attribute("int", -5);
    s.set_attribute("big", INT64_MIN);
    s.set_attribute("double", 1.5);
    const std::vector<std::string> strings{"a", "", "c"};
    s.set_attribute("strings", strings);
    s.set_attribute("ints", std::vector<std::int64_t>{1, -1});
    s.set_attribute("doubles", std::vector<double>{0.5, 2});
    const bool flags[] = {true, false};
    s.set_attribute("bools", runmain::Value(std::span<const bool>(flags)));
    const std::byte bytes[] = {std::byte{0}, std::byte{255}};
    s.set_attribute("bytes", runmain::Value(std::span<const std::byte>(bytes)));
    s.set_attribute("none", runmain::Value(std::span<const std::int64_t>()));
  });
  CHECK(span.get("string") == "text");
  CHECK(span.get("empty").empty());
  CHECK(span.get("long") == std::string(500, 'a'));
  CHECK(span.get("bool") == "true");
  CHECK(span.get("int") == "-5");
  CHECK(span.get("big") == "-9223372036854775808");
  CHECK(span.get("double") == "1.5");
  CHECK(span.get("strings") == "[a,,c]");
  CHECK(span.get("ints") == "[1,-1]");
  CHECK(span.get("doubles") == "[0.5,2]");
  CHECK(span.get("bools") == "[true,false]");
  CHECK(span.get("bytes") == "bytes:00ff");
  CHECK(span.get("none") == "[]");
  CHECK(span.attributes.list.size() == 13);
}

TEST_CASE("every length of key and value is written right, inlined and not") {
  const otlp::Span span = filled(
      [](auto& s) {
        for (std::size_t n = 1; n < 140; ++n) {
          const std::string key = std::to_string(n) + std::string(n, 'k');
          s.set_attribute(key, std::string(140 - n, 'v'));
          runmain_span_set_string(s.get(), (key + "c").c_str(), key.size() + 1, "0123456789", n % 11);
        }
      },
      {{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1000"}});
  CHECK(span.attributes.list.size() == 2 * 139);
  for (std::size_t n = 1; n < 140; ++n) {
    const std::string key = std::to_string(n) + std::string(n, 'k');
    CHECK(span.get(key) == std::string(140 - n, 'v'));
    CHECK(span.get(key + "c") == std::string("0123456789", n % 11));
  }
}

// Requirement 15.
TEST_CASE("a key is there once, and the last value counts") {
  const otlp::Span span = filled([](auto& s) {
    for (int i = 0; i < 100; ++i) s.set_attribute("key." + std::to_string(i % 40), i);
    s.set_attribute("other", "a");
    s.set_attribute("other", 2);
    s.set_attribute("other", "b");
    s.set_attribute("", "no key");
  });
  CHECK(span.attributes.unique());
  CHECK(span.attributes.list.size() == 41);
  CHECK(span.get("key.7") == "87");
  CHECK(span.get("key.30") == "70");
  CHECK(span.get("other") == "b");
  CHECK(span.dropped_attributes == 0);
}

TEST_CASE("a value that changes ten thousand times takes no more room than one") {
  const otlp::Span span = filled([](auto& s) {
    for (int i = 0; i < 10'000; ++i) s.set_attribute("progress", std::string(50, 'a') + std::to_string(i));
  });
  CHECK(span.attributes.list.size() == 1);
  CHECK(span.get("progress") == std::string(50, 'a') + "9999");
}

// Requirement 27.
TEST_CASE("what is beyond a limit is dropped and counted") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox,
                              [] {
                                auto s = runmain::start_as_current_span("work");
                                for (int i = 0; i < 5; ++i) s.set_attribute("key." + std::to_string(i), i);
                                s.set_attribute("key.1", "again");  // is no new one
                                for (int i = 0; i < 4; ++i)
                                  s.add_event("event", {{"a", 1}, {"b", 2}, {"c", 3}});
                                for (int i = 0; i < 3; ++i)
                                  s.add_link(s.span_context(), {{"a", 1}, {"b", 2}});
                              },
                              {{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3"},
                               {"OTEL_SPAN_EVENT_COUNT_LIMIT", "2"},
                               {"OTEL_SPAN_LINK_COUNT_LIMIT", "1"},
                               {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "2"},
                               {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1"}});
  REQUIRE(spans.size() == 1);
  const otlp::Span& span = spans[0];
  CHECK(span.attributes.list.size() == 3);
  CHECK(span.dropped_attributes == 2);
  CHECK(span.get("key.1") == "again");
  REQUIRE(span.events.size() == 2);
  CHECK(span.dropped_events == 2);
  CHECK(span.events[0].attributes.list.size() == 2);
  CHECK(span.events[0].dropped == 1);
  REQUIRE(span.links.size() == 1);
  CHECK(span.dropped_links == 2);
  CHECK(span.links[0].dropped == 1);
  CHECK(mailbox.cut() == 2 + 2 + 4 + 2 + 3);
}

// Requirement 27.
TEST_CASE("a limit of length cuts characters of strings, and bytes of bytes") {
  const Variables general{{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"}};
  const auto fill = [](auto& s) {
    s.set_attribute("ascii", "abcdef");
    s.set_attribute("short", "abc");
    s.set_attribute("wide", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z");
    const std::vector<std::string> strings{"abcd", "ab"};
    s.set_attribute("strings", strings);
    const std::byte bytes[] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    s.set_attribute("bytes", runmain::Value(std::span<const std::byte>(bytes)));
    s.set_attribute("int", 12345);
    s.add_event("a long name stays", {{"key", "abcdef"}});
  };
  const otlp::Span span = filled(fill, general);
  CHECK(span.get("ascii") == "abc");
  CHECK(span.get("short") == "abc");
  CHECK(span.get("wide") == "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(span.get("strings") == "[abc,ab]");
  CHECK(span.get("bytes") == "bytes:010203");
  CHECK(span.get("int") == "12345");
  REQUIRE(span.events.size() == 1);
  CHECK(span.events[0].name == "a long name stays");
  CHECK(span.events[0].attributes.get("key") == "abc");
  CHECK(span.dropped_attributes == 0);
  // The span's own limit goes before the general one.
  const otlp::Span own = filled(
      fill, {{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"}, {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5"}});
  CHECK(own.get("ascii") == "abcde");
}

TEST_CASE("a span grows to the largest record, and drops what is beyond") {
  const otlp::Span span = filled(
      [](auto& s) {
        for (int i = 0; i < 2000; ++i) s.set_attribute("key." + std::to_string(i), std::string(300, 'v'));
      },
      {{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "10000"}});
  CHECK(span.attributes.list.size() + span.dropped_attributes == 2000);
  CHECK(span.attributes.list.size() > 800);
  CHECK(span.dropped_attributes > 0);
  CHECK(span.get("key.5") == std::string(300, 'v'));
}

TEST_CASE("events have times, names and attributes") {
  const auto time = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000));
  const otlp::Span span = filled([&](auto& s) {
    s.add_event("first");
    s.add_event("second", time, {{"key", "a"}, {"key", "b"}, {"n", 1}});
  });
  REQUIRE(span.events.size() == 2);
  CHECK(span.events[0].name == "first");
  CHECK(span.events[0].time >= span.start);
  CHECK(span.events[0].time <= span.end);
  CHECK(span.events[1].time == 1'700'000'000'000'000'000);
  CHECK(span.events[1].attributes.unique());
  CHECK(span.events[1].attributes.get("key") == "b");
}

TEST_CASE("links name other spans; one that names none and says nothing is none") {
  const otlp::Span span = filled([](auto& s) {
    runmain::SpanContext other{};
    std::fill(std::begin(other.trace_id), std::end(other.trace_id), std::uint8_t{0xab});
    std::fill(std::begin(other.span_id), std::end(other.span_id), std::uint8_t{0xcd});
    other.flags = RUNMAIN_FLAG_SAMPLED;
    other.is_remote = 1;
    s.add_link(other, {{"why", "batch"}});
    s.add_link(runmain::SpanContext{});
    const runmain_link with_state{other, runmain::as_text("v=1"), nullptr, 0};
    runmain_span_add_link(s.get(), &with_state);
  });
  REQUIRE(span.links.size() == 2);
  CHECK(span.links[0].trace_id == std::string("abababababababababababababababab"));
  CHECK(span.links[0].span_id == "cdcdcdcdcdcdcdcd");
  CHECK(span.links[0].attributes.get("why") == "batch");
  CHECK(span.links[0].flags == 0x301);
  CHECK(span.links[1].trace_state == "v=1");
}

TEST_CASE("an exception is an event with its type, message and stack") {
  const otlp::Span span = filled([](auto& s) {
    s.record_exception(std::runtime_error("it broke"), {{"exception.message", "told otherwise"}});
    runmain_span_record_exception(s.get(), runmain::as_text("T"), {}, runmain::as_text("at main"), nullptr,
                                  0);
  });
  REQUIRE(span.events.size() == 2);
  CHECK(span.events[0].name == "exception");
  CHECK(span.events[0].attributes.get("exception.type").find("runtime_error") != std::string::npos);
  CHECK(span.events[0].attributes.get("exception.message") == "told otherwise");
  CHECK(span.events[1].attributes.get("exception.message") == "none");
  CHECK(span.events[1].attributes.get("exception.stacktrace") == "at main");
  CHECK(span.status == 0);
}

// Requirement 14.
TEST_CASE("Ok goes before Error, Error before Unset, and a description is Error's") {
  using runmain::StatusCode;
  const auto status = [](const std::vector<std::pair<StatusCode, const char*>>& calls) {
    const otlp::Span span = filled([&](auto& s) {
      for (const auto& [code, text] : calls) s.set_status(code, text);
    });
    return std::to_string(span.status) + span.status_message;
  };
  CHECK(status({}) == "0");
  CHECK(status({{StatusCode::error, "a"}}) == "2a");
  CHECK(status({{StatusCode::error, "a"}, {StatusCode::error, "b"}}) == "2b");
  CHECK(status({{StatusCode::error, "a"}, {StatusCode::unset, "b"}}) == "2a");
  CHECK(status({{StatusCode::error, "a"}, {StatusCode::ok, "b"}}) == "1");
  CHECK(status({{StatusCode::ok, ""}, {StatusCode::error, "b"}, {StatusCode::unset, ""}}) == "1");
}

TEST_CASE("a name can be changed, and may be long or empty") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    auto a = runmain::start_span("first");
    a.set_attribute("k", "v");
    a.update_name("second");
    a.update_name("third");
    const auto b = runmain::start_span(std::string(5000, 'n'));
    const auto c = runmain::start_span("");
    const auto d = runmain::start_span(std::string(127, 'd'));
    const auto e = runmain::start_span(std::string(128, 'e'));
  });
  REQUIRE(spans.size() == 5);
  CHECK(spans[4].name == "third");
  CHECK(spans[4].get("k") == "v");
  CHECK(spans[3].name == std::string(5000, 'n'));
  CHECK(spans[2].name.empty());
  CHECK(spans[1].name == std::string(127, 'd'));
  CHECK(spans[0].name == std::string(128, 'e'));
}

TEST_CASE("the open slot of a span has its new name") {
  TestMailbox mailbox;
  Child child([&] {
    attach(mailbox);
    auto span = runmain::start_as_current_span("first");
    for (int i = 0; i < 40; ++i)
      span.update_name("name " + std::to_string(i));  // more often than a slot can tell
    auto other = runmain::start_as_current_span("other");
    other.update_name("new " + std::string(100, 'n'));
    raise(SIGKILL);
    return std::string();
  });
  child.finish();
  const auto open = mailbox.open_names();
  REQUIRE(open.size() == 2);
  const bool first = open[0].substr(0, 4) == "name";
  CHECK(open[first ? 0 : 1].substr(0, 4) == "name");
  CHECK(open[first ? 1 : 0] == "new " + std::string(60, 'n'));
}

TEST_CASE("times: end is not before start, and both may be given") {
  TestMailbox mailbox;
  const auto at = [](std::int64_t s) {
    return std::chrono::system_clock::time_point(std::chrono::seconds(s));
  };
  const auto before = std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  const auto spans = spans_of(mailbox, [&] {
    auto a = runmain::start_span("given", {.start = at(1000)});
    a.end(at(2000));
    auto b = runmain::start_span("backwards", {.start = at(1000)});
    b.end(at(500));
    auto c = runmain::start_span("now");
    c.end();
    c.end(at(5));  // the first end counts
    auto d = runmain::start_span("begun long ago", {.start = at(1000)});
  });
  REQUIRE(spans.size() == 4);
  CHECK(spans[0].start == 1000'000'000'000);
  CHECK(spans[0].end == 2000'000'000'000);
  CHECK(spans[1].end == spans[1].start);
  CHECK(static_cast<std::int64_t>(spans[2].start) > before - 1'000'000'000);
  CHECK(spans[2].end >= spans[2].start);
  CHECK(static_cast<std::int64_t>(spans[2].end) < before + 60'000'000'000);
  CHECK(static_cast<std::int64_t>(spans[3].end) > before - 1'000'000'000);
}

// Requirement 14.
TEST_CASE("after its end a span takes nothing and says nothing") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    auto span = runmain::start_span("work");
    span.end();
    if (span.is_recording()) span.update_name("still recording");
    span.set_attribute("late", "x");
    span.set_attribute("late.number", 1);
    span.add_event("late");
    span.set_status(runmain::StatusCode::error, "late");
    span.update_name("late");
    span.end();
  });
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].name == "work");
  CHECK(spans[0].attributes.list.empty());
  CHECK(spans[0].events.empty());
  CHECK(spans[0].status == 0);
}

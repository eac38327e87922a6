// Traces as people see them, and which of them when.
#include "cli/trace_tree.hpp"

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include "cli/telemetry_status.hpp"
#include "cli/terminal.hpp"
#include "cli/trace_book.hpp"
#include "support/catch.hpp"

namespace runmain::cli {
namespace {

using namespace std::chrono_literals;
using control::Json;

constexpr std::int64_t kStart = 1'700'000'000'000'000'000;
constexpr std::int64_t kMs = 1'000'000;

// `begin` and `end` in milliseconds of the trace.
TraceSpan span(const std::string& id, const std::string& parent, std::int64_t begin, std::int64_t end,
               const std::string& name = "GET /") {
  TraceSpan out;
  out.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  out.span_id = id;
  out.parent_span_id = parent;
  out.name = name;
  out.start_ns = kStart + begin * kMs;
  out.end_ns = kStart + end * kMs;
  out.service = "web";
  out.generation = 3;
  return out;
}

void check_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(RUNMAIN_SOURCE_DIR) + "/tests/golden/cli/" + name;
  const char* mode = std::getenv("RUNMAIN_GOLDEN");
  if (mode != nullptr && std::string(mode) == "write") std::ofstream(path) << text;
  std::stringstream golden;
  golden << std::ifstream(path).rdbuf();
  CHECK(text == golden.str());
}

std::vector<TraceSpan> example() {
  std::vector<TraceSpan> spans;
  spans.push_back(span("c3", "c1", 12, 80, "render"));
  spans.push_back(span("c1", "", 0, 84, "GET /users"));
  spans.back().attributes = {{"http.request.method", "GET"}, {"http.response.status_code", "500"}};
  spans.back().status = TraceSpan::Status::error;
  spans.back().status_message = "no such\ntable";
  spans.push_back(span("c2", "c1", 2, 10, "SELECT"));
  spans.back().service = "db";
  spans.back().slot = 1;
  spans.back().attributes = {{"db.statement", std::string(100, 'x')}};
  spans.push_back(span("c4", "c3", 20, 30, "template"));
  spans.back().status = TraceSpan::Status::ok;
  spans.push_back(span("c4", "c3", 20, 30, "template"));
  spans.push_back(span("o1", "gone", 40, 40, "orphan"));
  spans.push_back(span("o2", "o1", 41, 90, "below the orphan"));
  spans.back().reconstructed = true;
  spans.push_back(span("l1", "l2", 50, 60, "circle"));
  spans.push_back(span("l2", "l1", 51, 59, "circle"));
  spans.push_back(span("s1", "s1", 70, 71, "its own parent"));
  return spans;
}

struct Utc {
  Utc() {
    setenv("TZ", "UTC", 1);
    tzset();
  }
  ~Utc() {
    unsetenv("TZ");
    tzset();
  }
};

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// The widest line in columns; colour sequences count as nothing.
std::size_t widest(const std::string& text) {
  std::size_t widest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::string shown;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '\x1b')
        i = line.find('m', i);
      else
        shown += line[i];
    }
    widest = std::max(widest, columns_of(shown));
  }
  return widest;
}

}  // namespace

TEST_CASE("a trace is a tree with a line for each span") {
  const Utc utc;
  check_golden("trace.txt", trace_tree(example(), false, 0));
  check_golden("trace_100.txt", trace_tree(example(), false, 100));
  check_golden("trace_50.txt", trace_tree(example(), false, 50));
}

TEST_CASE("a trace is never wider than the terminal and colours change only the colour") {
  for (std::size_t width = 1; width < 140; ++width) {
    INFO(width);
    CHECK(widest(trace_tree(example(), true, width)) <= width);
    CHECK(widest(trace_tree(example(), true, width)) == widest(trace_tree(example(), false, width)));
    CHECK(lines_of(trace_tree(example(), true, width)) == example().size() + 1);
  }
  CHECK(trace_tree(example(), true, 0).find("\x1b[31m") != std::string::npos);
}

TEST_CASE("every order of the same spans is the same tree") {
  const Utc utc;
  std::vector<TraceSpan> spans = example();
  const std::string text = trace_tree(spans, false, 0);
  std::reverse(spans.begin(), spans.end());
  const std::string other = trace_tree(spans, false, 0);
  CHECK(lines_of(other) == lines_of(text));
  CHECK(other.substr(0, other.find("template")) ==
        text.substr(0, text.find("template")));  // equal ones may swap
}

TEST_CASE("circles and chains and crowds of spans end and are bounded") {
  std::vector<TraceSpan> circle;
  for (int i = 0; i < 400; ++i)
    circle.push_back(span("s" + std::to_string(i), "s" + std::to_string((i + 1) % 400), i, i + 1));
  CHECK(lines_of(trace_tree(circle, false, 0)) == 401);
  std::vector<TraceSpan> chain;
  for (int i = 0; i < 400; ++i)
    chain.push_back(span("s" + std::to_string(i), i == 0 ? "" : "s" + std::to_string(i - 1), i, 1000 - i));
  const std::string deep = trace_tree(chain, false, 0);
  CHECK(lines_of(deep) == 401);
  CHECK(widest(deep) < 150);
  std::vector<TraceSpan> crowd;
  for (int i = 0; i < 20'000; ++i) crowd.push_back(span("s" + std::to_string(i % 7000), "s3", i, i));
  const std::string many = trace_tree(crowd, false, 0);
  CHECK(lines_of(many) == kSpansShown + 2);
  CHECK(many.find("and 19500 spans more") != std::string::npos);
}

TEST_CASE("spans whose texts and times are hostile are shown all the same") {
  TraceSpan evil = span("a", "", 0, 0, "\x1b]0;evil\x07\nname");
  evil.start_ns = std::numeric_limits<std::int64_t>::max();
  evil.end_ns = 0;
  evil.service = "\x1b[2J";
  evil.attributes = {{"\n", std::string("\0\xff", 2)}};
  TraceSpan other = span("b", "a", 0, 0);
  other.start_ns = 0;
  other.end_ns = std::numeric_limits<std::int64_t>::max();
  const std::string text = trace_tree({evil, other}, false, 80);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(lines_of(text) == 3);
}

TEST_CASE("control characters in a span neither break its line nor hide what it says") {
  std::string all = "a";
  for (char c = 1; c < 0x20; ++c) all += c;
  all += "\x7f\xc2\x85z";  // DEL, and NEL of C1
  TraceSpan evil = span("a", "", 0, 1000, "GET /\rPOST /");
  evil.status = TraceSpan::Status::error;
  evil.status_message = "no\r\nyes";
  evil.attributes = {{"k\ty", "one\rtwo"}, {all, all}};
  const std::string text = trace_tree({evil}, false, 0);
  CHECK(lines_of(text) == 2);
  CHECK(text.find("GET /\\x0dPOST /") != std::string::npos);
  CHECK(text.find("error: no\\x0d\\x0ayes") != std::string::npos);
  CHECK(text.find("k y=one\\x0dtwo") != std::string::npos);
  CHECK(std::none_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; }));
  CHECK(text.find("\xc2\x85") == std::string::npos);
}

TEST_CASE("a span is read as far as its JSON goes") {
  const auto whole = span_of(Json::parse(
      R"({"trace_id":"t","span_id":"s","parent_span_id":"p","name":"n","kind":2,"start_unix_nano":1700000000000000000,
"end_unix_nano":"1700000000000000001","status":2,"status_message":"m","attributes":{"a":"b","n":5,"l":[1]},
"service":"web","slot":1,"generation":3,"attempt":1,"reconstructed":true})"));
  REQUIRE(whole);
  CHECK(whole->parent_span_id == "p");
  CHECK(whole->start_ns == 1'700'000'000'000'000'000);
  CHECK(whole->end_ns == 1'700'000'000'000'000'001);
  CHECK(whole->status == TraceSpan::Status::error);
  CHECK(whole->attributes ==
        std::vector<std::pair<std::string, std::string>>{{"a", "b"}, {"n", "5"}, {"l", "[1]"}});
  CHECK(whole->reconstructed);
  CHECK(span_of(Json::parse(R"({"trace_id":"t","span_id":"s","status":"ok"})"))->status ==
        TraceSpan::Status::ok);
  for (const char* text : {"null", "[]", "{}", R"({"trace_id":"t"})", R"({"trace_id":5,"span_id":"s"})"})
    CHECK_FALSE(span_of(Json::parse(text)));
  const auto other = span_of(Json::parse(
      R"({"trace_id":"t","span_id":"s","parent_id":"p","status_text":"m","duplicate":true,"attributes_left_out":3})"));
  REQUIRE(other);
  CHECK(other->parent_span_id == "p");
  CHECK(other->status_message == "m");
  CHECK(other->duplicate);
  CHECK(trace_tree({*other}, false, 0).find("(parent unknown) (duplicate)  and 3 more\n") !=
        std::string::npos);
  const auto odd = span_of(Json::parse(
      R"({"trace_id":"t","span_id":"s","start_unix_nano":18446744073709551615,"end_unix_nano":-5,"status":[],
"attributes":[1],"slot":"x"})"));
  REQUIRE(odd);
  CHECK(odd->start_ns == std::numeric_limits<std::int64_t>::max());
  CHECK(odd->end_ns == 0);
  CHECK(span_of(Json{{"trace_id", "t"}, {"span_id", "s"}, {"start_unix_nano", std::string(100, '9')}})
            ->start_ns == 0);
}

TEST_CASE("a span's time is told in the unit that matters") {
  const std::pair<std::int64_t, const char*> rows[] = {
      {-1, "0 ns"},        {0, "0 ns"},         {999, "999 ns"},       {1000, "1 µs"},
      {999'999, "999 µs"}, {84 * kMs, "84 ms"}, {1250 * kMs, "1.2 s"}, {125'000 * kMs, "2 min 5 s"}};
  for (const auto& [ns, text] : rows) CHECK(span_time(ns) == text);
}

TEST_CASE("the newest traces are shown with the newest last") {
  TraceBook book;
  const auto add = [&](const char* trace, std::int64_t end, const char* parent = "") {
    TraceSpan s = span("s", parent, 0, end);
    s.trace_id = trace;
    book.add({s, Json::object()}, Time(1s));
  };
  add("b", 20);
  add("a", 5);
  add("c", 10);
  add("a", 30);
  const auto traces = book.take_newest(2);
  REQUIRE(traces.size() == 2);
  CHECK(traces[0][0].span.trace_id == "b");
  CHECK(traces[1][0].span.trace_id == "a");
  CHECK(traces[1].size() == 2);
  CHECK(book.spans() == 0);
  CHECK(book.take_newest(5).empty());
  CHECK(book.due() == kNever);
}

TEST_CASE("a follower sees a trace when it is quiet and one without a root later") {
  TraceBook book;
  const auto add = [&](const char* trace, const char* parent, Time now) {
    TraceSpan s = span("s", parent, 0, 1);
    s.trace_id = trace;
    book.add({s, Json::object()}, now);
  };
  const Time begin{10s};
  add("rooted", "gone", begin);
  CHECK(book.due() == begin + TraceBook::kPatience);
  add("rooted", "", begin + 100ms);
  add("orphan", "gone", begin + 100ms);
  CHECK(book.due() == begin + 100ms + TraceBook::kQuiet);
  CHECK(book.take_due(begin + 399ms).empty());
  const auto first = book.take_due(begin + 400ms);
  REQUIRE(first.size() == 1);
  CHECK(first[0].size() == 2);
  CHECK(book.due() == begin + 100ms + TraceBook::kPatience);
  CHECK(book.take_due(begin + 5s).size() == 1);
  CHECK(book.spans() == 0);
}

TEST_CASE("there is room for so many spans and the trace that came first goes") {
  TraceBook book;
  for (std::size_t i = 0; i < TraceBook::kSpansMax + 10; ++i) {
    TraceSpan s = span(std::to_string(i), "", 0, 1);
    s.trace_id = i < 7 ? "first" : std::to_string(i / 50'000);
    book.add({std::move(s), Json::object()}, Time(1s));
  }
  CHECK(book.spans() <= TraceBook::kSpansMax);
  CHECK(book.dropped() >= 7);
  CHECK(book.spans() + book.dropped() == TraceBook::kSpansMax + 10);
}

TEST_CASE("what became of spans is an equation for each generation") {
  const Json telemetry = Json::parse(R"({"ledgers":[
{"service":"web","slot":0,"generation":2,"started":9,"ended":8,"exported":5,"rejected":0,"dropped":1,"waiting":2},
{"service":"web","slot":1,"generation":2,"started":9,"ended":4,"exported":4,"waiting":0},
{"service":"web","slot":0,"generation":3,"ended":10,"reconstructed":1,"exported":3,"rejected":1,"duplicates":1,
 "dropped":{"ring full":2,"invalid":0}},
{"service":"api","slot":0,"generation":1,"ended":0,"exported":0},
{"service":"db","slot":4,"generation":1,"ended":5,"exported":3,"imbalance":"2 spans that came went nowhere"},
null,{"service":5}],
"destinations":[{"name":"http://c:4318","failing":true},{"name":"http://d:4318","failing":false},7,{},
{"name":"http://e:4318","signal":"traces","failing":true,"queued_items":5,"spilled_bytes":2000},
{"name":"http://e:4318","signal":"logs","failing":true,"queued_items":1,"fault":"no room on the disk"}]})");
  check_golden("telemetry.txt", telemetry_text(telemetry, false, 0));
  CHECK(telemetry_text(telemetry, true, 0).find("\x1b[31m") != std::string::npos);
  for (std::size_t width = 1; width < 100; ++width)
    CHECK(widest(telemetry_text(telemetry, true, width)) <= width);
  CHECK(telemetry_text(Json::object(), false, 0).empty());
  CHECK(telemetry_text(Json(), false, 0).empty());
}

TEST_CASE("what was lost and is in no ledger is told where there is any") {
  const Json none = Json::parse(
      R"({"counters":{"mailboxes_not_made":0,"mailboxes_lost":0},"own_telemetry_lost":{"spans":0,"logs_and_metrics":0}})");
  CHECK(telemetry_text(none, false, 0).empty());
  const Json some = Json::parse(
      R"({"counters":{"mailboxes_not_made":1,"mailboxes_lost":2},"own_telemetry_lost":{"spans":3,"logs_and_metrics":4}})");
  CHECK(telemetry_text(some, false, 0) ==
        "\nTELEMETRY\n"
        "  1 times a worker got no mailbox: what it told is lost\n"
        "  2 mailboxes went unread, as there were too many\n"
        "  3 spans of runmain itself are lost: too much was in progress\n"
        "  4 logs and metrics of runmain itself are lost: its mailbox was full\n");
}

TEST_CASE("a destination that several configurations have named fails with each signal once") {
  const Json telemetry = Json::parse(R"({"destinations":[
{"name":"http://c:4318","signal":"traces","failing":true,"queued_items":1},
{"name":"http://c:4318","signal":"metrics","failing":true},
{"name":"http://c:4318","signal":"traces","failing":true,"leaving":true,"queued_items":2},
{"name":"http://c:4318","signal":"logs","failing":false}]})");
  CHECK(telemetry_text(telemetry, false, 0) ==
        "\nTELEMETRY\n  to http://c:4318: fails (traces, metrics), is tried again, 3 queued\n");
}

TEST_CASE("what the disk did not take is told beside what is queued") {
  const Json telemetry = Json::parse(R"({"destinations":[
{"name":"http://c:4318","signal":"traces","failing":false,"queued_items":1,"memory_items":2},
{"name":"http://c:4318","signal":"logs","failing":false,"memory_items":3}]})");
  CHECK(telemetry_text(telemetry, false, 0) ==
        "\nTELEMETRY\n  to http://c:4318: 1 queued, 5 in memory only\n");
}

TEST_CASE("workers whose ledgers were folded count in their generation") {
  const Json telemetry = Json::parse(R"({"ledgers":[
{"service":"web","slot":0,"generation":1,"over":true,"folded":true,"ended":8,"exported":7,"imbalance":"1 span went nowhere"},
{"service":"web","slot":0,"generation":2,"over":true,"folded":true,"ended":4,"exported":4},
{"service":"web","slot":1,"generation":2,"over":false,"ended":1,"exported":1}]})");
  CHECK(telemetry_text(telemetry, false, 0) ==
        "\nTELEMETRY\n"
        "  web, earlier generations: 8 ended = 7 exported; does not balance: generation 1 workers before: 1 "
        "span went nowhere\n"
        "  web@2: 5 ended = 5 exported\n");
}

TEST_CASE("generations that are over are one line of their service") {
  const Json telemetry = Json::parse(R"({"ledgers":[
{"service":"web","slot":0,"generation":1,"over":true,"ended":8,"exported":8},
{"service":"web","slot":0,"generation":2,"over":true,"ended":4,"exported":2,"dropped":{"ring full":2}},
{"service":"web","slot":0,"generation":3,"over":true,"ended":1,"exported":1},
{"service":"web","slot":1,"generation":3,"over":false,"ended":1,"exported":1},
{"service":"web","slot":0,"generation":4,"over":false,"ended":5,"exported":5},
{"service":"job","slot":0,"generation":1,"over":true,"ended":2,"exported":1,"imbalance":"1 span went nowhere"},
{"service":"job","slot":1,"generation":1,"over":true,"imbalance":"b"},
{"service":"job","slot":0,"generation":2,"over":true,"imbalance":"c"},
{"service":"job","slot":0,"generation":3,"over":true,"imbalance":"d"}]})");
  CHECK(telemetry_text(telemetry, false, 0) ==
        "\nTELEMETRY\n"
        "  job, earlier generations: 2 ended = 1 exported; does not balance: generation 1 worker 0: 1 span "
        "went "
        "nowhere; generation 1 worker 1: b; generation 2 worker 0: c and 1 more\n"
        "  web, earlier generations: 12 ended = 10 exported + 2 dropped (ring full 2)\n"
        "  web@3: 2 ended = 2 exported\n"
        "  web@4: 5 ended = 5 exported\n");
}

}  // namespace runmain::cli

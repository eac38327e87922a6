// Bytes of OTLP messages: what is refused, what is repaired, and what random bytes do.
#include <deque>

#include <cstring>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/utf8.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

std::string nested_value(int depth) {
  std::string value = text_value("x");
  for (int i = 0; i < depth; ++i) {
    std::string list;
    protozero::pbf_writer{list}.add_message(1, value);
    std::string outer;
    protozero::pbf_writer{outer}.add_message(5, list);
    value = outer;
  }
  return value;
}

std::string span_with(std::uint32_t field, const std::string& bytes) {
  std::string out = make_span({});
  protozero::pbf_writer{out}.add_bytes(field, bytes);
  return out;
}

std::string span_without(const std::string& trace, const std::string& span) {
  SpanSpec spec;
  spec.trace = trace;
  spec.span = span;
  return make_span(spec);
}

}  // namespace

// Requirement 49.
TEST_CASE("a span is sound, or it is told what is wrong") {
  struct Case {
    const char* what;
    std::string bytes;
    WireFault fault;
  };
  const std::string sound = make_span({});
  std::string varint_name = sound;
  protozero::pbf_writer{varint_name}.add_uint64(kSpanName, 5);
  std::string unknown = sound;
  protozero::pbf_writer{unknown}.add_string(1000, "of a version to come");
  SpanSpec deep;
  deep.attributes = {key_value("deep", nested_value(20))};
  SpanSpec too_deep;
  too_deep.attributes = {key_value("deep", nested_value(200))};
  std::string link;
  protozero::pbf_writer{link}.add_bytes(1, "short");
  const Case cases[] = {
      {"sound", sound, WireFault::none},
      {"an unknown field", unknown, WireFault::none},
      {"nested", make_span(deep), WireFault::none},
      {"nested too deep", make_span(too_deep), WireFault::too_deep},
      {"empty", "", WireFault::no_trace_id},
      {"cut off", sound.substr(0, sound.size() - 3), WireFault::malformed},
      {"a group", sound + "\x0b\x0c", WireFault::malformed},
      {"field 0", sound + std::string("\0\0", 2), WireFault::malformed},
      {"a varint without end", sound + "\x50" + std::string(12, '\xff'), WireFault::malformed},
      {"a length of 2^60", sound + "\x2a\xff\xff\xff\xff\xff\xff\xff\x7f", WireFault::malformed},
      {"a name that is a number", varint_name, WireFault::wrong_type},
      {"no trace id", span_without("", id8(1)), WireFault::no_trace_id},
      {"trace id of zeros", span_without(std::string(16, '\0'), id8(1)), WireFault::no_trace_id},
      {"trace id of 15 bytes", span_without(std::string(15, 'x'), id8(1)), WireFault::bad_id},
      {"no span id", span_without(id16(1), ""), WireFault::no_span_id},
      {"span id of zeros", span_without(id16(1), std::string(8, '\0')), WireFault::no_span_id},
      {"span id of 16 bytes", span_without(id16(1), id16(1)), WireFault::bad_id},
      {"parent of 3 bytes", span_with(kSpanParentId, "abc"), WireFault::bad_id},
      {"no parent, said so", span_with(kSpanParentId, ""), WireFault::none},
      {"a link with a short id", span_with(13, link), WireFault::bad_id},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    CHECK(std::string(to_text(check(kSpan, c.bytes).fault)) == to_text(c.fault));
  }
}

TEST_CASE("what the check reads of a span is what is there") {
  SpanSpec spec;
  spec.trace = id16(9);
  spec.span = id8(77);
  const Checked found = check(kSpan, make_span(spec));
  CHECK(found.sound());
  CHECK(std::string(found.ids.trace.begin(), found.ids.trace.end()) == spec.trace);
  CHECK(std::string(found.ids.span.begin(), found.ids.span.end()) == spec.span);
  CHECK(found.start_unix_nano == 1000);
  CHECK(found.end_unix_nano == 2000);
  // Of a field that stands twice, the last one counts.
  const Checked twice = check(kSpan, span_with(kSpanSpanId, std::string(8, '\0')));
  CHECK(twice.fault == WireFault::no_span_id);
}

TEST_CASE("of attributes with one key the last one wins (requirement 15)") {
  SpanSpec spec;
  spec.attributes = {attribute("a", "1"), attribute("b", "2"), attribute("a", "3")};
  const Checked found = check(kSpan, make_span(spec));
  CHECK(found.valid());
  CHECK(found.duplicate_keys);
  spec.attributes = {attribute("b", "2"), attribute("a", "3")};
  CHECK(repair(kSpan, make_span({.attributes = {attribute("a", "1"), attribute("b", "2"),
                                                attribute("a", "3")}})) == make_span(spec));

  SpanSpec many;
  for (int i = 0; i < 1000; ++i) many.attributes.push_back(attribute("key", std::to_string(i)));
  SpanSpec one;
  one.attributes = {attribute("key", "999")};
  CHECK(repair(kSpan, make_span(many)) == make_span(one));

  SpanSpec wide;  // more keys than are compared one by one
  for (int i = 0; i < 100; ++i) wide.attributes.push_back(attribute("key" + std::to_string(i), "v"));
  CHECK(check(kSpan, make_span(wide)).sound());
  wide.attributes.push_back(attribute("key99", "w"));
  CHECK(check(kSpan, make_span(wide)).duplicate_keys);
}

TEST_CASE("keys within an event and within a map are unique as well") {
  std::string event;
  protozero::pbf_writer e{event};
  e.add_string(2, "exception");
  e.add_message(3, attribute("k", "1"));
  e.add_message(3, attribute("k", "2"));
  std::string map;
  protozero::pbf_writer m{map};
  m.add_message(1, attribute("x", "1"));
  m.add_message(1, attribute("x", "2"));
  std::string value;
  protozero::pbf_writer{value}.add_message(6, map);
  for (const std::string& span : {span_with(11, event), span_with(9, key_value("map", value))}) {
    const Checked found = check(kSpan, span);
    CHECK(found.valid());
    CHECK(found.duplicate_keys);
    const std::string fixed = repair(kSpan, span);
    CHECK(check(kSpan, fixed).sound());
    CHECK(fixed.size() < span.size());
  }
}

TEST_CASE("a span that ends before it starts ends at its start (requirement 49)") {
  SpanSpec spec;
  spec.start = 5000;
  const std::string bytes = make_span(spec);
  CHECK(check(kSpan, bytes).ends_early);
  const Checked fixed = check(kSpan, repair(kSpan, bytes));
  CHECK(fixed.sound());
  CHECK(fixed.end_unix_nano == 5000);
}

TEST_CASE("bytes that are no text become one, keys that are the same then included") {
  SpanSpec spec;
  spec.name = "caf\xe9";
  spec.attributes = {attribute("k\xff", "1"), attribute("k\xfe", "2")};
  const Checked found = check(kSpan, make_span(spec));
  CHECK(found.bad_utf8);
  SpanSpec fixed;
  fixed.name = "caf\xef\xbf\xbd";
  fixed.attributes = {attribute("k\xef\xbf\xbd", "2")};
  CHECK(repair(kSpan, make_span(spec)) == make_span(fixed));
}

TEST_CASE("UTF-8 is what Unicode's table 3-7 says") {
  struct Case {
    std::string bytes;
    bool is;
  };
  const Case cases[] = {
      {"", true},
      {"plain ascii of more than eight bytes", true},
      {"\xc3\xa9", true},
      {"\xe2\x82\xac and more", true},
      {"\xf0\x9f\x98\x80", true},
      {"\xf4\x8f\xbf\xbf", true},
      {"\xf4\x90\x80\x80", false},
      {"\xed\xa0\x80", false},
      {"\xed\x9f\xbf", true},
      {"\xc0\xaf", false},
      {"\xe0\x9f\xbf", false},
      {"\xf0\x8f\xbf\xbf", false},
      {"\x80", false},
      {"eight by\xe2\x82", false},
      {"\xff", false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.bytes);
    CHECK(is_utf8(c.bytes) == c.is);
    CHECK(is_utf8(to_utf8(c.bytes)));
    CHECK((to_utf8(c.bytes) == c.bytes) == c.is);
  }
}

TEST_CASE("a list has so many attributes at most, as one of two bytes costs sixty where keys are compared") {
  const std::string empty("\x4a\0", 2);  // an attribute without key and value
  std::string same;
  std::string others;
  for (std::size_t n = 0; n < kAttributesMax; ++n) {
    same += empty;
    protozero::pbf_writer{others}.add_message(kSpanAttributes, attribute("k" + std::to_string(n), ""));
  }
  const std::string span = make_span({});
  CHECK(check(kSpan, span + others).sound());
  CHECK(check(kSpan, span + same).valid());
  CHECK(repair(kSpan, span + same).size() < span.size() + 10);
  for (const std::string& list : {same, others}) {
    CHECK(check(kSpan, span + list + empty).fault == WireFault::too_many);
    // Each list of a message has the limit of its own.
    std::string event;
    protozero::pbf_writer{event}.add_message(3, attribute("one", "more"));
    std::string with_event = span + list;
    protozero::pbf_writer{with_event}.add_message(11, event);
    CHECK(check(kSpan, with_event).valid());
  }
}

TEST_CASE("random bytes and damaged spans are refused, or sound after the repair") {
  const std::uint64_t seed = 20250101;
  CAPTURE(seed);
  Random random(seed);
  const Message* messages[] = {&kSpan,     &kLogRecord, &kMetric,
                               &kResource, &kScope,     &request_message(Signal::metrics)};
  SpanSpec spec;
  spec.attributes = {attribute("a", "1"), attribute("a", "2"), key_value("n", nested_value(3))};
  const std::string good = make_span(spec);
  std::size_t valid = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    if (round % 4 == 0) {
      bytes = random.bytes(random.below(80));
    } else {
      for (std::uint64_t i = random.below(4); i-- > 0;)
        bytes[random.below(bytes.size())] = static_cast<char>(random.next());
      if (round % 3 == 0) bytes.resize(random.below(bytes.size()));
    }
    const Message& message = round % 2 == 0 ? kSpan : *messages[random.below(std::size(messages))];
    if (!check(message, bytes).valid()) continue;
    ++valid;
    const Checked after = check(message, repair(message, bytes));
    CHECK(after.sound());
  }
  CHECK(valid > 1000);  // else it has shown nothing
}

TEST_CASE("a request gives its spans with their origin, also where that comes last") {
  const std::string request =
      make_request(make_resource("web"), make_scope("lib"), {span_number(1), span_number(2)});
  std::vector<Item> items;
  const Keep none = [](std::string) -> std::string_view {
    CHECK(false);  // nothing to repair
    return {};
  };
  const auto count =
      each_item(Signal::traces, request, none, [&](const Item& item) { items.push_back(item); });
  REQUIRE(count.ok());
  CHECK(*count == 2);
  REQUIRE(items.size() == 2);
  CHECK(items[0].bytes == span_number(1));
  CHECK(items[1].bytes == span_number(2));
  CHECK(items[1].origin.resource == make_resource("web"));
  CHECK(items[1].origin.scope == make_scope("lib"));
  CHECK(*each_item(Signal::traces, "", none, [](const Item&) { FAIL("none"); }) == 0);
}

TEST_CASE("a request that is cut off gives nothing at all") {
  const std::string request = make_request(make_resource("web"), make_scope("lib"), {span_number(1)});
  for (std::size_t size = 1; size < request.size(); ++size) {
    int given = 0;
    const auto result = each_item(
        Signal::traces, std::string_view(request).substr(0, size),
        [](std::string) { return std::string_view(); }, [&](const Item&) { ++given; });
    CAPTURE(size);
    CHECK_FALSE(result.ok());
    CHECK(given == 0);
  }
}

TEST_CASE("a resource with duplicate keys is repaired on the way") {
  std::string resource = make_resource("old");
  protozero::pbf_writer{resource}.add_message(1, attribute("service.name", "new"));
  std::string kept;
  const Keep keep = [&](std::string bytes) -> std::string_view { return kept = std::move(bytes); };
  std::string seen;
  REQUIRE(each_item(Signal::traces, make_request(resource, make_scope("lib"), {span_number(1)}), keep,
                    [&](const Item& item) { seen = item.origin.resource; })
              .ok());
  CHECK(seen == make_resource("new"));
}

TEST_CASE("what is larger than what fits a request is not repaired, as it would grow") {
  const auto log = [](std::size_t size) {
    std::string out;
    protozero::pbf_writer{out}.add_string(3, std::string(size, '\xff'));
    return out;
  };
  const std::string largest = log(kRepairMax - 5);  // behind its tag and length
  REQUIRE(largest.size() == kRepairMax);
  CHECK(check(kLogRecord, largest).valid());
  CHECK(check(kLogRecord, log(kRepairMax - 4)).fault == WireFault::too_large);
  std::string sound;
  protozero::pbf_writer{sound}.add_string(3, std::string(kRepairMax, 'x'));
  CHECK(check(kLogRecord, sound).sound());
}

TEST_CASE("what scopes and resources without items say is not repaired, however many there are") {
  std::string scope_spans;
  protozero::pbf_writer{scope_spans}.add_message(kScopeItself, make_scope("bad \xff"));
  std::string resource_spans;
  protozero::pbf_writer r{resource_spans};
  r.add_message(kResourceItself, make_resource("bad \xff"));
  for (int n = 0; n < 1000; ++n) r.add_message(kResourceScopes, scope_spans);
  std::string request;
  protozero::pbf_writer{request}.add_message(kRequestResources, resource_spans);
  std::deque<std::string> kept;
  const Keep keep = [&](std::string text) -> std::string_view { return kept.emplace_back(std::move(text)); };
  CHECK(each_item(Signal::traces, request, keep, [](const Item&) {}).value() == 0);
  CHECK(kept.empty());
  protozero::pbf_writer{scope_spans}.add_message(kScopeItems, span_number(1));
  protozero::pbf_writer{scope_spans}.add_message(kScopeItems, span_number(2));
  r.add_message(kResourceScopes, scope_spans);
  request.clear();
  protozero::pbf_writer{request}.add_message(kRequestResources, resource_spans);
  CHECK(each_item(Signal::traces, request, keep, [](const Item& item) {
          CHECK(item.origin.resource == make_resource("bad \xef\xbf\xbd"));
          CHECK(item.origin.scope == make_scope("bad \xef\xbf\xbd"));
        }).value() == 2);
  CHECK(kept.size() == 2);
}

TEST_CASE("what a collector says is read, and nonsense is none") {
  std::string partial;
  protozero::pbf_writer p{partial};
  p.add_int64(1, 7);
  p.add_string(2, "too old");
  std::string answer;
  protozero::pbf_writer{answer}.add_message(1, partial);
  const auto read = read_partial_success(answer);
  REQUIRE(read.ok());
  CHECK(read->rejected == 7);
  CHECK(read->message == "too old");
  CHECK(read_partial_success("")->rejected == 0);
  CHECK_FALSE(read_partial_success("<html>").ok());
  std::string status;
  protozero::pbf_writer s{status};
  s.add_int32(1, 3);
  s.add_string(2, "bad data");
  CHECK(status_message(status) == "bad data");
  CHECK(status_message("<html>").empty());
}

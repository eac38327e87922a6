// OTLP's JSON form (requirement 48).
#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/encoding.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

std::string there_and_back(const Message& message, const std::string& json) {
  const auto bytes = from_json(message, json);
  if (!bytes) return bytes.error().text();
  const auto back = to_json(message, *bytes);
  return back ? *back : back.error().text();
}

std::string nested(int depth, const char* open, const char* close) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += "{}";
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

}  // namespace

TEST_CASE("hexadecimal and base64 are RFC 4648's") {
  CHECK(to_hex(std::string("\0\xff\x10", 3)) == "00ff10");
  CHECK(from_hex("00Ff10") == std::string("\0\xff\x10", 3));
  CHECK_FALSE(from_hex("0").has_value());
  CHECK_FALSE(from_hex("0g").has_value());
  const char* const kPairs[][2] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : kPairs) {
    CHECK(to_base64(plain) == encoded);
    CHECK(from_base64(encoded) == std::string(plain));
  }
  CHECK(from_base64("Zm8") == std::string("fo"));
  CHECK(from_base64("-_-_") == std::string("\xfb\xff\xbf"));
  CHECK_FALSE(from_base64("Z").has_value());
  CHECK_FALSE(from_base64("Zm 8").has_value());
}

// Requirements 48 and 49, flags included.
TEST_CASE("a span's JSON is its protobuf, and back") {
  const std::string json =
      R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},)"
      R"("scopeSpans":[{"scope":{"name":"lib","version":"1"},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",)"
      R"("spanId":"eee19b7ec3c1b174","traceState":"a=b","parentSpanId":"eee19b7ec3c1b173","name":"I\"m \\ \u0001 é",)"
      R"("kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","attributes":[)"
      R"({"key":"i","value":{"intValue":"-9223372036854775808"}},{"key":"d","value":{"doubleValue":0.5}},)"
      R"({"key":"n","value":{"doubleValue":"NaN"}},{"key":"b","value":{"boolValue":false}},)"
      R"({"key":"y","value":{"bytesValue":"AP8="}},)"
      R"({"key":"l","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":"1"}]}}},)"
      R"({"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}],)"
      R"("droppedAttributesCount":4294967295,"events":[{"timeUnixNano":"18446744073709551615","name":"e"}],)"
      R"("links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":257}],)"
      R"("status":{"message":"bad","code":2},"flags":769}]}],"schemaUrl":"https://s"}]})";
  const auto bytes = from_json(request_message(Signal::traces), json);
  REQUIRE(bytes.ok());
  CHECK(check(request_message(Signal::traces), *bytes).sound());
  CHECK(to_json(request_message(Signal::traces), *bytes).value() == json);
}

TEST_CASE("all forms of metrics go there and back") {
  const std::string json =
      R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[)"
      R"({"name":"g","unit":"1","gauge":{"dataPoints":[{"timeUnixNano":"5","asDouble":-0.25,"flags":1}]}},)"
      R"({"name":"s","sum":{"dataPoints":[{"asInt":"-7"}],"aggregationTemporality":2,"isMonotonic":true}},)"
      R"({"name":"h","histogram":{"dataPoints":[{"count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.1,)"
      R"(1e+100],"exemplars":[{"asInt":"1","filteredAttributes":[{"key":"k"}]}],"min":0,"max":"Infinity"}]}},)"
      R"({"name":"e","exponentialHistogram":{"dataPoints":[{"count":"1","scale":-3,"zeroCount":"0","positive":{"offset":-1,)"
      R"("bucketCounts":["18446744073709551615"]}}]}},)"
      R"({"name":"q","summary":{"dataPoints":[{"quantileValues":[{"quantile":0.5,"value":2}]}]}}]}]}]})";
  CHECK(there_and_back(request_message(Signal::metrics), json) == json);
}

TEST_CASE("of two members of a oneof the last one counts, as in protobuf") {
  std::string value = text_value("first");
  protozero::pbf_writer{value}.add_int64(3, 7);
  CHECK(to_json(kAnyValue, value).value() == R"({"intValue":"7"})");
  protozero::pbf_writer{value}.add_string(1, "last");
  CHECK(to_json(kAnyValue, value).value() == R"({"stringValue":"last"})");

  std::string exemplar;
  protozero::pbf_writer{exemplar}.add_double(3, 0.5);
  protozero::pbf_writer{exemplar}.add_sfixed64(6, 2);
  std::string point;
  protozero::pbf_writer{point}.add_sfixed64(6, 1);
  protozero::pbf_writer{point}.add_double(4, 0.5);
  protozero::pbf_writer{point}.add_message(5, exemplar);
  std::string numbers;
  protozero::pbf_writer{numbers}.add_message(1, point);
  std::string metric;
  protozero::pbf_writer{metric}.add_string(1, "m");
  protozero::pbf_writer{metric}.add_message(7, numbers);
  protozero::pbf_writer{metric}.add_message(5, numbers);
  CHECK(to_json(kMetric, metric).value() ==
        R"({"name":"m","gauge":{"dataPoints":[{"asDouble":0.5,"exemplars":[{"asInt":"2"}]}]}})");
}

TEST_CASE("what is written in another way means the same") {
  struct Case {
    const char* in;
    const char* out;
  };
  const Case cases[] = {
      {R"({"traceId":"ABCDEF","name":"x"})", R"({"traceId":"abcdef","name":"x"})"},
      {R"({"startTimeUnixNano":5,"endTimeUnixNano":5.0})",
       R"({"startTimeUnixNano":"5","endTimeUnixNano":"5"})"},
      {R"({"startTimeUnixNano":"5e2"})", R"({"startTimeUnixNano":"500"})"},
      {R"({"kind":2.0})", R"({"kind":2})"},
      {R"({"name":null,"kind":null,"attributes":null})", "{}"},
      {R"({"to_come":{"a":[[{}],1,"x",null,true]},"name":"x"})", R"({"name":"x"})"},
      {R"({"new_field":"5","_":1,"name_":"y","Name":"z","name":"x"})", R"({"name":"x"})"},
      {R"({"attributes":[]})", "{}"},
      {R"({"status":{}})", R"({"status":{}})"},
      {R"({"droppedAttributesCount":"7"})", R"({"droppedAttributesCount":7})"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.in);
    CHECK(there_and_back(kSpan, c.in) == c.out);
  }
}

TEST_CASE("what is no OTLP JSON is refused with the field's name") {
  struct Case {
    std::string in;
    const char* fault;
  };
  const Case cases[] = {
      {"", "not JSON at byte"},
      {"{", "not JSON at byte"},
      {"{} {}", "not JSON at byte"},
      {"[]", "Span is not an object"},
      {"5", "Span is not an object"},
      {"null", "not JSON"},
      {R"({"traceId":"W47/95gDgQPSabYzgT/GDA=="})", "traceId is not hexadecimal"},
      {R"({"traceId":5})", "traceId is not a number"},
      {R"({"kind":"SPAN_KIND_SERVER"})", "kind is a name, not a number"},
      // Unknown fields are ignored; these would be lost with all that is in them, and nobody would know.
      {R"({"start_time_unix_nano":"5"})",
       "start_time_unix_nano is not a name in OTLP's JSON, startTimeUnixNano is"},
      {R"({"trace_id":null})", "trace_id is not a name in OTLP's JSON, traceId is"},
      {R"({"attributes":[{"value":{"string_value":"x"}}]})", "string_value is not a name"},
      {R"({"kind":4294967296})", "kind is not an integer in its range"},
      {R"({"startTimeUnixNano":-1})", "startTimeUnixNano is not an integer in its range"},
      {R"({"startTimeUnixNano":1.5})", "startTimeUnixNano is not an integer in its range"},
      {R"({"startTimeUnixNano":"18446744073709551616"})", "startTimeUnixNano is not"},
      {R"({"startTimeUnixNano":""})", "startTimeUnixNano is not a number"},
      {R"({"name":5})", "name is not a number"},
      {R"({"name":["x"]})", "name is not an array"},
      {R"({"attributes":{}})", "attributes is not an array"},
      {R"({"attributes":[[]]})", "attributes is not an array"},
      {R"({"attributes":[5]})", "attributes is not a number"},
      {R"({"status":true})", "status is not a boolean"},
      {R"({"flags":4294967296})", "flags is not an integer in its range"},
      {std::string("{\"name\":\"\xff\"}"), "not JSON at byte"},
      {R"({"attributes":[{"value":)" + nested(200, R"({"arrayValue":{"values":[)", "]}}") + "}]}",
       "nested too deep"},
      {R"({"to_come":)" + nested(200, "[", "]") + "}", "nested too deep"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.in.substr(0, 60));
    const auto bytes = from_json(kSpan, c.in);
    REQUIRE_FALSE(bytes.ok());
    CHECK(bytes.error().message.find(c.fault) != std::string::npos);
  }
}

TEST_CASE("JSON that would become more protobuf than its limit is refused, as a digit may be nine bytes") {
  const auto zeros = [](std::size_t count) {
    std::string list;
    for (std::size_t n = 0; n < count; ++n) list += n == 0 ? "0" : ",0";
    return R"({"histogram":{"dataPoints":[{"bucketCounts":[)" + list + "]}]}}";
  };
  CHECK(from_json(kMetric, zeros(100), 900).ok());
  const auto more = from_json(kMetric, zeros(101), 900);
  REQUIRE_FALSE(more.ok());
  CHECK(more.error().code == 413);
  CHECK(more.error().message == "more than 900 bytes as protobuf");
  CHECK(from_json(kSpan, R"({"name":"four"})", 6).ok());
  CHECK_FALSE(from_json(kSpan, R"({"name":"fives"})", 6).ok());
}

TEST_CASE("bytes that are not protobuf have no JSON") {
  CHECK_FALSE(to_json(kSpan, "\x0a\x7f").ok());
  std::string deep = "x";
  for (int i = 0; i < 200; ++i) {
    std::string list;
    protozero::pbf_writer{list}.add_message(1, deep);
    deep.clear();
    protozero::pbf_writer{deep}.add_message(5, list);
  }
  CHECK_FALSE(to_json(kAnyValue, deep).ok());
}

TEST_CASE("damaged JSON and random bytes break nothing, and what is accepted comes back the same") {
  const std::uint64_t seed = 11;
  CAPTURE(seed);
  Random random(seed);
  const std::string request =
      make_request(make_resource("web"), make_scope("lib"), {span_number(1), span_number(2)});
  const std::string good = to_json(request_message(Signal::traces), request).value();
  std::size_t accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = good;
    for (std::uint64_t i = random.below(4); i-- > 0;) {
      static constexpr std::string_view kBytes = "{}[]\":,0123456789aeE+-.\\nul\xff ";
      text[random.below(text.size())] = kBytes[random.below(kBytes.size())];
    }
    const auto bytes = from_json(request_message(Signal::traces), text);
    if (bytes) {
      ++accepted;
      const std::string once = to_json(request_message(Signal::traces), *bytes).value();
      CHECK(there_and_back(request_message(Signal::traces), once) == once);
    }
    (void)to_json(request_message(Signal::traces), random.bytes(random.below(60)));
    std::string damaged = request;
    damaged[random.below(damaged.size())] = static_cast<char>(random.next());
    (void)to_json(request_message(Signal::traces), damaged);
  }
  CHECK(accepted > 200);
}

// Heads that are taken and refused, bodies as items, and answers; no sockets.
#include <nlohmann/json.hpp>

#include "base/identity.hpp"
#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/gzip.hpp"
#include "telemetry/otlp_intake.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

const std::string kSecret = "0123456789abcdef";
const ChildKey kWorker{ServiceId{3}, 1, 4, 2};

HttpRequest good_head() {
  HttpRequest head;
  head.method = "POST";
  head.path = "/v1/traces";
  head.content_type = "application/x-protobuf";
  head.token = otlp_token(kSecret, kWorker);
  head.has_token = true;
  return head;
}

OtlpCall call_of(OtlpEncoding encoding, Signal signal = Signal::traces, bool is_gzip = false) {
  return {kWorker, signal, encoding, is_gzip};
}

const OtlpCall kProtobuf = call_of(OtlpEncoding::protobuf);
const OtlpCall kJson = call_of(OtlpEncoding::json);

std::string request_of(const std::vector<std::string>& spans) {
  return make_request(make_resource("web"), make_scope("lib"), spans);
}

std::string message_of(const OtlpAnswer& answer) {
  if (answer.encoding == OtlpEncoding::protobuf) return status_message(answer.body);
  return nlohmann::json::parse(answer.body).at("message").get<std::string>();
}

}  // namespace

TEST_CASE("a head is taken for its token and its path and its media types") {
  auto judged = judge_head(good_head(), kSecret);
  REQUIRE(std::holds_alternative<OtlpCall>(judged));
  const OtlpCall call = std::get<OtlpCall>(judged);
  CHECK(call.worker == kWorker);
  CHECK(call.signal == Signal::traces);
  CHECK(call.encoding == OtlpEncoding::protobuf);
  CHECK_FALSE(call.is_gzip);

  HttpRequest other = good_head();
  other.path = "/v1/logs";
  other.content_type = "application/json";
  other.content_encoding = "gzip";
  judged = judge_head(other, kSecret);
  REQUIRE(std::holds_alternative<OtlpCall>(judged));
  CHECK(std::get<OtlpCall>(judged).signal == Signal::logs);
  CHECK(std::get<OtlpCall>(judged).encoding == OtlpEncoding::json);
  CHECK(std::get<OtlpCall>(judged).is_gzip);
}

TEST_CASE("a head that is refused is told why and what to do") {
  using Why = OtlpRefusal::Why;
  const struct {
    const char* what;
    std::function<void(HttpRequest&)> change;
    Why why;
    int status;
    const char* message;
    const char* fields;
  } rows[] = {
      {"no token", [](HttpRequest& r) { r.token.clear(), r.has_token = false; }, Why::no_token, 401,
       "OTEL_EXPORTER_OTLP_HEADERS", "WWW-Authenticate"},
      {"an empty token", [](HttpRequest& r) { r.token.clear(); }, Why::foreign_token, 401, "unset", ""},
      {"another runmain's token", [](HttpRequest& r) { r.token = otlp_token("another", kWorker); },
       Why::foreign_token, 401, "OTEL_EXPORTER_OTLP_ENDPOINT", ""},
      {"a token that was changed", [](HttpRequest& r) { r.token[0] = '4'; }, Why::foreign_token, 401, "", ""},
      {"strangers learn nothing of paths", [](HttpRequest& r) { r.path = "/", r.token = "x"; },
       Why::foreign_token, 401, "", ""},
      {"another path", [](HttpRequest& r) { r.path = "/v1/traces/"; }, Why::path, 404, "/v1/traces", ""},
      {"GET", [](HttpRequest& r) { r.method = "GET"; }, Why::method, 405, "POST", "Allow: POST\r\n"},
      {"HEAD", [](HttpRequest& r) { r.method = "HEAD"; }, Why::method, 405, "", "Allow: POST\r\n"},
      {"post", [](HttpRequest& r) { r.method = "post"; }, Why::method, 405, "", "Allow: POST\r\n"},
      {"no type", [](HttpRequest& r) { r.content_type.clear(); }, Why::media, 415, "x-protobuf", "Accept: "},
      {"text", [](HttpRequest& r) { r.content_type = "text/plain"; }, Why::media, 415, "json", ""},
      {"zstd", [](HttpRequest& r) { r.content_encoding = "zstd"; }, Why::media, 415, "gzip",
       "Accept-Encoding: gzip\r\n"},
      {"gzip twice", [](HttpRequest& r) { r.content_encoding = "gzip, gzip"; }, Why::media, 415, "", ""},
  };
  for (const auto& row : rows) {
    CAPTURE(row.what);
    HttpRequest head = good_head();
    row.change(head);
    const auto judged = judge_head(head, kSecret);
    REQUIRE(std::holds_alternative<OtlpRefusal>(judged));
    const auto& refusal = std::get<OtlpRefusal>(judged);
    CHECK(refusal.why == row.why);
    CHECK(refusal.answer.status == row.status);
    CHECK(refusal.answer.fields.find(row.fields) != std::string::npos);
    CHECK(message_of(refusal.answer).find(row.message) != std::string::npos);
    CHECK((refusal.answer.encoding == OtlpEncoding::protobuf) ==
          (head.content_type.find("proto") != std::string::npos));
  }
}

TEST_CASE("a request's items come with where they are from") {
  const std::string bytes = request_of({span_number(1), span_number(2)});
  const auto json = to_json(request_message(Signal::traces), bytes);
  REQUIRE(json.ok());
  const struct {
    OtlpCall call;
    std::string body;
  } rows[] = {{kProtobuf, bytes},
              {kJson, *json},
              {call_of(OtlpEncoding::protobuf, Signal::traces, true), *gzip(bytes)},
              {call_of(OtlpEncoding::json, Signal::traces, true), *gzip(*json)}};
  for (const auto& row : rows) {
    const auto intake = take_in(row.call, row.body);
    REQUIRE(intake.ok());
    REQUIRE((*intake)->items.size() == 2);
    const Item& item = (*intake)->items[1];
    CHECK(item.bytes == span_number(2));
    CHECK(item.origin.resource == make_resource("web"));
    CHECK(item.origin.scope == make_scope("lib"));
    CHECK(std::string(item.ids.span.begin(), item.ids.span.end()) == id8(2));
    CHECK((*intake)->invalid == 0);
    CHECK(answer_of(row.call, **intake).status == 200);
    CHECK(answer_of(row.call, **intake).body == (row.call.encoding == OtlpEncoding::json ? "{}" : ""));
  }
}

// Requirement 50.
TEST_CASE("an empty request is taken and has no items") {
  for (const Signal signal : {Signal::traces, Signal::metrics, Signal::logs}) {
    for (const OtlpEncoding encoding : {OtlpEncoding::protobuf, OtlpEncoding::json}) {
      const OtlpCall call = call_of(encoding, signal);
      const auto intake = take_in(call, encoding == OtlpEncoding::json ? "{}" : "");
      REQUIRE(intake.ok());
      CHECK((*intake)->items.empty());
      CHECK(answer_of(call, **intake).status == 200);
    }
  }
  const auto no_spans = take_in(kJson, R"({"resourceSpans":[{"resource":{},"scopeSpans":[{"spans":[]}]}]})");
  REQUIRE(no_spans.ok());
  CHECK((*no_spans)->items.empty());
}

// Requirements 49 and 50.
TEST_CASE("what of a request cannot be taken is counted, and the rest is taken") {
  SpanSpec no_trace;
  no_trace.trace = std::string(16, '\0');
  SpanSpec short_id;
  short_id.span = "1234";
  const std::string bytes = request_of({make_span(no_trace), span_number(1), make_span(short_id), "\xff"});
  for (const OtlpCall& call : {kProtobuf}) {
    const auto intake = take_in(call, bytes);
    REQUIRE(intake.ok());
    CHECK((*intake)->items.size() == 1);
    CHECK((*intake)->invalid == 3);
    const OtlpAnswer answer = answer_of(call, **intake);
    CHECK(answer.status == 200);
    const auto partial = read_partial_success(answer.body);
    REQUIRE(partial.ok());
    CHECK(partial->rejected == 3);
    CHECK(partial->message == "3 of 4 spans cannot be taken; the first one: no trace id");
  }
  const std::string json =
      R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"","spanId":"0102030405060708"},)"
      R"({"traceId":"01020304050607080102030405060708","spanId":"0102030405060708","later":1}]}]}]})";
  const auto intake = take_in(kJson, json);
  REQUIRE(intake.ok());
  CHECK((*intake)->items.size() == 1);
  CHECK(answer_of(kJson, **intake).body == R"({"partialSuccess":{"rejectedSpans":"1","errorMessage":)"
                                           R"("1 of 2 spans cannot be taken; the first one: no trace id"}})");
}

TEST_CASE("a request of which nothing can be taken is bad data") {
  SpanSpec short_id;
  short_id.span = "1234";
  const auto intake = take_in(kProtobuf, request_of({make_span(short_id)}));
  REQUIRE(intake.ok());
  const OtlpAnswer answer = answer_of(kProtobuf, **intake);
  CHECK(answer.status == 400);
  CHECK(status_message(answer.body) ==
        "1 of 1 spans cannot be taken; the first one: an id of a wrong length");
}

// Requirement 50.
TEST_CASE("a body that cannot be read is refused as a whole") {
  const auto with_id = [](const std::string& id) {
    return R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":)" + id + "}]}]}]}";
  };
  const OtlpCall zipped = call_of(OtlpEncoding::protobuf, Signal::traces, true);
  const struct {
    const char* what;
    OtlpCall call;
    std::string body;
    int status;
    const char* message;
  } rows[] = {
      {"not protobuf", kProtobuf, "\xff\xff", 400, "not an ExportTraceServiceRequest"},
      {"cut off", kProtobuf, request_of({span_number(1)}).substr(0, 30), 400, "not an"},
      {"not JSON", kJson, "<xml/>", 400, "not JSON at byte"},
      {"no bytes as JSON", kJson, "", 400, "not JSON"},
      {"ids in base64", kJson, with_id(R"("W47/95gDgQPSabYzgT/GDA==")"), 400, "traceId is not hexadecimal"},
      {"snake_case", kJson, R"({"resource_spans":[]})", 400, "resourceSpans is"},
      {"an enumeration's name", kJson,
       R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER"}]}]}]})", 400,
       "kind is a name"},
      {"not gzip", zipped, request_of({span_number(1)}), 400, "gzip"},
      {"gzip that is cut off", zipped, gzip(request_of({span_number(1)}))->substr(0, 40), 400, "gzip"},
      {"a bomb", zipped, *gzip(std::string(2U << 20U, '\0')), 413, "more than"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.what);
    const auto intake = take_in(row.call, row.body, {.body = 1U << 20U, .items = 1000});
    REQUIRE_FALSE(intake.ok());
    CHECK(intake.error().code == row.status);
    CHECK(intake.error().message.find(row.message) != std::string::npos);
  }
}

TEST_CASE("more items than the limit are refused, as an empty log record is two bytes") {
  const OtlpCall call = call_of(OtlpEncoding::protobuf, Signal::logs);
  const OtlpLimits limits{.body = 1U << 20U, .items = 100};
  const auto some = take_in(call, request_of(std::vector<std::string>(100)), limits);
  REQUIRE(some.ok());
  CHECK((*some)->items.size() == 100);
  const auto many = take_in(call, request_of(std::vector<std::string>(100000)), limits);
  REQUIRE_FALSE(many.ok());
  CHECK(many.error().code == 413);
}

TEST_CASE("what can be repaired is, and is counted") {
  SpanSpec spec;
  spec.attributes = {attribute("a", "1"), attribute("a", "2")};
  spec.name = "bad \xff";
  const auto intake = take_in(kProtobuf, request_of({make_span(spec), span_number(2)}));
  REQUIRE(intake.ok());
  CHECK((*intake)->items.size() == 2);
  CHECK((*intake)->repaired == 1);
  CHECK(check(kSpan, (*intake)->items[0].bytes).sound());
}

TEST_CASE("more to repair than the limit is refused, as bytes that are no text grow") {
  SpanSpec spec;
  spec.name = std::string(100, '\xff');
  const auto requests = [&](std::size_t spans) {
    return request_of(std::vector<std::string>(spans, make_span(spec)));
  };
  const std::size_t one = repair(kSpan, make_span(spec)).size();
  const OtlpLimits limits{.repaired = 5 * one};
  const auto five = take_in(kProtobuf, requests(5), limits);
  REQUIRE(five.ok());
  CHECK((*five)->repaired == 5);
  const auto six = take_in(kProtobuf, requests(6), limits);
  REQUIRE_FALSE(six.ok());
  CHECK(six.error().code == 413);
  const OtlpCall json = call_of(OtlpEncoding::json, Signal::metrics);
  const std::string grows = R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[)"
                            R"({"explicitBounds":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}}]}]}]})";
  const auto grown = take_in(json, grows, {.body = 100});
  REQUIRE_FALSE(grown.ok());
  CHECK(grown.error().code == 413);
}

TEST_CASE("a span with too many attributes is counted, and the others are taken") {
  std::string span = span_number(1);
  for (std::size_t n = 0; n < kAttributesMax; ++n) span += std::string("\x4a\0", 2);
  const auto intake = take_in(kProtobuf, request_of({span, span_number(2)}));
  REQUIRE(intake.ok());
  CHECK((*intake)->items.size() == 1);
  CHECK((*intake)->invalid == 1);
  CHECK((*intake)->fault == "too many attributes in one list");
}

// Requirement 50.
TEST_CASE("answers have the form of their request") {
  CHECK(to_bytes(taken_answer(OtlpEncoding::protobuf), true) ==
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
  CHECK(to_bytes(taken_answer(OtlpEncoding::json), false) ==
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        "Connection: close\r\n\r\n{}");
  const OtlpAnswer fault = fault_answer(OtlpEncoding::json, 401, "a \"b\" \xff\n");
  CHECK(fault.body == "{\"code\":16,\"message\":\"a \\\"b\\\" \xef\xbf\xbd\\u000a\"}");
  CHECK(to_bytes(fault, true, true)
            .ends_with("Content-Length: " + std::to_string(fault.body.size()) + "\r\n\r\n"));
  CHECK(status_message(fault_answer(OtlpEncoding::protobuf, 503, "later").body) == "later");
  const OtlpAnswer metrics = partial_answer(Signal::metrics, OtlpEncoding::json, 2, "x");
  CHECK(metrics.body == R"({"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"x"}})");
}

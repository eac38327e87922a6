#include "telemetry/line_log.hpp"

#include <string>

#include "support/catch.hpp"
#include "telemetry/encoding.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/schema.hpp"

using namespace runmain::telemetry;

namespace {

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c";
const std::string kSpanId = "b7ad6b7169203331";

std::string found(const std::string& line) {
  const auto ids = ids_in_line(line);
  if (!ids) return "none";
  const auto hex = [](const auto& id) {
    return to_hex({reinterpret_cast<const char*>(id.data()), id.size()});
  };
  const std::string span = hex(ids->span);
  return hex(ids->trace) + (span == "0000000000000000" ? "" : " " + span);
}

}  // namespace

TEST_CASE("the ids of a span are found in a line as programs write them") {
  const std::string both = kTrace + " " + kSpanId;
  const struct {
    std::string line;
    std::string ids;
  } rows[] = {
      {"GET / 200", "none"},
      {"", "none"},
      {"trace_id=" + kTrace + " span_id=" + kSpanId + " done", both},
      {"[trace_id=" + kTrace + " span_id=" + kSpanId + " resource.service.name=web] done", both},
      {R"({"msg":"x","traceId":")" + kTrace + R"(","spanId":")" + kSpanId + "\"}", both},
      {R"({"trace.id": ")" + kTrace + "\"}", kTrace},
      {"traceparent: 00-" + kTrace + "-" + kSpanId + "-01", both},
      {"took 00-" + kTrace + "-" + kSpanId, "none"},
      {"trace_id=0 span_id=0", "none"},
      {"trace_id=00000000000000000000000000000000 span_id=" + kSpanId, "none"},
      {"trace_id=" + kTrace + "0", "none"},
      {"trace_id=" + kTrace.substr(1), "none"},
      {"span_id=" + kSpanId, "none"},
      {"the trace_id is unknown, trace_id=" + kTrace, kTrace},
      {"trace_id", "none"},
      {"trace_id=", "none"},
      {"sha " + kTrace, "none"},
      {"00-", "none"},
  };
  for (const auto& row : rows) {
    INFO(row.line);
    CHECK(found(row.line) == row.ids);
  }
}

TEST_CASE("a line is a sound LogRecord, whatever its bytes are") {
  for (const std::string& text : {std::string("hello"), std::string("\xff\0\x1b[31m", 7), std::string(),
                                  std::string(100'000, 'x'), "trace_id=" + kTrace}) {
    const std::string bytes = to_log_record({text, 5, "web", 1, 2});
    CHECK(check(item_message(Signal::logs), bytes).sound());
    CHECK(bytes.size() < kLogBodyMax + 500);
  }
}

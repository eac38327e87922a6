// OTEL_EXPORTER_OTLP_*: where telemetry goes.
#include "support/catch.hpp"
#include "telemetry/endpoint.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

std::string url_of(const Environment& environment, Signal signal = Signal::traces) {
  return read_endpoint(signal, environment).url;
}

}  // namespace

TEST_CASE("a base gets the signal's path, a signal's own endpoint is used as it is (requirement 41)") {
  struct Case {
    const char* base;
    const char* own;
    const char* expected;
  };
  const Case cases[] = {
      {"", "", "http://localhost:4318/v1/traces"},
      {"http://c:4318", "", "http://c:4318/v1/traces"},
      {"http://c:4318/", "", "http://c:4318/v1/traces"},
      {"https://c/otlp", "", "https://c/otlp/v1/traces"},
      {"https://c/otlp/", "", "https://c/otlp/v1/traces"},
      {"HTTPS://c/otlp?key=1#there", "", "https://c/otlp/v1/traces?key=1"},
      {"http://[::1]:4318", "", "http://[::1]:4318/v1/traces"},
      {"http://user:pass@c:1", "", "http://user:pass@c:1/v1/traces"},
      {"http://c:4318", "http://own/x", "http://own/x"},
      {"", "http://own", "http://own/"},
      {"", "http://own/", "http://own/"},
      {"", "http://own?a=b", "http://own/?a=b"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.base, c.own);
    const Endpoint endpoint = read_endpoint(Signal::traces, {{"OTEL_EXPORTER_OTLP_ENDPOINT", c.base},
                                                             {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.own}});
    CHECK(endpoint.url == c.expected);
    CHECK(endpoint.warnings.empty());
  }
  CHECK(url_of({}, Signal::metrics) == "http://localhost:4318/v1/metrics");
  CHECK(url_of({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}}, Signal::logs) == "http://c/v1/logs");
  CHECK(url_of({{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l"}}) == "http://localhost:4318/v1/traces");
}

TEST_CASE("an endpoint that is none is a warning, and nothing is exported") {
  for (const char* url : {"c:4318", "unix:///run/x", "http://", "http:///path", "http://:80", "http://c:0",
                          "http://c:70000", "http://c:x", " http://c:4318", "http://c:4318 ", "http://[::1",
                          "http://[]:80", "http://c d", "http://c\n", "grpc://c:4317"}) {
    CAPTURE(url);
    const Endpoint endpoint = read_endpoint(Signal::traces, {{"OTEL_EXPORTER_OTLP_ENDPOINT", url}});
    CHECK_FALSE(endpoint.enabled);  // nothing goes elsewhere than where it was meant to go
    REQUIRE(endpoint.warnings.size() == 1);
    CHECK(endpoint.warnings[0].find("OTEL_EXPORTER_OTLP_ENDPOINT") == 0);
  }
}

TEST_CASE(
    "headers are percent-decoded pairs, and what is none is left out without its value (requirement 42)") {
  struct Case {
    const char* text;
    std::vector<std::pair<std::string, std::string>> expected;
    std::size_t warnings;
  };
  const Case cases[] = {
      {"", {}, 0},
      {"a=1", {{"a", "1"}}, 0},
      {"a=1,b=2", {{"a", "1"}, {"b", "2"}}, 0},
      {" a = 1 , b=2,", {{"a", "1"}, {"b", "2"}}, 0},
      {"authorization=Basic%20abc%3D%3D", {{"authorization", "Basic abc=="}}, 0},
      {"k=a=b", {{"k", "a=b"}}, 0},
      {"k=", {{"k", ""}}, 0},
      {"A=1,a=2", {{"a", "2"}}, 0},
      {"secret", {}, 1},
      {"=1", {}, 1},
      {"a b=1", {}, 1},
      {"a=%zz,b=1", {{"b", "1"}}, 1},
      {"a=%4", {}, 1},
      {"a=1%0d%0aX-Evil:%201", {}, 1},
      {"a=1;property=2", {}, 1},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    std::vector<std::string> warnings;
    CHECK(parse_headers(c.text, warnings) == c.expected);
    CHECK(warnings.size() == c.warnings);
    for (const std::string& warning : warnings) CHECK(warning.find("Evil") == std::string::npos);
  }
}

TEST_CASE("a signal's own setting beats the general one, and empty is not set (requirements 21, 42)") {
  const Endpoint endpoint =
      read_endpoint(Signal::traces, {
                                        {"OTEL_EXPORTER_OTLP_TIMEOUT", "1000"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"},
                                        {"OTEL_EXPORTER_OTLP_HEADERS", "a=1"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""},
                                        {"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"},
                                        {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"},
                                        {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"},
                                        {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/cert.pem"},
                                    });
  CHECK(endpoint.timeout == std::chrono::milliseconds(2500));
  CHECK(endpoint.headers.size() == 1);
  CHECK_FALSE(endpoint.gzip);
  CHECK_FALSE(endpoint.json);
  CHECK(endpoint.certificate == "/ca.pem");
  CHECK(endpoint.client_key == "/key.pem");
  CHECK(endpoint.client_certificate == "/cert.pem");
  CHECK(endpoint.warnings.empty());
  CHECK(endpoint.enabled);
  const Endpoint metrics =
      read_endpoint(Signal::metrics, {{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"}});
  CHECK(metrics.json);
}

TEST_CASE("numbers and words that are not understood are warned of and ignored (requirement 21)") {
  struct Case {
    const char* option;
    const char* value;
  };
  const Case cases[] = {{"TIMEOUT", "soon"},
                        {"TIMEOUT", "-1"},
                        {"TIMEOUT", "0"},
                        {"TIMEOUT", "1e3"},
                        {"TIMEOUT", "99999999999999999999"},
                        {"COMPRESSION", "zstd"},
                        {"COMPRESSION", "GZIP"},
                        {"PROTOCOL", "grpc"},
                        {"PROTOCOL", "thrift"}};
  for (const Case& c : cases) {
    CAPTURE(c.option, c.value);
    const Endpoint endpoint =
        read_endpoint(Signal::traces, {{std::string("OTEL_EXPORTER_OTLP_") + c.option, c.value}});
    CHECK(endpoint.warnings.size() == 1);
    CHECK(endpoint.timeout == kExportTimeout);
    CHECK_FALSE(endpoint.gzip);
    CHECK_FALSE(endpoint.json);
  }
  CHECK(read_endpoint(Signal::traces, {{"OTEL_EXPORTER_OTLP_TIMEOUT", "999999999"}}).timeout ==
        kExportTimeoutMax);
}

// Requirement 26.
TEST_CASE("an exporter that is none turns a signal off") {
  CHECK_FALSE(read_endpoint(Signal::traces, {{"OTEL_TRACES_EXPORTER", "none"}}).enabled);
  CHECK(read_endpoint(Signal::logs, {{"OTEL_TRACES_EXPORTER", "none"}}).enabled);
  CHECK(read_endpoint(Signal::traces, {{"OTEL_TRACES_EXPORTER", ""}}).enabled);
  CHECK(read_endpoint(Signal::traces, {{"OTEL_TRACES_EXPORTER", "console,otlp"}}).warnings.empty());
  CHECK(read_endpoint(Signal::traces, {{"OTEL_TRACES_EXPORTER", "zipkin"}}).warnings.size() == 1);
  for (const char* yes : {"true", "TRUE", "True"}) {
    CHECK_FALSE(read_endpoint(Signal::traces, {{"OTEL_SDK_DISABLED", yes}}).enabled);
  }
  for (const char* no : {"false", "1", "yes", "", "true "}) {
    CHECK(read_endpoint(Signal::traces, {{"OTEL_SDK_DISABLED", no}}).enabled);
  }
}

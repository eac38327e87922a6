// What counts of the file and the environment, for each service: tables.
#include "app/telemetry_config.hpp"

#include <unistd.h>

#include <fstream>

#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::app;
using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

namespace {

TelemetryService service(const Variables& env = {}, const core::TelemetrySpec& spec = {}) {
  return {ServiceId{4}, "web", spec, env};
}

core::TelemetrySpec at(const std::string& endpoint) {
  core::TelemetrySpec spec;
  spec.endpoint = endpoint;
  return spec;
}

// What the only service's destination reads; empty: it has none.
Strings variables_of(const TelemetryService& service, const Strings& environment) {
  const TelemetryPlan plan = plan_telemetry({service}, environment);
  REQUIRE(plan.services.size() == 1);
  const auto index = plan.services[0].destination;
  if (index == telemetry::kNoDestination) return {};
  return plan.destinations.at(static_cast<std::size_t>(index)).variables;
}

Strings warnings_of(const TelemetryService& service, const Strings& environment) {
  return plan_telemetry({service}, environment).warnings;
}

}  // namespace

TEST_CASE("what counts is the file and then the service's environment and then runmain's") {
  struct Row {
    const char* what;
    Strings environment;
    Variables env;
    core::TelemetrySpec spec;
    Strings variables;
  };
  core::TelemetrySpec whole = at("https://file:1");
  whole.protocol = "http/json";
  whole.compression = "none";
  whole.headers = {{"Authorization", "Bearer a,b;c=d %"}, {"x", ""}};
  whole.timeout = 1500ms;
  whole.certificate = "/ca";
  whole.client_certificate = "/own";
  whole.client_key = "/key";
  core::TelemetrySpec headers;
  headers.headers = {{"k", "file"}};
  core::TelemetrySpec off = at("http://file:1");
  off.enabled = false;
  core::TelemetrySpec direct = at("http://file:1");
  direct.direct = true;
  const std::string e = "OTEL_EXPORTER_OTLP_ENDPOINT";
  const Row rows[] = {
      {"no endpoint is no destination", {"OTEL_EXPORTER_OTLP_HEADERS=a=b", "PATH=/bin"}, {}, {}, {}},
      {"runmain's own",
       {"X=1", e + "=http://own:4318", "OTEL_SERVICE_NAME=n"},
       {},
       {},
       {e + "=http://own:4318"}},
      {"the service's over it",
       {e + "=http://own"},
       {{e, "http://a"}, {e, "http://b"}},
       {},
       {e + "=http://b"}},
      {"an empty one is none", {e + "=http://own"}, {{e, ""}}, {}, {}},
      {"both together",
       {e + "=http://own"},
       {{"OTEL_EXPORTER_OTLP_HEADERS", "a=b"}},
       {},
       {e + "=http://own", "OTEL_EXPORTER_OTLP_HEADERS=a=b"}},
      {"the file over all signals",
       {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t"},
       {{e, "http://env"}, {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"}},
       at("http://file:1"),
       {e + "=http://file:1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}},
      {"only its headers",
       {e + "=http://own", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=k=t"},
       {},
       headers,
       {e + "=http://own", "OTEL_EXPORTER_OTLP_HEADERS=k=file"}},
      {"every key of the file",
       {},
       {},
       whole,
       {"OTEL_EXPORTER_OTLP_CERTIFICATE=/ca", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/own",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY=/key", "OTEL_EXPORTER_OTLP_COMPRESSION=none", e + "=https://file:1",
        "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20a%2Cb%3Bc%3Dd%20%25,x=",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "OTEL_EXPORTER_OTLP_TIMEOUT=1500"}},
      {"off", {}, {}, off, {}},
      {"direct, for what comes by the mailbox",
       {},
       {},
       direct,
       {e + "=http://file:1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}},
      {"a disabled SDK", {e + "=http://own"}, {{"OTEL_SDK_DISABLED", "True"}}, {}, {}},
      {"only \"true\" disables", {e + "=http://own", "OTEL_SDK_DISABLED=1"}, {}, {}, {e + "=http://own"}},
      {"no traces",
       {e + "=http://own", "OTEL_TRACES_EXPORTER=none"},
       {},
       {},
       {e + "=http://own", "OTEL_TRACES_EXPORTER=none"}},
      {"nothing at all",
       {e + "=http://own", "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none",
        "OTEL_LOGS_EXPORTER=none"},
       {},
       {},
       {}},
      {"a signal without an endpoint goes nowhere and not to a default",
       {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t"},
       {},
       {},
       {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t", "OTEL_LOGS_EXPORTER=none",
        "OTEL_METRICS_EXPORTER=none"}},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(variables_of(service(row.env, row.spec), row.environment) == row.variables);
    CHECK(warnings_of(service(row.env, row.spec), row.environment).empty());
  }
}

TEST_CASE("gRPC and what is no URL are told once and have no destination") {
  struct Row {
    Strings environment;
    bool exported;
    const char* warning;  // a part of it; empty: none
  };
  const std::string e = "OTEL_EXPORTER_OTLP_ENDPOINT=";
  const std::string p = "OTEL_EXPORTER_OTLP_PROTOCOL=";
  const Row rows[] = {
      {{e + "http://c:4317", p + "grpc"}, false, "web: OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not spoken"},
      {{e + "http://c:4318", p + "grpc"}, false, "runmain exports http/protobuf, whose port is 4318"},
      {{e + "http://c:4317"}, false, "OTEL_EXPORTER_OTLP_ENDPOINT has the port of gRPC"},
      {{e + "http://c:4317", p + "http/protobuf"}, true, ""},
      {{e + "http://c:4318"}, true, ""},
      {{e + "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc"},
       true,
       "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
      {{p + "grpc"}, false, ""},
      {{e + "c:4318"}, false, "is no http or https URL"},
      {{e + "HTTPS://c"}, true, ""},
      {{e + "http:/"}, false, "is no http or https URL"},
      {{e + std::string(65536, '%')}, false, "is no http or https URL"},
      {{"OTEL_CONFIG_FILE=/x", e + "http://c"}, true, "OTEL_CONFIG_FILE"},
  };
  for (const Row& row : rows) {
    INFO(row.environment.front().substr(0, 100));
    CHECK_FALSE(variables_of(service(), row.environment).empty() == row.exported);
    const Strings warnings = warnings_of(service(), row.environment);
    CHECK(warnings.size() == (*row.warning == '\0' ? 0 : 1));
    for (const std::string& warning : warnings) {
      CHECK(warning.find(row.warning) != std::string::npos);
      CHECK(warning.size() < 400);
      CHECK(warning.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("an endpoint with blanks is told, and is no destination") {
  for (const char* url : {"http://a host:4318", " http://c:4318", "http://c:4318 ", "http://c:4318/a b"}) {
    CAPTURE(url);
    const Strings environment{std::string("OTEL_EXPORTER_OTLP_ENDPOINT=") + url};
    CHECK(variables_of(service(), environment).empty());
    const Strings warnings = warnings_of(service(), environment);
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].find("is no http or https URL, so nothing is exported") != std::string::npos);
  }
}

TEST_CASE("a program that exports by itself may use gRPC without a word") {
  core::TelemetrySpec direct;
  direct.direct = true;
  const Strings grpc{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"};
  CHECK(warnings_of(service({}, direct), grpc).empty());
  CHECK(variables_of(service({}, direct), grpc).empty());
}

TEST_CASE("services with the same variables share a destination") {
  TelemetryService a = service({{"OTEL_EXPORTER_OTLP_HEADERS", "k=a"}});
  TelemetryService b = service({{"OTEL_EXPORTER_OTLP_HEADERS", "k=b"}});
  TelemetryService c = service({{"OTEL_EXPORTER_OTLP_HEADERS", "k=a"}, {"OTEL_SERVICE_NAME", "c"}});
  TelemetryService d = service({{"OTEL_EXPORTER_OTLP_ENDPOINT", ""}});
  a.name = "a";
  b.name = "b";
  const TelemetryPlan plan =
      plan_telemetry({a, b, c, d}, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://me:pw@h:1/x?y"});
  REQUIRE(plan.destinations.size() == 2);
  CHECK(plan.destinations[0].name == "http://h:1");
  CHECK(plan.destinations[1].name == "http://h:1");
  REQUIRE(plan.services.size() == 4);
  CHECK(plan.services[0] == telemetry::ObservedService{ServiceId{4}, "a", 0});
  CHECK(plan.services[1].destination == 1);
  CHECK(plan.services[2].destination == 0);
  CHECK(plan.services[3].destination == telemetry::kNoDestination);
}

TEST_CASE("a warning names the services that it is about and not all of them") {
  std::vector<TelemetryService> all;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    all.push_back(service());
    all.back().name = name;
  }
  const Strings grpc{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"};
  const Strings warnings = plan_telemetry(all, grpc).warnings;
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("a, b, c and 2 more: "));
}

TEST_CASE("an address is told without what may be a secret") {
  CHECK(address_of("http://h") == "http://h");
  CHECK(address_of("HTTPS://user:pw@h:1/path?token=x#y") == "https://h:1");
  CHECK(address_of("http://[::1]:4318/v1") == "http://[::1]:4318");
  CHECK(address_of("h:1").empty());
  CHECK(address_of("http://\x1b[31m").find('\x1b') == std::string::npos);
}

TEST_CASE("a service's variables are those of its env files and then its own") {
  core::ServiceSpec spec;
  spec.env = {{"OTEL_A", "1"}, {"B", "2"}};
  const std::string path = "/tmp/runmain-test-telemetry-" + std::to_string(getpid()) + ".env";
  std::ofstream(path) << "OTEL_A=file\nOTHER=x\nOTEL_C='3'\n";
  spec.env_files = {"/no/such/file", path};
  CHECK(telemetry_variables(spec) == Variables{{"OTEL_A", "file"}, {"OTEL_C", "3"}, {"OTEL_A", "1"}});
  unlink(path.c_str());
}

TEST_CASE(
    "runmain's own SDK is disabled by its own environment alone, and by the word true (requirement 22)") {
  CHECK(is_sdk_disabled({"OTEL_SDK_DISABLED=true"}));
  CHECK(is_sdk_disabled({"PATH=/bin", "OTEL_SDK_DISABLED=TRUE"}));
  for (const char* line : {"OTEL_SDK_DISABLED=", "OTEL_SDK_DISABLED=1", "OTEL_SDK_DISABLED=false",
                           "XOTEL_SDK_DISABLED=true", "OTEL_SDK_DISABLED"}) {
    CHECK_FALSE(is_sdk_disabled({line}));
  }
  CHECK_FALSE(is_sdk_disabled({}));
}

// Where a service's telemetry goes: the part of ServiceSpec (spec.hpp) that `[telemetry]` and
// `[service.NAME.telemetry]` make. Invariant: a text that is not empty is good: an http or https URL, a word
// that is known, an absolute path. Empty means that the environment says it (OTEL_EXPORTER_OTLP_…). Non-goal:
// what the environment says.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.hpp"

namespace runmain::core {

struct TelemetrySpec {
  bool enabled = true;
  bool direct = false;      // the program exports by itself: in its environment is what the file says
  bool logs = false;        // what it prints is exported as logs
  bool automatic = false;   // programs of Python and Node are instrumented without a change of theirs
  std::string endpoint;     // "http://HOST:4318": the base of all signals
  std::string protocol;     // "http/protobuf", "http/json"
  std::string compression;  // "gzip", "none"
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<Duration> timeout;  // of one attempt
  std::string certificate;          // PEM files, absolute
  std::string client_certificate;
  std::string client_key;

  friend bool operator==(const TelemetrySpec&, const TelemetrySpec&) = default;
  template <class A>
  void fields(A& a) {
    a("enabled", enabled);
    a("direct", direct);
    a("logs", logs);
    a("automatic", automatic);
    a("endpoint", endpoint);
    a("protocol", protocol);
    a("compression", compression);
    a("headers", headers);
    a("timeout", timeout);
    a("certificate", certificate);
    a("client_certificate", client_certificate);
    a("client_key", client_key);
  }
};

}  // namespace runmain::core

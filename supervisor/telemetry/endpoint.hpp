// Where telemetry goes, from the environment: OTEL_EXPORTER_OTLP_* of the OpenTelemetry specification
// (protocol/exporter.md; opentelemetry.md, 21, 41, 42). A pure function; what is not understood is a warning
// and has no effect.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "telemetry/item.hpp"

namespace runmain::telemetry {

inline constexpr Duration kExportTimeout = std::chrono::seconds(10);
inline constexpr Duration kExportTimeoutMax = std::chrono::hours(1);

struct Endpoint {
  bool enabled = true;  // false: this signal goes nowhere
  std::string url;      // whole, with its path
  std::vector<std::pair<std::string, std::string>> headers;
  Duration timeout = kExportTimeout;  // of one attempt
  bool gzip = false;
  bool json = false;
  std::string certificate;         // file of trusted certificates (PEM)
  std::string client_certificate;  // file
  std::string client_key;          // file
  std::vector<std::string> warnings{};
};

using Environment = std::map<std::string, std::string>;

Endpoint read_endpoint(Signal signal, const Environment& environment);

// The URL of a signal at a base such as "http://collector:4318"; empty if that is no http or https URL.
std::string signal_url(Signal signal, const std::string& base);

// "http://collector:4318" of a URL, for people: without what may be a secret, harmless, and bounded.
std::string address_of(const std::string& url);

// "k=v,k2=v2" with percent-encoding, as OTEL_EXPORTER_OTLP_HEADERS has it. Pairs with a fault are left out.
std::vector<std::pair<std::string, std::string>> parse_headers(const std::string& text,
                                                               std::vector<std::string>& warnings);

}  // namespace runmain::telemetry

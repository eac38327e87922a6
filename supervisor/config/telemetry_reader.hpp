// [telemetry] and [service.NAME.telemetry] to a TelemetrySpec: key by key, the service's over the file's.
// Invariant: no fault repeats a header's value. Non-goal: what the environment says (OTEL_EXPORTER_OTLP_…).
#pragma once

#include <cstddef>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "config/node.hpp"
#include "config/service_reader.hpp"
#include "core/spec.hpp"

namespace runmain::config {

inline constexpr std::size_t kHeadersMax = 64;
inline constexpr std::size_t kHeaderMax = 8192;  // bytes of a header's value
inline constexpr Duration kTelemetryTimeoutMax = std::chrono::hours(1);

// What the table says, over what is there already. Faults go to the report. Returns where it says `direct`,
// else where it says `auto`; 0:0: neither.
Place read_telemetry(const Reading& reading, const Node& node, core::TelemetrySpec& telemetry);

// The port of an endpoint such as "http://collector:4318/base", 0 where none is given. On failure message and
// hint.
Result<int> parse_endpoint(std::string_view text);

}  // namespace runmain::config

// A line of a service's output as an OTLP LogRecord (opentelemetry-proto, logs.proto), with the ids of its
// span where the line tells them.
//
// Invariant: pure; reads the line only. Non-goal: levels; a line is text, and nobody knows what its words
// mean.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "telemetry/item.hpp"

namespace runmain::telemetry {

inline constexpr std::size_t kLogBodyMax = 32U << 10U;  // bytes of a line that are told

// The ids in a line: a traceparent ("00-…-…-01"), or what follows trace_id, traceId or trace.id and
// span_id, spanId, span.id as "=", ":" or JSON have it. A trace id is 32 hexadecimal digits, not all 0;
// without one there are none. span is all zeros if the line tells no span.
std::optional<SpanIds> ids_in_line(std::string_view line);

struct LoggedLine {
  std::string_view text;  // without its newline
  std::uint64_t time_unix_nano = 0;
  std::string_view service;
  std::uint32_t worker = 0;
  std::uint32_t generation = 0;
};
std::string to_log_record(const LoggedLine& line);

}  // namespace runmain::telemetry

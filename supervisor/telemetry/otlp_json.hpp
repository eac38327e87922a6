// OTLP's JSON form to protobuf and back. Follows the OTLP specification's "JSON Protobuf Encoding"
// (opentelemetry.md, 48): ids in hex, enumerations as numbers, 64-bit integers as strings, unknown fields
// ignored, but a known one's name in snake_case is refused.
//
// Invariant: from_json() gives no more than its limit; messages are within each other at most kWireDepthMax
// deep. No exception leaves. Non-goal: whether it is valid OTLP; check() tells.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "telemetry/schema.hpp"

namespace runmain::telemetry {

inline constexpr std::size_t kFromJsonMax = 64U << 20U;

// The message's bytes, `limit` at most: a number of one digit may become nine of them. On failure which field
// has what fault, or where the text is no JSON; with `code` 413 if it is the limit.
Result<std::string> from_json(const Message& message, std::string_view text,
                              std::size_t limit = kFromJsonMax);

// In one line. Fields that are not there are not written, and of those that we do not know none is. On
// failure the bytes are not protobuf.
Result<std::string> to_json(const Message& message, std::string_view bytes);

}  // namespace runmain::telemetry

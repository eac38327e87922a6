// OTLP's messages as a table: enough to check bytes, to repair them, and to go from protobuf to JSON and
// back. Follows opentelemetry-proto 1.x. Invariant: constant data, built at compile time. Non-goal: profiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "telemetry/item.hpp"

namespace runmain::telemetry {

enum class FieldType : std::uint8_t {
  string,       // UTF-8
  bytes,        // base64 in JSON
  trace_id,     // 16 bytes or none; hex in JSON
  span_id,      // 8 bytes or none; hex in JSON
  boolean,      // varint
  enumeration,  // varint; a number in JSON, never a name
  uint32,       // varint
  int64,        // varint
  uint64,       // varint
  sint32,       // varint, zig-zag
  fixed32,
  fixed64,
  sfixed64,
  real,  // double
  message,
};

struct Message;

struct Field {
  std::uint32_t number = 0;
  std::string_view name;  // lowerCamelCase, as JSON has it
  FieldType type = FieldType::bytes;
  bool repeated = false;
  const Message* message = nullptr;
  bool one_of = false;  // of its message's oneof, of which no message here has two: the last one counts
};

struct Message {
  std::string_view name;
  const Field* fields = nullptr;
  std::size_t count = 0;
  bool has_one_of = false;

  // nullptr: unknown. Most messages number their fields from 1 without a gap.
  const Field* find(std::uint32_t number) const {
    if (number - 1 < count && fields[number - 1].number == number) return &fields[number - 1];
    for (std::size_t i = 0; i < count; ++i) {
      if (fields[i].number == number) return &fields[i];
    }
    return nullptr;
  }
  const Field* find(std::string_view json_name) const {
    for (std::size_t i = 0; i < count; ++i) {
      if (fields[i].name == json_name) return &fields[i];
    }
    return nullptr;
  }
};

extern const Message kAnyValue;
extern const Message kKeyValue;
extern const Message kResource;
extern const Message kScope;
extern const Message kSpan;
extern const Message kLogRecord;
extern const Message kMetric;

// Export…ServiceRequest of a signal, which is TracesData, MetricsData or LogsData as well.
const Message& request_message(Signal signal);
// Span, Metric, LogRecord.
const Message& item_message(Signal signal);
// Export…ServiceResponse of a signal.
const Message& response_message(Signal signal);

// What the three signals' envelopes have in common.
inline constexpr std::uint32_t kRequestResources = 1;
inline constexpr std::uint32_t kResourceItself = 1;
inline constexpr std::uint32_t kResourceScopes = 2;
inline constexpr std::uint32_t kScopeItself = 1;
inline constexpr std::uint32_t kScopeItems = 2;
inline constexpr std::uint32_t kSchemaUrl = 3;  // of both

inline constexpr std::uint32_t kSpanTraceId = 1;
inline constexpr std::uint32_t kSpanSpanId = 2;
inline constexpr std::uint32_t kSpanParentId = 4;
inline constexpr std::uint32_t kSpanName = 5;
inline constexpr std::uint32_t kSpanKind = 6;
inline constexpr std::uint32_t kSpanStart = 7;
inline constexpr std::uint32_t kSpanEnd = 8;
inline constexpr std::uint32_t kSpanAttributes = 9;
inline constexpr std::uint32_t kSpanLinks = 13;
inline constexpr std::uint32_t kSpanStatus = 15;
inline constexpr std::uint32_t kSpanFlags = 16;
inline constexpr std::uint32_t kLinkTraceId = 1;
inline constexpr std::uint32_t kLinkSpanId = 2;
inline constexpr std::uint32_t kStatusMessage = 2;
inline constexpr std::uint32_t kStatusCode = 3;
inline constexpr std::uint32_t kKeyValueKey = 1;
inline constexpr std::uint32_t kKeyValueValue = 2;
inline constexpr std::uint32_t kAnyString = 1;
inline constexpr std::uint32_t kAnyBool = 2;
inline constexpr std::uint32_t kAnyInt = 3;
inline constexpr std::uint32_t kAnyArray = 5;

}  // namespace runmain::telemetry

// Are these bytes an OTLP message that a collector takes? Checks the bytes of strangers field by field, and
// repairs what would make a collector refuse them. Follows opentelemetry-proto 1.x and the protobuf encoding.
//
// Invariant: what is sound needs no repair, and what was repaired is sound. Unknown fields are kept. No
// exception leaves. Bounds: kWireDepthMax messages within each other, kAttributesMax attributes in a list.
// Thread: any.
// Non-goal: meaning, such as the range of an enumeration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "telemetry/item.hpp"
#include "telemetry/schema.hpp"

namespace runmain::telemetry {

inline constexpr int kWireDepthMax = 64;  // parsers in use refuse more than 100
// Of one list, as its keys are held to find those that are there twice: an attribute of two bytes would cost
// sixty. SDKs keep 128.
inline constexpr std::size_t kAttributesMax = 8192;
// Bytes of a message that is repaired, which may become three times as many: a larger one fits no request of
// ours.
inline constexpr std::size_t kRepairMax = 4U << 20U;

enum class WireFault : std::uint8_t {
  none,
  malformed,   // cut off, a length beyond the end, a wire type that is none
  wrong_type,  // a field that we know, encoded as what it is not
  too_deep,
  too_many,     // attributes in one list
  too_large,    // to be repaired
  bad_id,       // neither absent nor 16 (8) bytes
  no_trace_id,  // absent or zero, of a span
  no_span_id,
};
const char* to_text(WireFault fault);

struct Checked {
  WireFault fault = WireFault::none;
  // Can be repaired:
  bool duplicate_keys = false;  // of attributes: the last one of a key wins
  bool bad_utf8 = false;        // bytes that are no character become U+FFFD
  bool ends_early = false;      // a span's end before its start: becomes its start
  // Of a span:
  SpanIds ids;
  std::uint64_t start_unix_nano = 0;
  std::uint64_t end_unix_nano = 0;

  bool valid() const { return fault == WireFault::none; }
  bool sound() const { return valid() && !needs_repair(); }
  bool needs_repair() const { return duplicate_keys || bad_utf8 || ends_early; }
};

// A span needs ids; other messages need none.
Checked check(const Message& message, std::string_view bytes);

// The same message without what check() found repairable. Requires check(…).valid().
std::string repair(const Message& message, std::string_view bytes);

// Hands each span (metric, log record) of a request to `use`, unchecked, with its origin, which is sound:
// what had to be repaired of it is given to `keep`, which returns it as long as the items are to live; of an
// origin without items nothing is. On failure nothing was handed out: the envelopes are not sound. Returns
// how many items there were.
using Keep = std::function<std::string_view(std::string)>;
Result<std::size_t> each_item(Signal signal, std::string_view request, const Keep& keep,
                              const std::function<void(const Item&)>& use);

// What a collector answers to a request that it took.
struct PartialSuccess {
  std::int64_t rejected = 0;
  std::string message;
};
// From the bytes of an Export…ServiceResponse; nothing where they are not one.
Result<PartialSuccess> read_partial_success(std::string_view bytes);

// `message` of the google.rpc.Status that explains a 4xx or 5xx; empty if it is none.
std::string status_message(std::string_view bytes);

}  // namespace runmain::telemetry

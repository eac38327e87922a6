#include "telemetry/reconstructed.hpp"

#include <algorithm>
#include <cstring>
#include <protozero/pbf_writer.hpp>

#include "telemetry/attribute.hpp"
#include "telemetry/schema.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::uint32_t kFlagsMask = 0x3ff;  // what OTLP has a meaning for
constexpr std::uint32_t kKindMax = 5;
constexpr std::int32_t kError = 2;

bool is_zero(const std::uint8_t* id, std::size_t size) {
  return std::all_of(id, id + size, [](std::uint8_t b) { return b == 0; });
}

void add_id(protozero::pbf_writer& out, std::uint32_t field, const std::uint8_t* id, std::size_t size) {
  out.add_bytes(field, reinterpret_cast<const char*>(id), size);
}

}  // namespace

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

std::string to_text(const Ending& ending) {
  switch (ending.how) {
    case Ending::How::exited: return "exited with status " + std::to_string(ending.number);
    case Ending::How::killed: return "was killed by " + signal_name(ending.number);
    default: return "is gone";
  }
}

std::optional<std::string> reconstructed_span(const runmain_open_slot& slot, const Ending& ending,
                                              bool& is_span) {
  is_span = slot.state != 0;  // odd: its name was being changed
  if (!is_span || is_zero(slot.trace_id, sizeof slot.trace_id) ||
      is_zero(slot.span_id, sizeof slot.span_id) || slot.name_length > sizeof slot.name) {
    return std::nullopt;
  }
  std::string bytes;
  protozero::pbf_writer out{bytes};
  add_id(out, kSpanTraceId, slot.trace_id, sizeof slot.trace_id);
  add_id(out, kSpanSpanId, slot.span_id, sizeof slot.span_id);
  if (!is_zero(slot.parent_span_id, sizeof slot.parent_span_id)) {
    add_id(out, kSpanParentId, slot.parent_span_id, sizeof slot.parent_span_id);
  }
  out.add_string(kSpanName, to_utf8({slot.name, slot.name_length}));
  out.add_enum(kSpanKind, static_cast<std::int32_t>(slot.kind <= kKindMax ? slot.kind : 0));
  out.add_fixed64(kSpanStart, slot.start_unix_nano);
  out.add_fixed64(kSpanEnd, std::max(slot.start_unix_nano, ending.at_unix_nano));
  add_attribute(out, kSpanAttributes, "runmain.reconstructed",
                [](auto& value) { value.add_bool(kAnyBool, true); });
  if (ending.how == Ending::How::exited) {
    add_attribute(out, kSpanAttributes, "process.exit.code",
                  [&](auto& value) { value.add_int64(kAnyInt, ending.number); });
  } else if (ending.how == Ending::How::killed) {
    add_attribute(out, kSpanAttributes, "runmain.exit.signal",
                  [&](auto& value) { value.add_string(kAnyString, signal_name(ending.number)); });
  }
  {
    protozero::pbf_writer status(out, kSpanStatus);
    status.add_string(kStatusMessage, "its process " + to_text(ending));
    status.add_enum(kStatusCode, kError);
  }
  if ((slot.flags & kFlagsMask) != 0) out.add_fixed32(kSpanFlags, slot.flags & kFlagsMask);
  return bytes;
}

}  // namespace runmain::telemetry

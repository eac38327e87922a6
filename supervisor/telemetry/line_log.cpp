#include "telemetry/line_log.hpp"

#include <algorithm>
#include <cctype>
#include <protozero/pbf_writer.hpp>

#include "telemetry/attribute.hpp"
#include "telemetry/encoding.hpp"

namespace runmain::telemetry {
namespace {

// Of LogRecord.
constexpr std::uint32_t kLogTime = 1;
constexpr std::uint32_t kLogBody = 5;
constexpr std::uint32_t kLogAttributes = 6;
constexpr std::uint32_t kLogTraceId = 9;
constexpr std::uint32_t kLogSpanId = 10;
constexpr std::uint32_t kLogObserved = 11;

bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }

// `digits` hexadecimal digits at `at`, and no more of them; as bytes.
template <std::size_t N>
bool id_at(std::string_view line, std::size_t at, std::array<std::uint8_t, N>& id) {
  const std::size_t digits = 2 * N;
  if (at > line.size() || line.size() - at < digits) return false;
  const std::string_view text = line.substr(at, digits);
  if (!std::all_of(text.begin(), text.end(), is_hex)) return false;
  if (at + digits < line.size() && is_hex(line[at + digits])) return false;
  const std::string bytes = from_hex(text).value_or("");
  if (bytes.size() != N || std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; }))
    return false;
  std::copy(bytes.begin(), bytes.end(), id.begin());
  return true;
}

// Behind a name: `="`, `":"`, `: `, `=`.
std::size_t skip_to_value(std::string_view line, std::size_t at) {
  constexpr std::size_t kBetweenMax = 4;
  for (std::size_t n = 0; n < kBetweenMax && at < line.size(); ++n, ++at) {
    if (std::string_view("=:\"' ").find(line[at]) == std::string_view::npos) break;
  }
  return at;
}

template <std::size_t N>
bool named_id(std::string_view line, const char* first, std::array<std::uint8_t, N>& id) {
  for (const char* separator : {"_", "", "."}) {
    for (const char* last : {"id", "Id", "ID"}) {
      const std::string name = std::string(first) + separator + last;
      for (std::size_t at = line.find(name); at != std::string_view::npos; at = line.find(name, at + 1)) {
        if (id_at(line, skip_to_value(line, at + name.size()), id)) return true;
      }
    }
  }
  return false;
}

bool traceparent_in(std::string_view line, SpanIds& ids) {
  constexpr std::size_t kTrace = 3;  // behind "00-"
  constexpr std::size_t kSpan = kTrace + 33;
  constexpr std::size_t kLength = kSpan + 19;
  for (std::size_t at = line.find("00-"); at != std::string_view::npos; at = line.find("00-", at + 1)) {
    if (line.size() - at < kLength || line[at + kSpan - 1] != '-' || line[at + kSpan + 16] != '-') continue;
    if (id_at(line, at + kTrace, ids.trace) && id_at(line, at + kSpan, ids.span)) return true;
  }
  return false;
}

}  // namespace

std::optional<SpanIds> ids_in_line(std::string_view line) {
  SpanIds ids;
  if (traceparent_in(line, ids)) return ids;
  ids = {};
  if (!named_id(line, "trace", ids.trace)) return std::nullopt;
  named_id(line, "span", ids.span);
  return ids;
}

std::string to_log_record(const LoggedLine& line) {
  std::string bytes;
  protozero::pbf_writer out{bytes};
  out.add_fixed64(kLogTime, line.time_unix_nano);
  {
    protozero::pbf_writer body(out, kLogBody);
    body.add_string(kAnyString, to_utf8(line.text.substr(0, kLogBodyMax)));
  }
  add_text(out, kLogAttributes, "runmain.service", line.service);
  add_number(out, kLogAttributes, "runmain.worker", line.worker);
  add_number(out, kLogAttributes, "runmain.generation", line.generation);
  if (const auto ids = ids_in_line(line.text)) {
    const auto is_set = [](std::uint8_t b) { return b != 0; };
    out.add_bytes(kLogTraceId, reinterpret_cast<const char*>(ids->trace.data()), ids->trace.size());
    if (std::any_of(ids->span.begin(), ids->span.end(), is_set))
      out.add_bytes(kLogSpanId, reinterpret_cast<const char*>(ids->span.data()), ids->span.size());
  }
  out.add_fixed64(kLogObserved, line.time_unix_nano);
  return bytes;
}

}  // namespace runmain::telemetry

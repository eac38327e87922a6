// A span's bytes as a StoredSpan.
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <protozero/pbf_reader.hpp>

#include "telemetry/encoding.hpp"
#include "telemetry/schema.hpp"
#include "telemetry/trace_store.hpp"

namespace runmain::telemetry {
namespace {

using protozero::pbf_reader;

constexpr std::uint32_t kStatusMessage = 2;
constexpr std::uint32_t kStatusCode = 3;
constexpr std::uint32_t kResourceAttributes = 1;
constexpr std::uint32_t kScopeName = 1;
constexpr int kListDepthMax = 4;

enum : std::uint32_t {
  kString = 1,
  kBool = 2,
  kInt = 3,
  kDouble = 4,
  kArray = 5,
  kMap = 6,
  kBytes = 7,
};

// At most `limit` bytes, cut where a character ends.
std::string cut(std::string_view text, std::size_t limit) {
  static constexpr std::string_view kMore = "…";
  if (text.size() <= limit) return std::string(text);
  std::size_t size = limit - std::min(limit, kMore.size());
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) --size;
  return std::string(text.substr(0, size)) + std::string(kMore);
}

std::string_view view_of(pbf_reader& in) {
  const protozero::data_view view = in.get_view();
  return {view.data(), view.size()};
}

pbf_reader reader_of(std::string_view bytes) { return pbf_reader{bytes.data(), bytes.size()}; }

std::string text_of(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.15g", value);
  return text.data();
}

std::string value_text(std::string_view any, std::size_t limit, int depth);

std::string list_text(std::string_view list, std::size_t limit, int depth) {
  std::string out = "[";
  pbf_reader in = reader_of(list);
  while (in.next()) {
    if (in.tag() != 1 || in.wire_type() != protozero::pbf_wire_type::length_delimited) {
      in.skip();
      continue;
    }
    if (out.size() > 1) out += ", ";
    out += value_text(view_of(in), limit, depth + 1);
    if (out.size() > limit) return out;
  }
  return out + "]";
}

// An AnyValue in words. It was checked: known fields have their types.
std::string value_text(std::string_view any, std::size_t limit, int depth) {
  pbf_reader in = reader_of(any);
  std::string out;
  while (in.next()) {
    switch (in.tag()) {
      case kString: out = cut(view_of(in), limit); break;
      case kBool: out = in.get_bool() ? "true" : "false"; break;
      case kInt: out = std::to_string(in.get_int64()); break;
      case kDouble: out = text_of(in.get_double()); break;
      case kArray:
        out = depth < kListDepthMax ? list_text(view_of(in), limit, depth) : (in.skip(), "[…]");
        break;
      case kMap: out = (in.skip(), "{…}"); break;
      case kBytes: out = "0x" + to_hex(view_of(in).substr(0, limit / 2)); break;
      default: in.skip();
    }
  }
  return out;
}

void read_attribute(std::string_view bytes, StoredSpan& span, const TraceStoreLimits& limits) {
  if (span.attributes.size() >= limits.attributes) {
    ++span.attributes_left_out;
    return;
  }
  std::pair<std::string, std::string> attribute;
  pbf_reader in = reader_of(bytes);
  while (in.next()) {
    switch (in.tag()) {
      case kKeyValueKey: attribute.first = cut(view_of(in), limits.text); break;
      case kKeyValueValue:
        attribute.second = cut(value_text(view_of(in), limits.text, 0), limits.text);
        break;
      default: in.skip();
    }
  }
  span.attributes.push_back(std::move(attribute));
}

void read_status(std::string_view bytes, StoredSpan& span, const TraceStoreLimits& limits) {
  pbf_reader in = reader_of(bytes);
  while (in.next()) {
    switch (in.tag()) {
      case kStatusMessage: span.status_text = cut(view_of(in), limits.text); break;
      case kStatusCode: span.status = in.get_enum(); break;
      default: in.skip();
    }
  }
}

template <std::size_t N>
bool read_id(std::string_view bytes, std::array<std::uint8_t, N>& id) {
  if (bytes.size() != N) return false;
  std::copy(bytes.begin(), bytes.end(), id.begin());
  return true;
}

void read_parent(std::string_view bytes, StoredSpan& span) {
  std::array<std::uint8_t, 8> id{};
  if (read_id(bytes, id) && id != std::array<std::uint8_t, 8>{}) span.parent = id;
}

StoredSpan read_span(std::string_view bytes, const TraceStoreLimits& limits) {
  StoredSpan span;
  pbf_reader in = reader_of(bytes);
  while (in.next()) {
    switch (in.tag()) {
      case kSpanTraceId: read_id(view_of(in), span.ids.trace); break;
      case kSpanSpanId: read_id(view_of(in), span.ids.span); break;
      case kSpanParentId: read_parent(view_of(in), span); break;
      case kSpanName: span.name = cut(view_of(in), limits.text); break;
      case kSpanKind: span.kind = in.get_enum(); break;
      case kSpanStart: span.start_unix_nano = in.get_fixed64(); break;
      case kSpanEnd: span.end_unix_nano = in.get_fixed64(); break;
      case kSpanAttributes: read_attribute(view_of(in), span, limits); break;
      case kSpanStatus: read_status(view_of(in), span, limits); break;
      default: in.skip();
    }
  }
  return span;
}

void read_origin(const Origin& origin, const TraceStoreLimits& limits, OriginWords& words) {
  pbf_reader scope = reader_of(origin.scope);
  while (scope.next()) {
    if (scope.tag() == kScopeName) {
      words.scope = cut(view_of(scope), limits.text);
    } else {
      scope.skip();
    }
  }
  StoredSpan attributes;
  pbf_reader resource = reader_of(origin.resource);
  while (resource.next()) {
    if (resource.tag() == kResourceAttributes) {
      read_attribute(view_of(resource), attributes, limits);
    } else {
      resource.skip();
    }
  }
  words.resource = std::move(attributes.attributes);
}

}  // namespace

OriginWords decode_origin(const Origin& origin, const TraceStoreLimits& limits) {
  OriginWords words;
  try {
    read_origin(origin, limits, words);
  } catch (const std::exception&) {
    return {};
  }
  return words;
}

std::optional<StoredSpan> decode_span(std::string_view bytes, const TraceStoreLimits& limits) {
  try {
    return read_span(bytes, limits);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace runmain::telemetry

#include "telemetry/otlp_wire.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

using protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;

std::string_view view_of(pbf_reader& in) {
  const protozero::data_view view = in.get_view();
  return {view.data(), view.size()};
}

pbf_reader reader_of(std::string_view bytes) { return pbf_reader{bytes.data(), bytes.size()}; }

// How a value of this type is encoded when it stands alone.
Wire wire_of(FieldType type) {
  switch (type) {
    case FieldType::boolean:
    case FieldType::enumeration:
    case FieldType::uint32:
    case FieldType::int64:
    case FieldType::uint64:
    case FieldType::sint32: return Wire::varint;
    case FieldType::fixed32: return Wire::fixed32;
    case FieldType::fixed64:
    case FieldType::sfixed64:
    case FieldType::real: return Wire::fixed64;
    default: return Wire::length_delimited;
  }
}

bool is_packed(const Field& field, Wire wire) {
  return field.repeated && wire == Wire::length_delimited && wire_of(field.type) != Wire::length_delimited;
}

bool packed_fits(const Field& field, std::string_view bytes) {
  const Wire wire = wire_of(field.type);
  if (wire == Wire::fixed64) return bytes.size() % 8 == 0;
  if (wire == Wire::fixed32) return bytes.size() % 4 == 0;
  const char* at = bytes.data();
  while (at != bytes.data() + bytes.size()) protozero::decode_varint(&at, bytes.data() + bytes.size());
  return true;
}

std::size_t id_size(FieldType type) { return type == FieldType::trace_id ? 16 : 8; }

// Keys of one list. Most lists are short: comparing is quicker than hashing then.
class KeySet {
 public:
  // False if it was there.
  bool add(std::string_view key) {
    const std::size_t near = std::min(count_, few_.size());
    for (std::size_t i = 0; i < near; ++i) {
      if (few_[i] == key) return false;
    }
    if (count_ < few_.size()) {
      few_[count_++] = key;
      return true;
    }
    if (!many_) many_ = std::make_unique<std::unordered_set<std::string_view>>();
    ++count_;
    return many_->insert(key).second;
  }

 private:
  std::array<std::string_view, 24> few_;
  std::size_t count_ = 0;
  std::unique_ptr<std::unordered_set<std::string_view>> many_;
};

class Checker {
 public:
  explicit Checker(Checked& out) : out_(out) {}

  // `key`: of a KeyValue, set to its key.
  void walk(const Message& message, std::string_view bytes, int depth, std::string_view* key) {
    if (depth > kWireDepthMax) return fail(WireFault::too_deep);
    pbf_reader in = reader_of(bytes);
    std::unique_ptr<KeySet> keys;
    std::size_t attributes = 0;
    while (out_.valid() && in.next()) {
      const Field* field = message.find(in.tag());
      if (field == nullptr) {
        in.skip();
      } else if (is_packed(*field, in.wire_type())) {
        if (!packed_fits(*field, view_of(in))) fail(WireFault::malformed);
      } else if (in.wire_type() != wire_of(field->type)) {
        fail(WireFault::wrong_type);
      } else if (wire_of(field->type) == Wire::length_delimited) {
        const std::string_view value = view_of(in);
        if (key != nullptr && field->number == kKeyValueKey) *key = value;
        const bool is_attribute = field->message == &kKeyValue;
        if (is_attribute && ++attributes > kAttributesMax) return fail(WireFault::too_many);
        if (is_attribute && !keys) keys = std::make_unique<KeySet>();
        long_value(*field, value, depth, keys.get());
        if (&message == &kSpan && depth == 0) span_id(*field, value);
      } else if (&message == &kSpan && (field->number == kSpanStart || field->number == kSpanEnd)) {
        (field->number == kSpanStart ? out_.start_unix_nano : out_.end_unix_nano) = in.get_fixed64();
      } else {
        in.skip();
      }
    }
  }

 private:
  void fail(WireFault fault) {
    if (out_.fault == WireFault::none) out_.fault = fault;
  }

  void long_value(const Field& field, std::string_view value, int depth, KeySet* keys) {
    switch (field.type) {
      case FieldType::string:
        if (!is_utf8(value)) out_.bad_utf8 = true;
        break;
      case FieldType::trace_id:
      case FieldType::span_id:
        if (!value.empty() && value.size() != id_size(field.type)) fail(WireFault::bad_id);
        break;
      case FieldType::message: {
        std::string_view key;
        walk(*field.message, value, depth + 1, field.message == &kKeyValue ? &key : nullptr);
        if (field.message == &kKeyValue && field.repeated && !keys->add(key)) out_.duplicate_keys = true;
        break;
      }
      default: break;
    }
  }

  void span_id(const Field& field, std::string_view value) {
    if (field.number == kSpanTraceId) {
      out_.ids.trace.fill(0);
      if (value.size() == 16) std::copy(value.begin(), value.end(), out_.ids.trace.begin());
    } else if (field.number == kSpanSpanId) {
      out_.ids.span.fill(0);
      if (value.size() == 8) std::copy(value.begin(), value.end(), out_.ids.span.begin());
    }
  }

  Checked& out_;
};

// Writes a message anew, without what is repairable.
class Repairer {
 public:
  std::string message(const Message& message, std::string_view bytes, std::string* key) {
    std::string out;
    protozero::pbf_writer writer{out};
    std::vector<Attribute> attributes;
    std::uint32_t attribute_field = 0;
    pbf_reader in = reader_of(bytes);
    const char* begin = bytes.data();
    const char* const end = bytes.data() + bytes.size();
    while (in.next()) {
      const Field* field = message.find(in.tag());
      const bool ours = field != nullptr && (field->message != nullptr || field->type == FieldType::string);
      if (!ours) {
        in.skip();
        const char* after = end - in.length();
        out.append(begin, after);  // as it is
        begin = after;
        continue;
      }
      const std::string_view value = view_of(in);
      begin = end - in.length();
      if (field->type == FieldType::string) {
        const std::string text = to_utf8(value);
        writer.add_string(field->number, text);
        if (key != nullptr && field->number == kKeyValueKey) *key = text;
      } else if (field->message == &kKeyValue && field->repeated) {
        attribute_field = field->number;
        Attribute attribute;
        attribute.bytes = this->message(kKeyValue, value, &attribute.key);
        attributes.push_back(std::move(attribute));
      } else {
        writer.add_message(field->number, this->message(*field->message, value, nullptr));
      }
    }
    last_of_each(writer, attribute_field, attributes);
    return out;
  }

 private:
  struct Attribute {
    std::string key;
    std::string bytes;
  };

  static void last_of_each(protozero::pbf_writer& writer, std::uint32_t field,
                           const std::vector<Attribute>& attributes) {
    std::unordered_map<std::string_view, std::size_t> last;
    for (std::size_t i = 0; i < attributes.size(); ++i) last[attributes[i].key] = i;
    for (std::size_t i = 0; i < attributes.size(); ++i) {
      if (last[attributes[i].key] == i) writer.add_message(field, attributes[i].bytes);
    }
  }
};

bool is_zero(const auto& id) {
  return std::all_of(id.begin(), id.end(), [](std::uint8_t b) { return b == 0; });
}

}  // namespace

const char* to_text(WireFault fault) {
  switch (fault) {
    case WireFault::none: return "sound";
    case WireFault::malformed: return "not protobuf";
    case WireFault::wrong_type: return "a field of another type";
    case WireFault::too_deep: return "nested too deep";
    case WireFault::too_many: return "too many attributes in one list";
    case WireFault::too_large: return "too large to be repaired";
    case WireFault::bad_id: return "an id of a wrong length";
    case WireFault::no_trace_id: return "no trace id";
    case WireFault::no_span_id: return "no span id";
  }
  return "?";
}

Checked check(const Message& message, std::string_view bytes) {
  Checked out;
  try {
    std::string_view key;
    Checker(out).walk(message, bytes, 0, &message == &kKeyValue ? &key : nullptr);
  } catch (const protozero::exception&) {
    out.fault = WireFault::malformed;
  }
  if (&message == &kSpan && out.valid()) {
    if (is_zero(out.ids.trace)) out.fault = WireFault::no_trace_id;
    if (is_zero(out.ids.span) && out.valid()) out.fault = WireFault::no_span_id;
    out.ends_early = out.end_unix_nano < out.start_unix_nano;
  }
  if (out.valid() && out.needs_repair() && bytes.size() > kRepairMax) out.fault = WireFault::too_large;
  return out;
}

std::string repair(const Message& message, std::string_view bytes) {
  const Checked found = check(message, bytes);
  if (!found.needs_repair() || !found.valid()) return std::string(bytes);
  std::string out = Repairer().message(message, bytes, nullptr);
  // Of a field that stands twice, the last one counts.
  if (found.ends_early) protozero::pbf_writer{out}.add_fixed64(kSpanEnd, found.start_unix_nano);
  return out;
}

}  // namespace runmain::telemetry

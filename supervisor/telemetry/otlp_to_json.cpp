#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <protozero/pbf_reader.hpp>
#include <stdexcept>

#include "telemetry/encoding.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

using protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void message(const Message& message, std::string_view bytes) {
    out_ += '{';
    bool first = true;
    const std::uint32_t chosen = message.has_one_of ? last_of_one_of(message, bytes) : 0;
    for (std::size_t i = 0; i < message.count; ++i) {
      const Field& field = message.fields[i];
      if (field.one_of && field.number != chosen) continue;
      const std::size_t before = out_.size();
      if (!first) out_ += ',';
      out_ += '"';
      out_ += field.name;
      out_ += "\":";
      if (values(field, bytes)) {
        first = false;
      } else {
        out_.resize(before);
      }
    }
    out_ += '}';
  }

 private:
  // Which member of its oneof counts: two in one JSON object would be refused. 0: there is none.
  static std::uint32_t last_of_one_of(const Message& message, std::string_view bytes) {
    std::uint32_t last = 0;
    pbf_reader in{bytes.data(), bytes.size()};
    while (in.next()) {
      const Field* field = message.find(in.tag());
      if (field != nullptr && field->one_of) last = field->number;
      in.skip();
    }
    return last;
  }

  // All occurrences of a repeated field, the last one of another. False if there is none.
  bool values(const Field& field, std::string_view bytes) {
    const std::size_t begin = out_.size();
    bool any = false;
    pbf_reader in{bytes.data(), bytes.size()};
    while (in.next()) {
      if (in.tag() != field.number) {
        in.skip();
        continue;
      }
      if (field.repeated) {
        out_ += any ? ',' : '[';
      } else {
        out_.resize(begin);
      }
      any = true;
      if (!value(field, in)) return false;
    }
    if (any && field.repeated) out_ += ']';
    return any;
  }

  static bool is_long(FieldType type) {
    return type == FieldType::string || type == FieldType::bytes || type == FieldType::trace_id ||
           type == FieldType::span_id || type == FieldType::message;
  }

  bool value(const Field& field, pbf_reader& in) {
    const Wire wire = in.wire_type();
    if (wire == Wire::length_delimited) {
      const protozero::data_view view = in.get_view();
      const std::string_view bytes(view.data(), view.size());
      if (is_long(field.type)) {
        long_value(field, bytes);
        return true;
      }
      return packed(field, bytes);
    }
    if (is_long(field.type)) return refuse(in);
    switch (wire) {
      case Wire::varint: varint(field.type, in.get_uint64()); return true;
      case Wire::fixed32: out_ += std::to_string(in.get_fixed32()); return true;
      default: eight_bytes(field.type, in.get_fixed64()); return true;
    }
  }

  static bool refuse(pbf_reader& in) {
    in.skip();
    return false;
  }

  bool packed(const Field& field, std::string_view bytes) {
    if (!field.repeated) return false;
    const bool eight = field.type == FieldType::fixed64 || field.type == FieldType::real;
    bool first = true;
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    while (at != end) {
      if (!first) out_ += ',';
      first = false;
      if (!eight) {
        varint(field.type, protozero::decode_varint(&at, end));
        continue;
      }
      if (end - at < 8) return false;
      std::uint64_t word = 0;
      std::memcpy(&word, at, sizeof word);
      at += 8;
      eight_bytes(field.type, word);
    }
    return true;
  }

  void varint(FieldType type, std::uint64_t value) {
    switch (type) {
      case FieldType::boolean: out_ += value != 0 ? "true" : "false"; return;
      case FieldType::enumeration: out_ += std::to_string(static_cast<std::int32_t>(value)); return;
      case FieldType::uint32: out_ += std::to_string(static_cast<std::uint32_t>(value)); return;
      case FieldType::sint32:
        out_ += std::to_string(protozero::decode_zigzag32(static_cast<std::uint32_t>(value)));
        return;
      case FieldType::int64: out_ += '"' + std::to_string(static_cast<std::int64_t>(value)) + '"'; return;
      default: out_ += '"' + std::to_string(value) + '"';
    }
  }

  void eight_bytes(FieldType type, std::uint64_t word) {
    if (type == FieldType::sfixed64) {
      out_ += '"' + std::to_string(static_cast<std::int64_t>(word)) + '"';
    } else if (type == FieldType::real) {
      double real = 0;
      std::memcpy(&real, &word, sizeof real);
      if (std::isnan(real)) {
        out_ += "\"NaN\"";
      } else if (std::isinf(real)) {
        out_ += real > 0 ? "\"Infinity\"" : "\"-Infinity\"";
      } else {
        char text[64];
        out_.append(text, std::to_chars(text, text + sizeof text, real).ptr);
      }
    } else {
      out_ += '"' + std::to_string(word) + '"';
    }
  }

  void long_value(const Field& field, std::string_view bytes) {
    if (field.type == FieldType::message) {
      if (++depth_ > kWireDepthMax) throw std::length_error("nested too deep");
      message(*field.message, bytes);
      --depth_;
    } else if (field.type == FieldType::string) {
      string(is_utf8(bytes) ? std::string(bytes) : to_utf8(bytes));
    } else {
      out_ += '"' + (field.type == FieldType::bytes ? to_base64(bytes) : to_hex(bytes)) + '"';
    }
  }

  void string(const std::string& text) {
    out_ += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        out_ += '\\';
        out_ += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        out_ += "\\u00" + to_hex({&c, 1});
      } else {
        out_ += c;
      }
    }
    out_ += '"';
  }

  std::string& out_;
  int depth_ = 0;
};

}  // namespace

Result<std::string> to_json(const Message& message, std::string_view bytes) {
  std::string out;
  try {
    Writer(out).message(message, bytes);
  } catch (const protozero::exception&) {
    return Error{"the bytes are not protobuf"};
  } catch (const std::length_error& e) {
    return Error{e.what()};
  }
  return out;
}

}  // namespace runmain::telemetry

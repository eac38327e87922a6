// JSON to protobuf in one pass: no tree of values is made.
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <protozero/pbf_writer.hpp>
#include <vector>

#include "telemetry/encoding.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kNameMax = 64;  // no field's is longer

// A number as JSON may have it: 5, 5.0, "5", "5e0".
struct Number {
  bool negative = false;
  std::uint64_t magnitude = 0;
};

std::optional<double> to_double(std::string_view text) {
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = fault == std::errc() && end == text.data() + text.size() && !text.empty();
  return whole && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::optional<Number> to_integer(double value) {
  constexpr double kLimit = 18446744073709551616.0;
  if (std::trunc(value) != value || std::abs(value) >= kLimit) return std::nullopt;
  return Number{value < 0, static_cast<std::uint64_t>(std::abs(value))};
}

std::optional<Number> to_integer(std::string_view text) {
  Number number;
  std::string_view digits = text;
  if (!digits.empty() && digits[0] == '-') {
    number.negative = true;
    digits.remove_prefix(1);
  }
  if (digits.empty()) return std::nullopt;
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), number.magnitude);
  if (fault == std::errc() && end == digits.data() + digits.size()) return number;
  const auto value = to_double(text);
  return value ? to_integer(*value) : std::nullopt;
}

// As two's complement, if it is in the range.
std::optional<std::uint64_t> in_range(const Number& number, std::uint64_t lowest, std::uint64_t highest) {
  if (number.magnitude > (number.negative ? lowest : highest)) return std::nullopt;
  return number.negative ? ~number.magnitude + 1 : number.magnitude;
}

// "resource_spans" to "resourceSpans"; empty if there is no underscore in it.
std::string to_camel_case(std::string_view name) {
  std::string out;
  if (name.find('_') == std::string_view::npos || name.size() > kNameMax) return out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool joins = name[i] == '_' && i + 1 < name.size() && name[i + 1] >= 'a' && name[i + 1] <= 'z';
    out += joins ? static_cast<char>(name[++i] - 'a' + 'A') : name[i];
  }
  return out;
}

class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  Handler(const Message& root, std::size_t limit) : root_(root), limit_(limit) {}

  std::string& result() { return result_; }
  const std::string& fault() const { return fault_; }
  bool done() const { return done_; }
  bool is_too_big() const { return written_ > limit_; }

  bool null() override { return true; }  // as if it were not there
  bool boolean(bool value) override {
    const Field* field = scalar();
    if (field == nullptr) return ok();
    if (field->type != FieldType::boolean) return fail("is not a boolean");
    const std::size_t before = size();
    writer().add_bool(field->number, value);
    return wrote(before);
  }
  bool number_integer(number_integer_t value) override {
    const auto magnitude = static_cast<std::uint64_t>(value);
    return number(Number{value < 0, value < 0 ? ~magnitude + 1 : magnitude}, static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(Number{false, value}, static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override {
    return number(to_integer(value), value);
  }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return fail("is binary"); }

  bool start_object(std::size_t) override;
  bool end_object() override;
  bool key(string_t& name) override {
    if (skipping_ > 0) return true;
    const Message& message = *frames_.back().message;
    frames_.back().field = message.find(std::string_view(name));
    if (frames_.back().field != nullptr) return true;
    // To ignore it as unknown would lose all that is in it, and tell nobody.
    const std::string camel = to_camel_case(name);
    if (message.find(std::string_view(camel)) == nullptr) return true;
    return fail(name + " is not a name in OTLP's JSON, " + camel + " is");
  }
  bool start_array(std::size_t) override;
  bool end_array() override {
    if (skipping_ > 0) {
      --skipping_;
    } else {
      frames_.back().in_array = false;
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    if (fault_.empty()) fault_ = "not JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  struct Frame {
    const Message* message = nullptr;
    const Field* field = nullptr;  // of the last key; nullptr: unknown
    bool in_array = false;
    std::string bytes{};
  };

  std::size_t size() const { return frames_.back().bytes.size(); }
  // Each byte is in one frame: this is what all of them hold.
  bool wrote(std::size_t before) {
    written_ += size() - before;
    if (is_too_big()) fault_ = "more than " + std::to_string(limit_) + " bytes as protobuf";
    return !is_too_big();
  }
  protozero::pbf_writer writer() { return protozero::pbf_writer{frames_.back().bytes}; }
  bool ok() const { return fault_.empty(); }
  bool fail(const std::string& what) {
    const bool named = !frames_.empty() && frames_.back().field != nullptr;
    const std::string name = named ? std::string(frames_.back().field->name) : std::string(root_.name);
    if (fault_.empty()) fault_ = name + " " + what;
    return false;
  }
  // The field that a value is of; nullptr: nobody wants it, or fault() says what is wrong.
  const Field* scalar() {
    if (skipping_ > 0) return nullptr;
    if (frames_.empty()) {
      fail("is not an object");
      return nullptr;
    }
    const Frame& frame = frames_.back();
    if (frame.field == nullptr) return nullptr;
    if (frame.field->repeated != frame.in_array) {
      fail(frame.in_array ? "is an array" : "is not an array");
      return nullptr;
    }
    return frame.field;
  }
  bool begin_skipping() {
    ++skipping_;
    return skipping_ <= kWireDepthMax || fail("is nested too deep");
  }
  bool number(const std::optional<Number>& integer, double real);
  bool bytes(const std::optional<std::string>& value, const char* what);

  const Message& root_;
  std::size_t limit_;
  std::size_t written_ = 0;  // bytes of values
  std::vector<Frame> frames_;
  int skipping_ = 0;  // objects and arrays of an unknown field
  std::string result_;
  std::string fault_;
  bool done_ = false;
};

bool Handler::start_object(std::size_t) {
  if (skipping_ > 0) return begin_skipping();
  if (frames_.empty()) {
    frames_.push_back({&root_});
    return true;
  }
  if (frames_.back().field == nullptr) return begin_skipping();
  const Field* field = scalar();
  if (field == nullptr) return ok();
  if (field->message == nullptr) return fail("is not an object");
  if (frames_.size() > static_cast<std::size_t>(kWireDepthMax)) return fail("is nested too deep");
  frames_.push_back({field->message});
  return true;
}

bool Handler::end_object() {
  if (skipping_ > 0) {
    --skipping_;
    return true;
  }
  std::string bytes = std::move(frames_.back().bytes);
  frames_.pop_back();
  if (frames_.empty()) {
    result_ = std::move(bytes);
    done_ = true;
  } else {
    writer().add_message(frames_.back().field->number, bytes);
  }
  return true;
}

bool Handler::start_array(std::size_t) {
  if (skipping_ > 0) return begin_skipping();
  if (frames_.empty()) return fail("is not an object");
  Frame& frame = frames_.back();
  if (frame.field == nullptr) return begin_skipping();
  if (!frame.field->repeated || frame.in_array) return fail("is not an array");
  frame.in_array = true;
  return true;
}

bool Handler::number(const std::optional<Number>& integer, double real) {
  const Field* field = scalar();
  if (field == nullptr) return ok();
  const std::uint32_t number = field->number;
  const std::size_t before = size();
  if (field->type == FieldType::real) {
    writer().add_double(number, real);
    return wrote(before);
  }
  const auto value = [&](std::uint64_t lowest, std::uint64_t highest) {
    return integer ? in_range(*integer, lowest, highest) : std::nullopt;
  };
  constexpr std::uint64_t kTop63 = 1ULL << 63U;
  constexpr std::uint64_t kTop31 = 1ULL << 31U;
  std::optional<std::uint64_t> got;
  switch (field->type) {
    case FieldType::enumeration:
    case FieldType::sint32: got = value(kTop31, kTop31 - 1); break;
    case FieldType::uint32:
    case FieldType::fixed32: got = value(0, 0xffffffffU); break;
    case FieldType::int64:
    case FieldType::sfixed64: got = value(kTop63, kTop63 - 1); break;
    case FieldType::uint64:
    case FieldType::fixed64: got = value(0, ~0ULL); break;
    default: return fail("is not a number");
  }
  if (!got) return fail("is not an integer in its range");
  switch (field->type) {
    case FieldType::sint32: writer().add_sint32(number, static_cast<std::int32_t>(*got)); break;
    case FieldType::fixed32: writer().add_fixed32(number, static_cast<std::uint32_t>(*got)); break;
    case FieldType::fixed64:
    case FieldType::sfixed64: writer().add_fixed64(number, *got); break;
    default: writer().add_uint64(number, *got);
  }
  return wrote(before);
}

bool Handler::bytes(const std::optional<std::string>& value, const char* what) {
  if (!value) return fail(what);
  const std::size_t before = size();
  writer().add_bytes(frames_.back().field->number, *value);
  return wrote(before);
}

bool Handler::string(string_t& value) {
  const Field* field = scalar();
  if (field == nullptr) return ok();
  switch (field->type) {
    case FieldType::string: return bytes(value, "");
    case FieldType::bytes: return bytes(from_base64(value), "is not base64");
    case FieldType::trace_id:
    case FieldType::span_id: return bytes(from_hex(value), "is not hexadecimal");
    case FieldType::boolean: return fail("is not a boolean");
    case FieldType::enumeration: return fail("is a name, not a number");
    case FieldType::message: return fail("is not an object");
    case FieldType::real: {
      const auto real = to_double(value);
      return real ? number(std::nullopt, *real) : fail("is not a number");
    }
    default: {
      const auto integer = to_integer(value);
      return integer ? number(integer, 0) : fail("is not a number");
    }
  }
}

}  // namespace

Result<std::string> from_json(const Message& message, std::string_view text, std::size_t limit) {
  Handler handler(message, limit);
  try {
    nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  } catch (const nlohmann::json::exception& e) {
    return Error{std::string("not JSON: ") + e.what()};
  }
  if (!handler.fault().empty()) return Error{handler.fault(), {}, {}, handler.is_too_big() ? 413 : 0};
  if (!handler.done()) return Error{"not JSON"};
  return std::move(handler.result());
}

}  // namespace runmain::telemetry

#include "drive/json_archive.hpp"

namespace runmain::drive {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The length of the character that starts at `at`, 0 if there is none. RFC 3629, section 4: the second byte's
// range excludes what is overlong, a surrogate or too large.
std::size_t character_length(std::string_view s, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned char>(at + i < s.size() ? s[at + i] : 0);
  };
  const auto follows = [&](std::size_t i) { return byte(i) >= 0x80 && byte(i) <= 0xbf; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned char low = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned char high = first == 0xed ? 0x9f : 0xbf;
    return byte(1) >= low && byte(1) <= high && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned char low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xf4 ? 0x8f : 0xbf;
    return byte(1) >= low && byte(1) <= high && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = character_length(bytes, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string to_hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    out.push_back(kDigits[b >> 4U]);
    out.push_back(kDigits[b & 0xfU]);
  }
  return out;
}

bool from_hex(std::string_view hex, std::string& out) {
  out.clear();
  if (hex.size() % 2 != 0) return false;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const int high = digit(hex[i]);
    const int low = digit(hex[i + 1]);
    if (high < 0 || low < 0) return false;
    out.push_back(static_cast<char>(high * 16 + low));
  }
  return true;
}

namespace json_detail {

nlohmann::ordered_json string_to_json(const std::string& text) {
  if (is_utf8(text)) return text;
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  object["hex"] = to_hex(text);
  return object;
}

bool string_from_json(const nlohmann::json& json, std::string& text) {
  if (json.is_string()) {
    text = json.get_ref<const std::string&>();
    return true;
  }
  if (!json.is_object() || json.size() != 1) return false;
  const auto hex = json.find("hex");
  return hex != json.end() && hex->is_string() && from_hex(hex->get_ref<const std::string&>(), text);
}

bool number_from_json(const nlohmann::json& json, std::int64_t low, std::uint64_t high, std::int64_t& n) {
  if (json.is_number_unsigned()) {
    const auto value = json.get<std::uint64_t>();
    n = static_cast<std::int64_t>(value);  // the caller's type takes the same 64 bits back
    return value <= high;
  }
  if (!json.is_number_integer()) return false;
  n = json.get<std::int64_t>();
  return n < 0 ? n >= low : static_cast<std::uint64_t>(n) <= high;
}

}  // namespace json_detail
}  // namespace runmain::drive

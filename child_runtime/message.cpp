#include "message.hpp"

#include <cstdio>
#include <cstring>

namespace runmain::child {
namespace {

// Reads JSON (RFC 8259) from front to back. After a fault every call is false.
class Reader {
 public:
  Reader(const char* text, std::size_t size) : at_(text), end_(text + size) {}

  // Calls `member` for each key of an object; it must read the value and say whether that went well.
  template <class F>
  bool object(F&& member);
  template <class F>
  bool array(F&& element);
  // Reads a string, cut to fit.
  bool string(char* out, std::size_t size);
  bool unsigned_integer(std::uint32_t& out);
  // Whether the value is true; any other one is skipped.
  bool is_true(bool& out);
  bool skip();
  bool at_end() {
    space();
    return at_ == end_;
  }

 private:
  void space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
  }
  bool take(char c) {
    space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool word(const char* text) {
    const std::size_t size = std::strlen(text);
    if (static_cast<std::size_t>(end_ - at_) < size || std::memcmp(at_, text, size) != 0) return false;
    at_ += size;
    return true;
  }
  std::size_t digits() {
    const char* from = at_;
    while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return static_cast<std::size_t>(at_ - from);
  }
  bool number();
  bool hex4(std::uint32_t& out);
  bool escape(char* out, std::size_t& length);

  const char* at_;
  const char* end_;
  int nesting_ = 0;
};

template <class F>
bool Reader::object(F&& member) {
  if (!take('{') || ++nesting_ > kNestingMax) return false;
  if (!take('}')) {
    do {
      char key[32];
      space();
      if (!string(key, sizeof key) || !take(':') || !member(static_cast<const char*>(key))) return false;
    } while (take(','));
    if (!take('}')) return false;
  }
  --nesting_;
  return true;
}

template <class F>
bool Reader::array(F&& element) {
  if (!take('[') || ++nesting_ > kNestingMax) return false;
  if (!take(']')) {
    do {
      if (!element()) return false;
    } while (take(','));
    if (!take(']')) return false;
  }
  --nesting_;
  return true;
}

bool Reader::hex4(std::uint32_t& out) {
  if (end_ - at_ < 4) return false;
  out = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = *at_++;
    out <<= 4U;
    if (c >= '0' && c <= '9') {
      out |= static_cast<std::uint32_t>(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      out |= static_cast<std::uint32_t>((c | 0x20) - 'a' + 10);
    } else {
      return false;
    }
  }
  return true;
}

std::size_t encode_utf8(std::uint32_t code, char* out) {
  const auto tail = [code](unsigned shift) { return static_cast<char>(0x80U | ((code >> shift) & 0x3fU)); };
  if (code < 0x80) {
    out[0] = static_cast<char>(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = static_cast<char>(0xc0U | (code >> 6U));
    out[1] = tail(0);
    return 2;
  }
  if (code < 0x10000) {
    out[0] = static_cast<char>(0xe0U | (code >> 12U));
    out[1] = tail(6);
    out[2] = tail(0);
    return 3;
  }
  out[0] = static_cast<char>(0xf0U | (code >> 18U));
  out[1] = tail(12);
  out[2] = tail(6);
  out[3] = tail(0);
  return 4;
}

// What follows a backslash, as UTF-8. A NUL has no place in our texts and is a fault, as is half a surrogate
// pair.
bool Reader::escape(char* out, std::size_t& length) {
  if (at_ == end_) return false;
  static constexpr char kShort[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
  const char c = *at_++;
  if (c != 'u') {
    for (std::size_t i = 0; i + 1 < sizeof kShort; i += 2) {
      if (kShort[i] != c) continue;
      out[0] = kShort[i + 1];
      length = 1;
      return true;
    }
    return false;
  }
  std::uint32_t code = 0;
  if (!hex4(code) || code == 0 || (code >= 0xdc00 && code <= 0xdfff)) return false;
  if (code >= 0xd800 && code <= 0xdbff) {
    std::uint32_t low = 0;
    if (!word("\\u") || !hex4(low) || low < 0xdc00 || low > 0xdfff) return false;
    code = 0x10000 + ((code - 0xd800) << 10U) + (low - 0xdc00);
  }
  length = encode_utf8(code, out);
  return true;
}

bool Reader::string(char* out, std::size_t size) {
  if (!take('"')) return false;
  std::size_t used = 0;
  bool full = false;
  while (at_ < end_ && *at_ != '"') {
    char piece[4];
    std::size_t length = utf8_length(at_, static_cast<std::size_t>(end_ - at_));
    if (length == 0 || static_cast<unsigned char>(*at_) < 0x20) return false;
    if (*at_ == '\\') {
      ++at_;
      if (!escape(piece, length)) return false;
    } else {
      std::memcpy(piece, at_, length);
      at_ += length;
    }
    full = full || used + length >= size;
    if (full) continue;
    std::memcpy(out + used, piece, length);
    used += length;
  }
  if (size > 0) out[used] = '\0';
  return take('"');
}

bool Reader::number() {
  if (at_ < end_ && *at_ == '-') ++at_;
  if (at_ < end_ && *at_ == '0') {
    ++at_;
  } else if (digits() == 0) {
    return false;
  }
  if (at_ < end_ && *at_ == '.') {
    ++at_;
    if (digits() == 0) return false;
  }
  if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (digits() == 0) return false;
  }
  return true;
}

bool Reader::unsigned_integer(std::uint32_t& out) {
  space();
  const char* from = at_;
  if (!number()) return false;
  std::uint64_t value = 0;
  for (const char* p = from; p < at_; ++p) {
    if (*p < '0' || *p > '9') return false;
    value = value * 10 + static_cast<std::uint64_t>(*p - '0');
    if (value > UINT32_MAX) return false;
  }
  out = static_cast<std::uint32_t>(value);
  return true;
}

bool Reader::is_true(bool& out) {
  space();
  out = word("true");
  return out || skip();
}

bool Reader::skip() {
  space();
  if (at_ == end_) return false;
  switch (*at_) {
    case '{': return object([this](const char*) { return skip(); });
    case '[': return array([this] { return skip(); });
    case '"': return string(nullptr, 0);
    case 't': return word("true");
    case 'f': return word("false");
    case 'n': return word("null");
    default: return number();
  }
}

bool is(const char* a, const char* b) { return std::strcmp(a, b) == 0; }

bool read_listener(Reader& in, ListenerText& out) {
  out = ListenerText{};
  return in.object([&](const char* key) {
    if (is(key, "name")) return in.string(out.name, sizeof out.name);
    if (is(key, "address")) return in.string(out.address, sizeof out.address);
    if (is(key, "kind")) return in.string(out.kind, sizeof out.kind);
    return in.skip();
  });
}

bool read_role(Reader& in, Message& message) {
  Role& out = message.role;
  out = Role{};
  message.mailbox = false;
  message.listener_count = 0;
  return in.object([&](const char* key) {
    if (is(key, "service")) return in.string(out.service, sizeof out.service);
    if (is(key, "instance_id")) return in.string(out.instance_id, sizeof out.instance_id);
    if (is(key, "slot")) return in.unsigned_integer(out.slot);
    if (is(key, "generation")) return in.unsigned_integer(out.generation);
    if (is(key, "mailbox")) return in.is_true(message.mailbox);
    if (is(key, "listeners")) {
      message.listener_count = 0;
      return in.array([&] {
        if (message.listener_count == kListenersMax) return false;
        return read_listener(in, message.listeners[message.listener_count++]);
      });
    }
    return in.skip();
  });
}

}  // namespace

bool parse_message(const char* line, std::size_t size, Message& out) {
  Reader in(line, size);
  std::uint32_t version = 0;
  out.kind = MessageKind::none;
  const bool read = in.object([&](const char* key) {
    if (is(key, "v")) return in.unsigned_integer(version);
    if (is(key, "role")) {
      out.kind = MessageKind::role;
      return read_role(in, out);
    }
    if (is(key, "refused")) {
      out.kind = MessageKind::refused;
      out.why[0] = '\0';
      return in.object(
          [&](const char* k) { return is(k, "why") ? in.string(out.why, sizeof out.why) : in.skip(); });
    }
    if (is(key, "drain")) {
      out.kind = MessageKind::drain;
      out.budget_ms = 0;
      return in.object(
          [&](const char* k) { return is(k, "budget_ms") ? in.unsigned_integer(out.budget_ms) : in.skip(); });
    }
    return in.skip();
  });
  return read && in.at_end() && version == RUNMAIN_CHANNEL_VERSION;
}

void LineWriter::append(const char* bytes, std::size_t size) {
  overflow_ = overflow_ || size > sizeof text_ - size_;
  if (overflow_) return;
  std::memcpy(text_ + size_, bytes, size);
  size_ += size;
}

LineWriter& LineWriter::raw(const char* text) {
  append(text, std::strlen(text));
  return *this;
}

LineWriter& LineWriter::string(const char* text, std::size_t limit) {
  append("\"", 1);
  for (std::size_t left = strnlen(text, limit); left > 0;) {
    const std::size_t length = utf8_length(text, left);
    const auto c = static_cast<unsigned char>(*text);
    if (length == 0) {
      // Bytes of a character that `limit` cuts are left out; any other stray byte is shown as such.
      if (left < 4 && utf8_length(text, strnlen(text, 4)) > left) break;
      append("\xef\xbf\xbd", 3);
    } else if (c < 0x20 || c == 0x7f) {
      char code[8];
      append(code, static_cast<std::size_t>(std::snprintf(code, sizeof code, "\\u%04x", c)));
    } else {
      if (c == '"' || c == '\\') append("\\", 1);
      append(text, length);
    }
    text += length == 0 ? 1 : length;
    left -= length == 0 ? 1 : length;
  }
  append("\"", 1);
  return *this;
}

LineWriter& LineWriter::number(std::uint64_t value) {
  char digits[24];
  append(digits, static_cast<std::size_t>(
                     std::snprintf(digits, sizeof digits, "%llu", static_cast<unsigned long long>(value))));
  return *this;
}

std::size_t utf8_length(const char* text, std::size_t size) {
  if (size == 0) return 0;
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || size < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return 0;
  }
  const unsigned char second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second > 0x9f;
  const bool beyond = first == 0xf4 && second > 0x8f;
  return overlong || surrogate || beyond ? 0 : length;
}

void copy_text(char* out, std::size_t size, const char* text) {
  std::size_t length = strnlen(text, size);
  if (length == size) {
    length = size - 1;
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0U) == 0x80U) --length;
  }
  std::memcpy(out, text, length);
  out[length] = '\0';
}

}  // namespace runmain::child

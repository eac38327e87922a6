// Texts of headers: views, white space, lists, hexadecimal digits.
//
// Invariant: nothing is read outside of the view, and a view without bytes may have no address. Allocates
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "propagation.h"

namespace runmain::child::header_text {

inline runmain_text text_of(const char* c_string) { return {c_string, std::strlen(c_string)}; }

inline bool same(runmain_text a, runmain_text b) {
  return a.size == b.size && (a.size == 0 || std::memcmp(a.data, b.data, a.size) == 0);
}

// OWS of RFC 9110, section 5.6.3.
inline bool is_space(char c) { return c == ' ' || c == '\t'; }

inline runmain_text trimmed(runmain_text text) {
  while (text.size > 0 && is_space(text.data[0])) {
    ++text.data;
    --text.size;
  }
  while (text.size > 0 && is_space(text.data[text.size - 1])) --text.size;
  return text;
}

// Where `c` is, or the text's size.
inline std::size_t find(runmain_text text, char c) {
  if (text.size == 0) return 0;
  const void* at = std::memchr(text.data, c, text.size);
  return at == nullptr ? text.size : static_cast<std::size_t>(static_cast<const char*>(at) - text.data);
}

// Takes what is before the next `separator`, and the separator, off the front of `rest`.
inline runmain_text take_until(runmain_text& rest, char separator) {
  const std::size_t at = find(rest, separator);
  const runmain_text taken{rest.data, at};
  const std::size_t gone = at < rest.size ? at + 1 : at;
  if (gone > 0) rest.data += gone;
  rest.size -= gone;
  return taken;
}

inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

inline bool same_in_any_case(runmain_text a, const char* lower_case) {
  std::size_t i = 0;
  while (i < a.size && lower_case[i] != '\0' && lower(a.data[i]) == lower_case[i]) ++i;
  return i == a.size && lower_case[i] == '\0';
}

inline void append(char* out, std::size_t& used, runmain_text text) {
  if (text.size > 0) std::memcpy(out + used, text.data, text.size);
  used += text.size;
}

// 0 to 15, or -1. `upper_too`: B and b alike; Trace Context allows only lower case.
inline int hex_digit(char c, bool upper_too) {
  if (c >= '0' && c <= '9') return c - '0';
  if (upper_too) c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Reads 2 * `bytes` digits.
inline bool read_hex(const char* digits, std::size_t bytes, bool upper_too, std::uint8_t* out) {
  for (std::size_t i = 0; i < bytes; ++i) {
    const int high = hex_digit(digits[2 * i], upper_too);
    const int low = hex_digit(digits[2 * i + 1], upper_too);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return true;
}

inline char* write_hex(const std::uint8_t* bytes, std::size_t size, char* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < size; ++i) {
    *out++ = kDigits[bytes[i] >> 4U];
    *out++ = kDigits[bytes[i] & 0xfU];
  }
  return out;
}

inline bool all_zero(const std::uint8_t* bytes, std::size_t size) {
  std::uint8_t any = 0;
  for (std::size_t i = 0; i < size; ++i) any |= bytes[i];
  return any == 0;
}

inline bool has_ids(const runmain_span_context& context) {
  return !all_zero(context.trace_id, sizeof context.trace_id) &&
         !all_zero(context.span_id, sizeof context.span_id);
}

// The flags that Trace Context, level 2, gives a meaning to.
inline constexpr std::uint8_t kKnownFlags = RUNMAIN_FLAG_SAMPLED | RUNMAIN_FLAG_RANDOM;

}  // namespace runmain::child::header_text

#include "base/text.hpp"

#include <cstdint>
#include <cstring>

namespace runmain {
namespace {

constexpr std::uint64_t kOnes = 0x0101010101010101ULL;
constexpr std::uint64_t kTops = 0x8080808080808080ULL;

bool is_plain(unsigned char c) { return (c >= 0x20 && c < 0x7f) || c == '\t'; }

// True if each of the eight bytes is 0x20 … 0x7e: none has its top bit, none borrows at - 0x20, none is 0x7f.
bool all_plain(const char* at) {
  std::uint64_t word = 0;
  std::memcpy(&word, at, sizeof word);
  const std::uint64_t low = word - kOnes * 0x20;
  const std::uint64_t del = (word ^ (kOnes * 0x7f)) - kOnes;
  return ((word | low | del) & kTops) == 0;
}

// The number of plain bytes at the start.
std::size_t plain_prefix(std::string_view bytes) {
  std::size_t n = 0;
  for (;;) {
    while (n + 8 <= bytes.size() && all_plain(bytes.data() + n)) n += 8;
    const std::size_t stop = n + 8 < bytes.size() ? n + 8 : bytes.size();
    while (n < stop && is_plain(static_cast<unsigned char>(bytes[n]))) ++n;
    if (n < stop || n == bytes.size()) return n;  // a tab alone does not end the run
  }
}

// The length of the SGR sequence at the start of `bytes`, 0 if there is none.
std::size_t colour_sequence(std::string_view bytes) {
  if (bytes.size() < 3 || bytes[0] != '\x1b' || bytes[1] != '[') return 0;
  for (std::size_t i = 2; i < bytes.size() && i < kColourSequenceMax; ++i) {
    const char c = bytes[i];
    if (c == 'm') return i + 1;
    if ((c < '0' || c > '9') && c != ';' && c != ':') return 0;
  }
  return 0;
}

void append_escaped(std::string& out, unsigned char c) {
  constexpr char kHex[] = "0123456789abcdef";
  const char shown[4] = {'\\', 'x', kHex[c >> 4U], kHex[c & 15U]};
  out.append(shown, sizeof shown);
}

bool is_harmful(std::uint32_t code) {
  return (code >= 0x80 && code <= 0x9f) || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

// What stays of a line after its carriage returns.
std::string_view last_state(std::string_view bytes) {
  if (bytes.empty() || std::memchr(bytes.data(), '\r', bytes.size()) == nullptr) return bytes;
  while (!bytes.empty() && bytes.back() == '\r') bytes.remove_suffix(1);
  const std::size_t at = bytes.rfind('\r');
  return at == std::string_view::npos ? bytes : bytes.substr(at + 1);
}

}  // namespace

std::size_t harmless_utf8(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || bytes.size() < length) return 0;
  std::uint32_t code = lead & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    code = (code << 6U) | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return overlong || surrogate || code > 0x10ffff || is_harmful(code) ? 0 : length;
}

bool append_printable(std::string& out, std::string_view bytes, bool keep_colour) {
  bytes = last_state(bytes);
  bool coloured = false;
  while (!bytes.empty()) {
    std::size_t taken = plain_prefix(bytes);
    if (taken == 0) taken = harmless_utf8(bytes);
    if (taken > 0) {
      out.append(bytes.data(), taken);
    } else if (const std::size_t colour = colour_sequence(bytes); colour > 0) {
      if (keep_colour) out.append(bytes.data(), colour);
      coloured = coloured || keep_colour;
      taken = colour;
    } else {
      append_escaped(out, static_cast<unsigned char>(bytes[0]));
      taken = 1;
    }
    bytes.remove_prefix(taken);
  }
  return coloured;
}

std::string printable(std::string_view bytes, bool keep_colour) {
  std::string out;
  append_printable(out, bytes, keep_colour);
  return out;
}

}  // namespace runmain

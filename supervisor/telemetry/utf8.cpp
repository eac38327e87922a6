#include "telemetry/utf8.hpp"

#include <cstdint>
#include <cstring>

namespace runmain::telemetry {
namespace {

constexpr std::uint64_t kTops = 0x8080808080808080ULL;

// How many bytes at the start are ASCII.
std::size_t ascii_prefix(std::string_view bytes) {
  std::size_t n = 0;
  for (; n + 8 <= bytes.size(); n += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + n, sizeof word);
    if ((word & kTops) != 0) break;
  }
  while (n < bytes.size() && static_cast<unsigned char>(bytes[n]) < 0x80) ++n;
  return n;
}

// The length of the character that begins with a byte above 0x7f; 0 if there is none.
std::size_t character(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || bytes.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xed && byte(1) > 0x9f;
  const bool beyond = lead == 0xf4 && byte(1) > 0x8f;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (;;) {
    bytes.remove_prefix(ascii_prefix(bytes));
    if (bytes.empty()) return true;
    const std::size_t length = character(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
}

std::string to_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    std::size_t length = ascii_prefix(bytes);
    if (length == 0) length = character(bytes);
    if (length > 0) {
      out.append(bytes.substr(0, length));
    } else {
      out.append("\xef\xbf\xbd");
      length = 1;
    }
    bytes.remove_prefix(length);
  }
  return out;
}

}  // namespace runmain::telemetry

#include "app/beside.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kShown = 80;  // bytes of the line

// As programs say it, in small letters: bind(2), SQLite, flock(2) and files with a pid in them.
constexpr std::array<std::string_view, 11> kSigns{"eaddrinuse",
                                                  "address already in use",
                                                  "address in use",
                                                  "port is already",
                                                  "already listening",
                                                  "database is locked",
                                                  "database table is locked",
                                                  "already running",
                                                  "already locked",
                                                  "could not lock",
                                                  "acquire lock"};

bool says_so(const std::string& line) {
  std::string small = line;
  std::transform(small.begin(), small.end(), small.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  return std::any_of(kSigns.begin(), kSigns.end(),
                     [&](std::string_view sign) { return small.find(sign) != std::string::npos; });
}

}  // namespace

std::string line_of_conflict(const std::vector<std::string>& lines) {
  const auto found = std::find_if(lines.rbegin(), lines.rend(), says_so);
  if (found == lines.rend()) return {};
  std::string text = printable(*found, false);
  text.erase(0, std::min(text.find_first_not_of(' '), text.size()));
  if (text.size() <= kShown) return text;
  std::size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end) + "…";
}

}  // namespace runmain::app

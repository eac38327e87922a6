#include "cli/age.hpp"

#include <algorithm>

namespace runmain::cli {
namespace {

std::string two_units(long long large, const char* large_name, long long small, const char* small_name) {
  std::string text = std::to_string(large) + " " + large_name;
  return small == 0 ? text : text + " " + std::to_string(small) + " " + small_name;
}

}  // namespace

std::string age_text(long long ms) {
  ms = std::max(0LL, ms);
  if (ms < 1000) return std::to_string(ms) + " ms";
  if (ms < 10'000) {
    const long long tenths = ms / 100;
    const std::string rest = tenths % 10 == 0 ? "" : "." + std::to_string(tenths % 10);
    return std::to_string(tenths / 10) + rest + " s";
  }
  const long long s = ms / 1000;
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return two_units(s / 60, "min", s % 60, "s");
  if (s < 86'400) return two_units(s / 3600, "h", s % 3600 / 60, "min");
  return two_units(s / 86'400, "d", s % 86'400 / 3600, "h");
}

}  // namespace runmain::cli

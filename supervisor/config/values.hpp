// The small languages inside strings: durations, sizes, signals, modes of umask, resource limits.
// Invariant: what is returned is inside its documented bounds. A fault has message and hint, its place is
// added by who knows it. Non-goal: TOML types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"

namespace runmain::config {

inline constexpr Duration kDurationMax = std::chrono::hours(24 * 365);

// "10s", "500ms", "1m30s", "2h", "1d": whole numbers, each unit once and larger ones first; at most
// kDurationMax.
Result<Duration> parse_duration(std::string_view text);

// "10MB" (10^6), "512KiB" (2^10), "4096" or "4096B": bytes.
Result<std::uint64_t> parse_size(std::string_view text);

// "25%": 1 to 100.
Result<std::uint32_t> parse_percent(std::string_view text);

// "TERM", "SIGTERM", "RTMIN+3", "15": the number of signal(7). KILL is one, too.
Result<int> parse_signal(std::string_view text);
// Whether signal(7) has this number.
bool is_signal(std::int64_t number);

// "027": octal, at most 0777.
Result<std::uint32_t> parse_umask(std::string_view text);

// A resource of setrlimit(2) by its name in lower case, without RLIMIT_.
struct Resource {
  const char* name;
  int number;
  bool bytes;  // sizes such as "1GB" make sense
};
const std::vector<Resource>& resources();

}  // namespace runmain::config

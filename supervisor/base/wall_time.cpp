#include "base/wall_time.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>

namespace runmain {

std::int64_t wall_now_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::string rfc3339(std::int64_t wall_ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t seconds = wall_ns / kSecond;
  std::int64_t rest = wall_ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  const auto t = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&t, &parts);
  char date[40];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%s.%09dZ", date, static_cast<int>(rest));
  return text;
}

}  // namespace runmain

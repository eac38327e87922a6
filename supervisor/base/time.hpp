// Time as the core sees it: nanoseconds of CLOCK_MONOTONIC, which every process of the machine shares and
// which a step of the wall clock or a suspend does not move.
#pragma once

#include <chrono>
#include <limits>

namespace runmain {

using Duration = std::chrono::nanoseconds;

struct Monotonic {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Monotonic>;
  static constexpr bool is_steady = true;
};
using Time = Monotonic::time_point;

// "No deadline": later than every other time.
inline constexpr Time kNever = Time(Duration(std::numeric_limits<Duration::rep>::max()));

constexpr long long to_ms(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace runmain

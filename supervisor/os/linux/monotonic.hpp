// The time that the core counts in, for who has no loop to ask: CLOCK_MONOTONIC (clock_gettime(2)).
#pragma once

#include <chrono>
#include <ctime>

#include "base/time.hpp"

namespace runmain::os {

inline Time monotonic_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

}  // namespace runmain::os

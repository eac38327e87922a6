// How long to wait before the next start. Invariant: never shorter than promised, that is the un-jittered
// delay less the jitter, and never longer than the maximum. Non-goal: when a count starts anew; service.cpp
// knows.
#pragma once

#include <cstdint>

#include "core/spec.hpp"

namespace runmain::core {

inline constexpr Duration kSpawnRetryFirst = std::chrono::milliseconds(100);
inline constexpr Duration kSpawnRetryMax = std::chrono::seconds(5);

// The next number of a splitmix64 sequence; advances `state`.
std::uint64_t next_random(std::uint64_t& state);

// The wait after the `crashes`-th death in a row, without jitter: 0 for the first.
Duration crash_delay(const Backoff& backoff, std::uint32_t crashes);

// The same with jitter from `random`, which advances if there is any.
Duration crash_delay(const Backoff& backoff, std::uint32_t crashes, std::uint64_t& random);

// The wait after the `failures`-th failed spawn in a row: 100 ms, doubling up to 5 s.
Duration spawn_delay(std::uint32_t failures);

// `now` + `d`, with `d` cut to [0, kSpanMax], so that no sum overflows.
Time later(Time now, Duration d);

}  // namespace runmain::core

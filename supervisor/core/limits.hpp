// The bounds and times that the core decides by, where the specification does not say them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/time.hpp"

namespace runmain::core {

using namespace std::chrono_literals;

inline constexpr std::uint32_t kServicesMax = 16384;  // names ever seen while a keeper lives
inline constexpr std::size_t kRequestsMax =
    256;                                        // unanswered requests; beyond: answered with an error at once
inline constexpr std::size_t kClaimsMax = 256;  // serving processes of one child
inline constexpr std::size_t kStatusTextMax = 256;  // bytes of STATUS= that are kept
inline constexpr std::size_t kFactTextMax = 512;    // bytes of a fact's text
inline constexpr std::uint32_t kGiveUpsMax = 3;     // starts in a row that newer changes may cut short
inline constexpr std::uint32_t kCountMax = 1000;    // where counters of failures in a row stop
inline constexpr Duration kRoomTimeout = 1s;        // to find out about memory; then it is taken to be enough
inline constexpr Duration kQueueTimeout = 1s;       // … if its slot has a successor, which serves the rest
inline constexpr Duration kQueueQuiet = 100ms;      // nobody has come for so long: nobody will …
inline constexpr Duration kQueueQuietLast =
    1500ms;  // … with a SYN+ACK sent again (after 1 s), where it is the last look
inline constexpr Duration kStallTimeout = 2s;        // to find out why a worker does not answer
inline constexpr std::uint32_t kBeatsMissedMax = 5;  // in a row: no excuse is one any more
inline constexpr std::uint32_t kHooksMax = 4;        // of one service at once
inline constexpr std::uint32_t kLoadedLooks = 2;     // in a row with a queue, or busy: one worker more
inline constexpr Duration kCalm = 60s;               // for so long hardly anything to do: one worker less
inline constexpr std::uint32_t kCalmPercent = 30;    // of a CPU, each worker on average
inline constexpr Duration kWorkDone =
    1s;  // who has served for so long and ends with success has done its work
inline constexpr Duration kProbePause = 100ms;  // between commands that find out whether a worker is ready …
inline constexpr Duration kProbeLimit = 10s;    // … each of which may take so long
inline constexpr Duration kSpanMax = std::chrono::hours(24 * 366);  // no deadline is further away

}  // namespace runmain::core

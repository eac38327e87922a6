// Probability sampling that is consistent in a trace: thresholds, randomness, and where both travel, the
// sub-keys `th` and `rv` of tracestate's member `ot` (OpenTelemetry specification,
// trace/tracestate-probability-sampling and trace/tracestate-handling).
//
// A span is sampled where its trace's randomness is at least the threshold; both have 56 bits. Invariants:
// `rv` and the other sub-keys are never changed; what is no tracestate is replaced as a whole. Allocates
// nothing but the new text. Non-goal: decisions (settings.hpp).
#pragma once

#include <cstdint>

#include "trace.h"

namespace runmain::child {

inline constexpr std::uint64_t kNeverSampled = 1ULL << 56U;           // above every randomness
inline constexpr double kProbabilityMin = 1.0 / 72057594037927936.0;  // 2^-56

// What a decision makes of the parent's threshold, where that is no number to be written.
inline constexpr std::uint64_t kThresholdKept = ~0ULL;
inline constexpr std::uint64_t kThresholdErased = ~0ULL - 1;

// With 4 significant hexadecimal digits, as the specification recommends. `probability`: kProbabilityMin
// to 1.
std::uint64_t threshold_of(double probability);

// The last 7 bytes of a trace id, of its last 8 as they are in memory.
inline std::uint64_t randomness_of(std::uint64_t last) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  last = __builtin_bswap64(last);
#endif
  return last & (kNeverSampled - 1);
}

// What a tracestate says of sampling.
struct SamplingState {
  bool has_randomness;  // `rv`, which goes before the trace id
  bool has_threshold;   // some `th`
  std::uint64_t randomness;
  std::uint64_t threshold;  // kNeverSampled: there is none, or none that is valid
};
SamplingState read_sampling_state(runmain_shared* trace_state);

// A new tracestate, the caller's to release, with this `th` or (kThresholdErased) none; nullptr: empty, or no
// memory. `before` may be nullptr. `cut`: something found no room: members at the end, or `th` itself.
runmain_shared* with_threshold(runmain_shared* before, std::uint64_t threshold, bool& cut);

}  // namespace runmain::child

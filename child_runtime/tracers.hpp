// Tracers: instrumentation scopes, by name.
//
// Invariant: once made they never change or move, and stay in forked children: no lock, slots are taken by
// compare-and-swap. Allocates once, by mmap(2). Non-goal: forgetting one.
#pragma once

#include <cstdint>

#include "telemetry.hpp"

struct runmain_tracer {
  std::uint32_t number;  // from 0; kScopesMax: without a scope
  std::uint32_t size;    // of the dictionary's entry, which is behind this
  std::uint64_t reserved;

  const std::uint8_t* entry() const { return reinterpret_cast<const std::uint8_t*>(this + 1); }
};

namespace runmain::child {

inline constexpr std::size_t kSchemaSizes = 8;  // two u32 in front of the schema's address

struct StaticTracer {
  runmain_tracer tracer;
  std::uint8_t entry[kSchemaSizes];
};
// Of spans that are started without one: a scope without a name.
extern const StaticTracer g_default_tracer;

// The scope's number in this lane; puts it there if it is the first time.
std::uint32_t add_scope(Lane& lane, const runmain_tracer& tracer);
inline std::uint32_t scope_in(Lane& lane, const runmain_tracer& tracer) {
  if (tracer.number >= kScopesMax) [[unlikely]]
    return RUNMAIN_SCOPE_LOST;
  const std::uint32_t known = lane.scopes[tracer.number];
  return known != 0 ? known : add_scope(lane, tracer);
}

}  // namespace runmain::child

// What OTEL_* says of spans (opentelemetry.io, "Environment Variable Specification"), and the resource.
//
// Invariants: an empty value is as none; what is not understood is told once on stderr and ignored. Non-goal:
// exporters, processors and propagators; the first two are runmain's own.
#pragma once

#include "telemetry.hpp"
#include "threshold.hpp"

namespace runmain::child {

// Reads sampler, limits and OTEL_SDK_DISABLED into `t`, as far as the program has not set them.
void read_settings(Telemetry& t);

// "runmain: NAME=VALUE is WHY, ignoring", once a process and its forks for each `about` (up to 32). A second
// time costs one load.
void warn_once(unsigned about, const char* format, ...) __attribute__((format(printf, 2, 3)));

struct ResourceOf {
  const char* service;      // nullptr: no role
  const char* instance_id;  // never nullptr
  std::uint32_t slot;
  std::uint32_t generation;
};
// An OTLP Resource into `out`; its size. What the environment adds is left out where there is no room for it.
std::size_t encode_resource(const ResourceOf& of, std::uint8_t* out, std::size_t size);

void set_sampler(SamplerState& state, std::uint32_t kind, bool ignore_parent, double ratio);

// An id generator has answered zeros: told once.
void warn_of_zero_id();

// "ParentBased{…}", as snprintf(3).
std::size_t describe(const SamplerState& state, char* buffer, std::size_t size);

// What is to be decided; `parent` is nullptr or valid.
struct Sampling {
  const runmain_context* parent;
  runmain_shared* trace_state;  // the parent's, which may have one without valid ids
  const std::uint8_t* trace_id;
  runmain_text name;
  std::uint32_t kind;
  const runmain_start* start;
};
// What a sampler says; the tracestate changes in nothing but its threshold.
struct Verdict {
  bool sampled;
  std::uint64_t threshold;  // to be written, or kThresholdKept, or kThresholdErased
};
Verdict decide(const SamplerState& state, const Sampling& span);

// The decision of a parent that is valid. The threshold of a remote one that does not fit to it is erased.
Verdict as_parent(const runmain_context& parent);

}  // namespace runmain::child

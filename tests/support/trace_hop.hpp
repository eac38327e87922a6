// A service in the middle of a trace, as far as headers go: what came in, and what goes out with each request
// that is made because of it. The tests of the W3C suites and the service for the original suites share it.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "child_runtime/propagation.hpp"

namespace trace_hop {

using Headers = std::vector<std::pair<std::string, std::string>>;

class Hop {
 public:
  static constexpr std::uint32_t kFormats = RUNMAIN_PROPAGATE_TRACECONTEXT | RUNMAIN_PROPAGATE_BAGGAGE;

  explicit Hop(const Headers& incoming) {
    const int found = runmain::extract(incoming, context_, kFormats);
    if ((found & RUNMAIN_EXTRACTED_SPAN) != 0) return;
    fill(context_.span.trace_id, sizeof context_.span.trace_id);
    context_.span.flags = RUNMAIN_FLAG_SAMPLED | RUNMAIN_FLAG_RANDOM;
  }

  // Headers for one more request: a span of its own in the same trace.
  Headers outgoing() {
    fill(context_.span.span_id, sizeof context_.span.span_id);
    Headers out;
    runmain::inject(out, context_, kFormats);
    return out;
  }

 private:
  void fill(std::uint8_t* bytes, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(random_());
    bytes[0] |= 1U;  // never all zero
  }

  std::random_device random_;
  runmain::Propagated context_;
};

}  // namespace trace_hop

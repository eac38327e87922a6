// Spans of one trace as a tree for people: a line a span, children below their parents.
//
// Invariant: every span is shown once, or counted as one more; whatever parents, ids and texts say, it ends,
// is bounded (kSpansShown, kDepthShown) and harmless for a terminal. A span whose parent is not there stands
// as a root and is marked; so does one of a circle of parents. Non-goal: correcting clocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/protocol.hpp"

namespace runmain::cli {

inline constexpr std::size_t kSpansShown = 500;      // of a trace
inline constexpr std::size_t kDepthShown = 20;       // deeper ones are drawn there
inline constexpr std::size_t kAttributesShown = 32;  // of a span

struct TraceSpan {
  std::string trace_id;
  std::string span_id;
  std::string parent_span_id;  // empty: a root
  std::string name;
  std::int64_t start_ns = 0;  // since 1970
  std::int64_t end_ns = 0;
  enum class Status : std::uint8_t { unset, ok, error } status = Status::unset;
  std::string status_message;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::int64_t attributes_left_out = 0;
  std::string service;
  std::int64_t slot = 0;
  std::int64_t generation = 0;
  bool reconstructed = false;  // its process ended before it did
  bool duplicate = false;      // another one with the same ids is known
};

// As the observer writes a span; nothing if it has no ids. What else is missing is empty.
std::optional<TraceSpan> span_of(const control::Json& json);

// `spans`: of one trace, in any order; not empty. Ends with a newline. `width` 0: no limit.
std::string trace_tree(const std::vector<TraceSpan>& spans, bool colour, std::size_t width);

// "850 ns", "12 µs", "84 ms", "1.2 s", "2 min 5 s".
std::string span_time(std::int64_t ns);

}  // namespace runmain::cli

// Spans as they come, gathered to traces: which of them are shown, and when.
//
// While one follows, a trace is shown once: kQuiet after its latest span if its root is there, else
// kPatience. Invariant: bounded in spans (kSpansMax); over that the trace that came first goes, and is
// counted. Plain value, times are given. Non-goal: how a trace looks (trace_tree.hpp).
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"
#include "cli/trace_tree.hpp"

namespace runmain::cli {

class TraceBook {
 public:
  static constexpr std::size_t kSpansMax = 100'000;
  static constexpr Duration kQuiet = std::chrono::milliseconds(300);
  static constexpr Duration kPatience = std::chrono::seconds(2);

  struct Entry {
    TraceSpan span;
    control::Json json;  // as it came
  };
  using Trace = std::vector<Entry>;

  void add(Entry entry, Time now);
  // All that is here, in the order of their ends, but only the `count` newest ones. Then it is empty.
  std::vector<Trace> take_newest(std::size_t count);
  // What is to be shown now, in the order in which they came; and when there is more.
  std::vector<Trace> take_due(Time now);
  Time due() const;

  std::size_t spans() const { return spans_; }
  std::size_t dropped() const { return dropped_; }  // spans

 private:
  struct Open {
    Trace trace;
    std::size_t number = 0;  // in the order of arrival
    Time due = kNever;
    bool has_root = false;
  };
  void drop_oldest();

  std::unordered_map<std::string, Open> open_;  // by trace id
  std::size_t last_number_ = 0;
  std::size_t spans_ = 0;
  std::size_t dropped_ = 0;
};

}  // namespace runmain::cli

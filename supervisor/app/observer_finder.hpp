// The doctor's rules on what the observer gets all the time, in development: who traces each request twice is
// told once, with its cause.
//
// Invariant: looks at the latest kSpansMax spans; each (service, cause) is told once. Pure. Non-goal: what
// comes twice byte by byte (telemetry/duplicates.hpp).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "doctor/evidence.hpp"
#include "telemetry/observer_fact.hpp"
#include "telemetry/trace_store.hpp"

namespace runmain::app {

class ObserverFinder {
 public:
  static constexpr std::size_t kSpansMax = 500;
  static constexpr std::size_t kToldMax = 1024;

  void add(const telemetry::StoredSpan& span);
  // What has become clear since the last look.
  std::vector<telemetry::ObserverFact> look();

 private:
  struct Source {
    std::string service;
    ChildKey worker;
  };
  std::deque<doctor::WireSpan> spans_;
  std::map<std::string, pid_t> instances_;  // stand for pids, which nobody knows here
  std::map<pid_t, Source> sources_;
  std::set<std::pair<std::string, int>> told_;
};

}  // namespace runmain::app

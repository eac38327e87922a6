// Which destinations fail, for people: one line when an endpoint begins to fail and one when all of it
// answers again, however many signals and queues go there.
//
// Invariant: a value; bounded by those that fail. Non-goal: when something is tried again (destination.hpp).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "telemetry/item.hpp"

namespace runmain::telemetry {

const char* to_text(Signal signal);

class Outages {
 public:
  // `queue` names one of those that go to `endpoint`. What is to be said; nothing if it is known to fail.
  // "http://c:4318 fails (traces): Connection refused, retrying".
  std::optional<std::string> fails(const void* queue, const std::string& endpoint, Signal signal,
                                   const std::string& why);
  // "http://c:4318 answers again (traces, metrics) after 12 s and 4 attempts". Nothing while others fail.
  std::optional<std::string> recovers(const void* queue, const std::string& endpoint, const std::string& how);
  // It is gone.
  void forget(const void* queue, const std::string& endpoint);

 private:
  struct Outage {
    std::set<const void*> queues;          // that fail
    std::array<bool, kSignals> signals{};  // that have failed since it began
  };
  std::map<std::string, Outage> all_;  // by endpoint
};

// "traces, metrics": each once, in their order.
std::string signals_text(const std::array<bool, kSignals>& signals);

}  // namespace runmain::telemetry

// recycle.requests does nothing for a program that tells no requests: said once of each service.
//
// The moment: a worker has been ready for a minute, and none of its service has told any count, nor has it
// claimed the role (then it has the channel, and a count may come with its first request). Invariant: at most
// one word a service. Non-goal: knowing whether anybody has asked it anything. Thread: the loop's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "core/effect.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {

inline constexpr Duration kCountsWithin = std::chrono::seconds(60);

class Uncounted {
 public:
  struct Asks {
    std::function<bool(ServiceId)> wants_counts;  // recycle.requests is set
    std::function<bool(ServiceId)> has_told;  // any of its workers has told a count; true where none lives
    std::function<void(ServiceId)> warn;
    Duration within = kCountsWithin;
  };
  Uncounted(os::Loop& loop, Asks asks);

  void on_fact(const core::Fact& fact);

 private:
  void on_timer();
  void arm();

  Asks asks_;
  std::unique_ptr<os::Timer> timer_;
  std::map<ServiceId, Time> waits_;  // since the first worker was ready
  std::set<ServiceId> settled_;      // warned of, or not in need of it
};

}  // namespace runmain::app

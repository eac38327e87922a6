// Which processes belong to which child's tree: one pass over /proc serves all children that are being looked
// at.
//
// Invariant: passes take at most about a tenth of the time, however many ask and however long /proc is. What
// it says may be one pass old; who needs a proof that a tree is empty uses os::TreeKiller. Thread: one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"

namespace runmain::drive {

inline constexpr Duration kScanPause = std::chrono::milliseconds(20);  // at least, between two passes

class TreeIndex {
 public:
  // Processes with this tag as of the latest pass; makes one if it is time. Valid until the next call.
  const std::vector<pid_t>& of(std::uint64_t tag, Time now);

 private:
  void scan();

  std::unordered_map<std::uint64_t, std::vector<pid_t>> pids_;
  std::vector<pid_t> none_;
  Time next_{};
};

}  // namespace runmain::drive

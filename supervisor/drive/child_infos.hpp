// What drive remembers of each child that the keeper has started. Invariant: an entry is there from Spawned
// until Forget. Thread: the loop's.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/ids.hpp"

namespace runmain::drive {

struct ChildInfo {
  std::int32_t pid = 0;
  std::uint64_t tag = 0;
  bool killed = false;                   // SIGKILL was our own order
  std::vector<std::uint64_t> sockets{};  // inodes of its listeners, in the order of its service's
  bool kept = false;                     // outlives the keeper
};
using ChildInfos = std::unordered_map<ChildKey, ChildInfo>;

}  // namespace runmain::drive

#include "drive/readiness_tree.hpp"

#include <algorithm>

#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

const std::vector<pid_t>& TreeIndex::of(std::uint64_t tag, Time now) {
  if (now >= next_) {
    const Time begin = os::Loop::now();
    scan();
    const Time end = os::Loop::now();
    next_ = end + std::max<Duration>(kScanPause, (end - begin) * 9);
  }
  const auto it = pids_.find(tag);
  return tag == 0 || it == pids_.end() ? none_ : it->second;
}

void TreeIndex::scan() {
  pids_.clear();
  os::any_process([this](pid_t pid) {
    if (const std::uint64_t tag = os::tag_of(pid); tag != 0) pids_[tag].push_back(pid);
    return false;  // all of them
  });
}

}  // namespace runmain::drive

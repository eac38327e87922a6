#include "drive/readiness_tree.hpp"

#include <dirent.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>

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
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
  if (!proc) return;
  while (const dirent* entry = readdir(proc.get())) {
    const char* name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name, name + std::strlen(name), pid);
    if (error != std::errc() || *end != '\0') continue;
    if (const std::uint64_t tag = os::tag_of(pid); tag != 0) pids_[tag].push_back(pid);
  }
}

}  // namespace runmain::drive

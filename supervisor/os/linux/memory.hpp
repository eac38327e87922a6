// How much memory there still is, how much a process takes, and whether the kernel has killed somebody for
// it. Follows proc(5), the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
//
// Invariant: reads only. What cannot be read sets no limit. Both versions of control groups are looked at,
// each from our own group up to the top of what is mounted, as a limit anywhere on the way ends somebody.
// Non-goal: groups into which somebody has moved our children; swap.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace runmain::os {

inline constexpr std::size_t kGroupDepthMax = 32;  // control groups on the way to the top

// Bytes that can be used before somebody is killed: the least of MemAvailable and what each group's limit
// leaves, its reclaimable file pages counted as free. `proc` is for tests. Nothing if nobody tells.
std::optional<std::uint64_t> available_memory(const std::string& proc = "/proc");

// How many processes the out-of-memory killer has ended so far, as counted for the nearest group that counts,
// else for the machine. The number goes on when that is another one: what it has counted before is nobody's
// business here. `proc` is for tests.
class OomCounter {
 public:
  explicit OomCounter(std::string proc = "/proc") : proc_(std::move(proc)) {}
  // `anew`: of the group that we are in by now; else of the one that was found the last time, which is one
  // file to read. Nothing if nobody counts.
  std::optional<std::uint64_t> kills(bool anew);

 private:
  std::string find() const;
  bool count();

  std::string proc_;
  std::string file_;                      // where it stands; empty: not looked for
  std::optional<std::uint64_t> in_file_;  // as it was there the last time; nothing: not read
  std::optional<std::uint64_t> all_;
};

// Resident memory of these processes in bytes: the sum of Rss, in which what they share counts for each.
std::uint64_t resident_memory(const std::vector<pid_t>& pids, const std::string& proc = "/proc");
// The sum of Pss, in which what is shared by n processes counts an n-th for each; Rss of those that do not
// tell. Slow where processes are large: the kernel walks their pages.
std::uint64_t shared_out_memory(const std::vector<pid_t>& pids, const std::string& proc = "/proc");

}  // namespace runmain::os

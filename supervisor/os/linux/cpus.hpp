// How many CPUs this process may use: its affinity, and the quota of every cgroup above it.
// Invariant: at least 1; never the machine's cores where a container has fewer. Non-goal: shares and weights,
// which only count under load.
#pragma once

#include <cstdint>
#include <string>

namespace runmain::os {

// sched_getaffinity(2), cpu.max (cgroup v2) and cpu.cfs_quota_us (v1); a part of a CPU counts as a whole one.
std::uint32_t usable_cpus();

// The smallest quota on the way from this process's cgroup up to the top, in CPUs, rounded up; 0: none.
// `root` stands in front of every path that is read, also of the mount points, so that tests can bring their
// own.
std::uint32_t quota_cpus(const std::string& root = {});

}  // namespace runmain::os

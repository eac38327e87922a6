// What the benchmarks share: percentiles, a table row with its goal, and numbers of a process.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace runmain::bench {

using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point t) {
  return std::chrono::duration<double, std::milli>(Clock::now() - t).count();
}

inline double percentile(std::vector<double> v, double p) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<std::size_t>(p / 100.0 * static_cast<double>(v.size())))];
}

// "| what | measured | goal |", for the page in docs.
inline void row(const std::string& what, const std::string& measured, const std::string& goal) {
  std::printf("| %s | %s | %s |\n", what.c_str(), measured.c_str(), goal.c_str());
  std::fflush(stdout);
}

inline std::string number(double v, const char* unit = "", int digits = 2) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f%s", digits, v, unit);
  return text;
}

// Private_Clean + Private_Dirty of /proc/PID/smaps_rollup, in MiB.
inline double private_mib(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/smaps_rollup");
  double kib = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("Private_", 0) == 0 && line.rfind("Private_Hugetlb", 0) != 0)
      kib += std::atof(line.c_str() + line.find(':') + 1);
  }
  return kib / 1024;
}

// Heap, stacks and the like: what no file or memfd holds. Of a process that maps others' memory (a mailbox
// whose worker has died is mapped by the observer alone) it is what the process itself has taken.
inline double anonymous_mib(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("Anonymous:", 0) == 0) return std::atof(line.c_str() + line.find(':') + 1) / 1024;
  }
  return 0;
}

// Voluntary and involuntary context switches of a process's threads so far.
inline long switches(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  long n = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.find("ctxt_switches") != std::string::npos) n += std::atol(line.c_str() + line.find(':') + 1);
  }
  return n;
}

}  // namespace runmain::bench

// Why a process does not answer, as far as one can see from outside: two samples of its tree's threads, some
// 100 ms or more apart, and what lies between them. Follows proc(5) (stat, schedstat, wchan, syscall) and the
// kernel's Documentation/accounting/psi.rst.
//
// Invariant: reads only; at most kStallThreadsMax threads of a tree. A process that wanted a CPU and did not
// get it is starved, and nothing else is said of it. What a kernel or a missing right hides is left out, and
// the answer is then less exact, down to unknown. Non-goal: what the process itself waits for inside its
// language; memory. Thread: any; a sample takes some 50 µs a thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.hpp"

namespace runmain::os {

inline constexpr std::size_t kStallThreadsMax = 256;

// The parts of the time between two samples that decide, in percent.
inline constexpr int kStarvedPercent = 25;   // wanted a CPU and did not get it
inline constexpr int kPressedPercent = 10;   // … where the whole machine was short of CPU
inline constexpr int kPressurePercent = 50;  // PSI "some": the machine is short of CPU
inline constexpr int kBusyPercent = 75;      // used a CPU
inline constexpr int kIdlePercent = 20;      // used less than this: it waits

enum class StallKind : std::uint8_t { unknown, starved, stopped, waiting, busy, uninterruptible };

struct StallThread {
  pid_t pid = 0;
  pid_t tid = 0;
  char state = '?';             // as in proc(5)
  std::uint64_t cpu_ns = 0;     // has run
  std::uint64_t denied_ns = 0;  // was runnable and did not run; told by the kernel once it runs again
  bool exact = false;           // from schedstat; else cpu_ns is in ticks and denied_ns unknown
  std::string name;             // comm
  std::string place;            // wchan: the kernel's function that it sleeps in; empty: unknown
  std::string call;             // the system call that it is in, "futex"; empty: unknown
};

struct StallSample {
  Time at{};
  std::vector<StallThread> threads;  // those of pids[0] first
  std::uint64_t pressure_us = 0;     // PSI's cpu "some" total
  bool cut = false;                  // there were more than kStallThreadsMax
};

struct StallVerdict {
  StallKind kind = StallKind::unknown;
  std::string text;          // "process 123 (python3) is stopped by a signal"
  bool traced = false;       // stopped by a debugger: a person has it in hand
  std::uint64_t cpu_ns = 0;  // that the thread that ran most got between the samples
};

// `pids`: the tree, its main process first. `proc` is for tests. A process that is gone has no threads.
StallSample stall_sample(const std::vector<pid_t>& pids, Time now, const std::string& proc = "/proc");

StallVerdict stall_verdict(const StallSample& first, const StallSample& second);

// Whether a thread waits for connections or for what comes over them: epoll_wait, poll, select, accept,
// io_uring.
bool waits_for_events(const StallThread& thread);

}  // namespace runmain::os

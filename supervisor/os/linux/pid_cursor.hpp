// How far the kernel has come in handing out pids, kept free of doubt.
//
// The number handed out last says how many were handed out since an earlier look only if they have not gone
// round unseen. The kernel cannot hand out a pid in less than kFastestPid; so between two looks that are less
// than pid_max of these apart, the difference of the numbers is the count. Invariant: `covers(mark)` is true
// only if every number handed out since the mark lies between mark.pid and now. Non-goal: reading the number
// (process_list.hpp).
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/time.hpp"

namespace runmain::os {

inline constexpr Duration kFastestFork = std::chrono::microseconds(4);
inline constexpr Duration kFastestPid = std::chrono::microseconds(1);

// How many numbers were handed out after `from` up to and with `to`, wrapping below `pid_max`.
constexpr pid_t pids_between(pid_t from, pid_t to, pid_t pid_max) {
  if (to >= from) return to - from;
  return from < pid_max ? pid_max - 1 - from + to : to;
}

// Whether `pid` is one of those numbers.
constexpr bool is_pid_between(pid_t pid, pid_t from, pid_t to) {
  return to >= from ? pid > from && pid <= to : pid > from || pid <= to;
}

// Calls `use` for each of those numbers, in the order in which they were handed out.
template <class Use>
void each_pid_between(pid_t from, pid_t to, pid_t pid_max, Use use) {
  if (to < from) {
    for (pid_t pid = from + 1; pid < pid_max; ++pid) use(pid);
    from = 0;
  }
  for (pid_t pid = from + 1; pid <= to; ++pid) use(pid);
}

class PidCursor {
 public:
  struct Mark {
    pid_t pid = -1;  // the last one handed out; -1: not known
    std::uint64_t handed = 0;
    std::uint64_t epoch = 0;
  };

  void set_limits(pid_t pid_max, int cpus) {
    if (pid_max != pid_max_) ++epoch_;
    pid_max_ = pid_max;
    round_ = std::max(kFastestPid, kFastestFork / std::max(cpus, 1)) * pid_max;
  }
  pid_t pid_max() const { return pid_max_; }

  // A look at the number: `pid` (-1: it failed) was read after `before` and before `after`.
  Mark look(pid_t pid, Time before, Time after) {
    if (pid < 0 || last_ < 0 || after - before_ >= round_) ++epoch_;
    if (pid >= 0 && last_ >= 0) handed_ += static_cast<std::uint64_t>(pids_between(last_, pid, pid_max_));
    last_ = pid;
    before_ = before;
    return {pid, handed_, epoch_};
  }
  Time last_look() const { return before_; }

  bool covers(const Mark& mark) const {
    return mark.pid >= 0 && mark.epoch == epoch_ &&
           handed_ - mark.handed < static_cast<std::uint64_t>(pid_max_);
  }

 private:
  pid_t pid_max_ = 0;
  Duration round_{};  // no faster do the numbers go round
  pid_t last_ = -1;
  Time before_{};
  std::uint64_t handed_ = 0;
  std::uint64_t epoch_ = 0;
};

}  // namespace runmain::os

// Process trees by tag, and killing one so that it is proved gone.
//
// A tag is a number in a limit that nobody uses: RLIMIT_RTTIME, soft = hard. It survives fork, exec, setsid,
// double fork and a change of user; descent, sessions and process groups do not. It is read with prlimit(2),
// or from /proc/PID/limits for processes of other users.
//
// A tree is proved empty when a whole pass over /proc found no living process with the tag, and of the pids
// that were handed out since the pass began (the last field of /proc/loadavg) none carries it either, checked
// until no new one came. Invariant: only processes that carry the tag at the moment of the signal get it
// (pidfd_open(2), read the tag, pidfd_send_signal(2)); a zombie does not count as living. Non-goal: processes
// that a privileged child re-tagged.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.hpp"

namespace runmain::os {

inline constexpr std::uint64_t kTagBase = 1ULL << 50U;  // microseconds: 35 years; never reached, never in use

// Gives tags that no other runmain on this machine is likely to give: random start, then downwards, because
// an unprivileged process may only lower its limit, so a runmain inside a tagged tree still can tag.
class TagSource {
 public:
  TagSource();
  std::uint64_t next() { return --last_; }

 private:
  std::uint64_t last_;
};

// The tag of a process: 0 if it has none, is gone, or cannot be read.
std::uint64_t tag_of(pid_t pid);

// Living processes with this tag, one pass, no proof.
std::vector<pid_t> tagged_processes(std::uint64_t tag);

// Kills any number of trees together: every pass over /proc serves all of them.
class TreeKiller {
 public:
  struct Done {
    std::uint64_t tag = 0;
    std::vector<std::string> survivors;  // "1234 name (why)"; empty: proved gone
  };
  // Survivors are given up and named at `deadline`.
  void add(std::uint64_t tag, Time deadline);
  bool idle() const { return trees_.empty(); }
  // One round: passes until every tree is proved empty or only processes remain that have been signalled and
  // are still dying. Returns what is settled. Call again after about 1 ms, and sooner when a child was
  // reaped.
  std::vector<Done> step(Time now);

 private:
  struct Tree {
    std::uint64_t tag = 0;
    Time deadline{};
    std::vector<pid_t> living;
  };
  std::vector<Tree> trees_;
};

}  // namespace runmain::os

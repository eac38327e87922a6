// Process trees by tag, and killing one so that it is proved gone.
//
// A tag is a number in a limit that nobody uses: RLIMIT_RTTIME, soft = hard. It survives fork, exec, setsid,
// double fork and a change of user; descent, sessions and process groups do not. It is read with prlimit(2),
// or from /proc/PID/limits for processes of other users.
//
// A tree is proved empty when a whole pass over /proc found no living process with the tag, and of the pids
// that were handed out since the PREVIOUS pass began (the last field of /proc/loadavg) none carries it
// either, checked until no new one came. Why the previous: process_tree.cpp. Invariant: only processes that
// carry the tag at the moment of the signal get it (pidfd_open(2), read the tag, pidfd_send_signal(2)); a
// zombie does not count as living, unless other threads of it still run. Non-goal: processes that changed
// their tag, or got their pid from clone3(2) set_tid, both of which take privileges or intent; and processes
// that hidepid= of /proc hides.
#pragma once

#include <sys/sysinfo.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "os/linux/pid_cursor.hpp"
#include "os/linux/process_list.hpp"

namespace runmain::os {

inline constexpr std::uint64_t kTagBase = 1ULL << 50U;  // microseconds: 35 years; never reached, never in use

inline constexpr std::size_t kSurvivorsMax = 32;

// Gives tags that no other runmain on this machine is likely to give: random start, then downwards, because
// an unprivileged process may only lower its limit, so a runmain inside a tagged tree still can tag.
class TagSource {
 public:
  TagSource();
  // Goes on behind the tag `last`.
  explicit TagSource(std::uint64_t last) : last_(last) {}
  std::uint64_t next() { return --last_; }
  // The one that was given last.
  std::uint64_t last() const { return last_; }
  // Goes on below `tag`, where those above may be in use. False: that is not possible here.
  bool continue_below(std::uint64_t tag);

 private:
  std::uint64_t last_;
};

// The tag of a process: 0 if it has none, is gone, or cannot be read.
std::uint64_t tag_of(pid_t pid);

// Living processes with this tag, one pass, no proof.
std::vector<pid_t> tagged_processes(std::uint64_t tag);
// The same with those that have ended and that nobody has waited for.
std::vector<pid_t> tagged_processes_and_zombies(std::uint64_t tag);

// Whether the tree of a child of ours that we have waited for is gone already, without a look at all of
// /proc. `other` says of a pid whether it is a living child of another tree, or none that matters.
//
// For a subreaper (PR_SET_CHILD_SUBREAPER) that waits for its children nowhere else: whoever has the tag has
// an ancestor among our children (orphans come to us, prctl(2)), and that one has the tag, too, as it is
// handed on by fork. So no child with the tag, living or not, proves that there is nobody. False when one is
// there, when one cannot be read, and where the kernel has no list of children (CONFIG_PROC_CHILDREN).
// Non-goal: processes that have joined another pid namespace (setns(2)), whose orphans go there.
bool is_gone_with_its_main(std::uint64_t tag, const std::function<bool(pid_t)>& other);

// Kills any number of trees together: every pass over /proc serves all of them.
class TreeKiller {
 public:
  struct Done {
    std::uint64_t tag = 0;
    std::vector<std::string> survivors;  // "1234 name (why)", kSurvivorsMax and a sum; empty: proved gone
  };
  // Survivors are given up and named at `deadline`, in the second step at the earliest. A tag that is there
  // already gets the new deadline.
  void add(std::uint64_t tag, Time deadline);
  bool idle() const { return trees_.empty(); }
  // What was added and is not done, with its deadline.
  std::vector<std::pair<std::uint64_t, Time>> targets() const;
  // One round: passes until every tree is proved empty or only processes remain that have been signalled and
  // are still dying. Returns what is settled. Call again after about 1 ms, and sooner when a child was
  // reaped.
  std::vector<Done> step(Time now);

 private:
  struct Tree {
    std::uint64_t tag = 0;
    Time deadline{};
    std::vector<pid_t> living;  // as of the last look; each has been signalled
    std::uint32_t steps = 0;
    std::uint32_t passes = 0;  // that looked for this tag
    std::uint32_t waits = 0;   // steps since the last pass
    bool proved = false;
  };
  struct Foreign {
    pid_t pid = 0;
    std::uint64_t tag = 0;
  };

  Tree* tree_of(std::uint64_t tag);
  PidCursor::Mark look();
  void pass();
  bool chase(pid_t from);
  void check(pid_t pid, std::uint64_t tag);
  void check_listed(pid_t pid);
  std::uint64_t foreign_tag(pid_t pid) const;
  std::vector<std::string> survivors_of(const Tree& tree) const;

  std::vector<Tree> trees_;  // by tag
  ProcessList list_;
  std::vector<pid_t> listed_;
  int cpus_ = ::get_nprocs_conf();
  PidCursor cursor_;
  PidCursor::Mark base_;   // when the last pass began
  PidCursor::Mark begin_;  // when this pass began
  // Processes of others, whose tag can only be read slowly; by number. Good for one pass more.
  std::vector<Foreign> foreign_;
  std::vector<Foreign> foreign_before_;
};

}  // namespace runmain::os

// What a started child does between clone(2) and execve(2), while it shares the memory of the supervising
// process. Everything it needs is laid out before by the parent: it allocates nothing, takes no lock, calls
// no function of the libc that keeps state, and writes only into the ChildScript. Non-goal: deciding
// anything. It follows the script line by line and stops at the first fault.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "os/linux/spawn.hpp"

namespace runmain::os {

inline constexpr int kPlacedFds = 64;  // the parent places stdio and then the fds from here on
inline constexpr int kPidDigits = 10;  // '0's at the end of a pid variable

struct LimitLine {
  int resource = 0;
  struct rlimit value {};
};

struct ChildScript {
  bool unshare_table = false;  // close_range(2) with UNSHARE is the first act
  int fd_count = 0;            // placed fds, stdio included: put at 0, 1, 2, 3 …
  bool new_session = false;
  bool terminal = false;  // stdin becomes the session's controlling terminal
  const LimitLine* limits = nullptr;
  std::size_t limit_count = 0;
  bool set_user = false;
  bool set_groups = false;
  uid_t uid = 0;
  gid_t gid = 0;
  const gid_t* groups = nullptr;
  std::size_t group_count = 0;
  int umask = -1;
  int parent_death_signal = 0;
  pid_t parent = 0;
  const char* cwd = nullptr;          // nullptr: stay
  char* const* pid_values = nullptr;  // where the kPidDigits digits begin
  std::size_t pid_value_count = 0;
  char* const* argv = nullptr;
  char* const* env = nullptr;
  const char* const* candidates = nullptr;  // paths to execute, in this order
  std::size_t candidate_count = 0;

  // The outcome: written by the child before it ends.
  SpawnStage stage = SpawnStage::none;
  int error = 0;
  const char* call = "";  // the call that failed
  int failed_limit = -1;  // RLIMIT_* when stage is limits
};

// The entry point for clone(2); `script` is a ChildScript. Returns the exit status when nothing was executed.
int run_child(void* script);

}  // namespace runmain::os

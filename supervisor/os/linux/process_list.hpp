// Which process numbers there are, and which were handed out since: the two questions of a proof that a tree
// is gone.
//
// Pids are handed out upwards and start again after pid_max (idr_alloc_cyclic in the kernel's alloc_pid());
// the last one is the last field of /proc/loadavg, for the pid namespace of the reader. Invariant: a list is
// read anew on every call; nothing is cached but two fds and a buffer. Non-goal: anything about a process but
// its number.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

class ProcessList {
 public:
  // All thread group ids in /proc, ascending. On failure the errno; `out` is then incomplete.
  Result<void> read(std::vector<pid_t>& out);

  // The number handed out last. On failure the errno.
  Result<pid_t> last_pid();

  // Numbers are below this. 32768 if the kernel does not tell.
  static pid_t pid_max();

 private:
  UniqueFd proc_;
  UniqueFd loadavg_;
  std::vector<char> buffer_;
};

}  // namespace runmain::os

// Starting a process, and knowing at once whether it could be started.
//
// clone(CLONE_VM | CLONE_VFORK | CLONE_FILES): nothing of the caller's memory or fd table is copied; the
// child's first act is close_range(2) with UNSHARE above the reserved fds. Where the kernel has no
// close_range (before 5.9), plain CLONE_VM | CLONE_VFORK. The child shares the caller's memory until exec, so
// a failure is simply written into the outcome, with its stage and errno. Invariant: the child has stdio,
// `fds` from 3 on, and nothing else; default signal actions, an empty signal mask. Thread: a process with one
// thread (PDEATHSIG is about the forking thread, and fds are placed in the shared table).
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

// In the order in which they happen. Numbers as core::SpawnStage.
enum class SpawnStage : std::uint8_t { none, resources, fork, session, limits, user, cwd, exec };

struct SpawnPlan {
  std::vector<std::string> argv;         // not empty
  std::vector<std::string> env;          // "NAME=value"; PATH is taken from here
  std::string cwd;                       // empty: the caller's
  std::array<int, 3> stdio{-1, -1, -1};  // -1: the caller's own
  std::vector<int> fds;                  // put at 3, 4, …; at most kSpawnFdsMax
  // Names of variables at the end of whose value stand ten '0' to be replaced by the child's pid:
  // LISTEN_PID=0000000000.
  std::vector<std::string> pid_variables;
  bool new_session = true;      // setsid(2); the child leads its session and group
  bool terminal = false;        // stdin becomes the controlling terminal of that session
  std::uint64_t tag = 0;        // RLIMIT_RTTIME soft = hard; 0: none
  int parent_death_signal = 0;  // PR_SET_PDEATHSIG, set after the user, the parent checked again
  bool set_user = false;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // supplementary, exactly these
  int umask = -1;
  std::vector<std::pair<int, struct rlimit>>
      limits;  // RLIMIT_NOFILE as the child shall have it goes here too
};

struct SpawnOutcome {
  pid_t pid = 0;  // > 0: exec has succeeded
  SpawnStage stage = SpawnStage::none;
  int error = 0;
  std::string detail;  // "exec ./server: No such file or directory"
};

inline constexpr std::size_t kSpawnFdsMax = 48;
inline constexpr int kReservedFds = 128;  // fds 3 … 127 belong to the Spawner once it is made

class Spawner {
 public:
  // Takes fds 3 … kReservedFds-1 of this process (whatever is open there is moved by the caller before) with
  // placeholders, so that a child's table is small to copy. On failure the errno: EINVAL when RLIMIT_NOFILE
  // does not allow as many, EBUSY when one of them is a close-on-exec fd, which somebody in this process
  // still uses. Inherited ones are closed. Made once; the placeholders stay when the Spawner goes.
  static Result<Spawner> make();
  Spawner(Spawner&&) noexcept = default;
  Spawner& operator=(Spawner&&) noexcept = default;

  // Blocks until the child has executed its program or failed (tens of microseconds). A child that failed is
  // already reaped; nobody else may wait for any child meanwhile.
  SpawnOutcome spawn(const SpawnPlan& plan);

 private:
  struct Unmap {
    void operator()(std::byte* stack) const;
  };
  Spawner() = default;

  UniqueFd null_;                            // /dev/null, above the reserved fds
  std::unique_ptr<std::byte, Unmap> stack_;  // the child's until exec; a guard page below
  bool shares_table_ = false;                // the kernel has close_range(2)
};

}  // namespace runmain::os

// Tidies up after a doctor that was killed: a process beside it that waits for its end, then kills the
// program's tree and removes the folder of records.
//
// Invariant: made before there are threads; it holds nothing open but its end of a pipe and what was
// inherited without close-on-exec. With this object it is told to finish, and is waited for. Non-goal: a
// machine that dies.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::app {

class DoctorGuard {
 public:
  // `tag` 0: there is no tree. On failure the errno of pipe2(2) or fork(2).
  static Result<DoctorGuard> start(std::uint64_t tag, const std::string& folder);
  DoctorGuard() = default;
  ~DoctorGuard();
  DoctorGuard(DoctorGuard&& other) noexcept;
  DoctorGuard& operator=(DoctorGuard&& other) noexcept;

 private:
  os::UniqueFd alive_;  // the pipe's end that closes with us
  pid_t pid_ = 0;
};

// Kills all processes with the tag and waits until none is left, 5 s at most. `between`: called between two
// passes.
void kill_tree(std::uint64_t tag, void (*between)(void*), void* argument);

}  // namespace runmain::app

// What can be had from a living process that is no child of ours: a handle that cannot mean another one, and
// copies of its open files. Follows pidfd_open(2), pidfd_getfd(2), proc(5), ptrace(2) (who may).
//
// Invariant: a process is named by its pid and its start time together; who wants to be sure opens the pidfd
// first and compares then. Non-goal: processes in other pid namespaces.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

// Names a process for as long as the machine runs. pid 0: none.
struct ProcessName {
  std::int32_t pid = 0;
  std::uint64_t started = 0;  // ticks since the machine's start
  friend bool operator==(const ProcessName&, const ProcessName&) = default;
  template <class A>
  void fields(A& a) {
    a("pid", pid);
    a("started", started);
  }
};

ProcessName name_of_process(pid_t pid);

// The pidfd of the process of this name, if it lives: readable once it has ended. Empty: it is gone.
UniqueFd open_process(const ProcessName& name);
// Waits for its end. False: the time is over.
bool wait_process_end(int pidfd, Duration at_most);

// One boot of one machine, seen from one pid namespace. Empty if /proc does not say it.
std::string boot_identity();

// SO_COOKIE: a number that no other socket of this network namespace has, had or gets. 0 on failure.
std::uint64_t socket_cookie(int fd);

// A copy of the process's socket with this inode and cookie. On failure the errno: ENOENT, it has none; EPERM
// and EACCES, we may not have it (Yama); ENOSYS, before Linux 5.6.
Result<UniqueFd> copy_socket(pid_t pid, int pidfd, std::uint64_t inode, std::uint64_t cookie);

// A read end of the pipe with this inode, non-blocking, of which the process has any end. On failure the
// errno; ENOENT: it has none.
Result<UniqueFd> open_pipe_of(pid_t pid, std::uint64_t inode);

// Opens the memfd with this inode for reading and writing, of which the process has an fd. On failure the
// errno; ENOENT: it has none.
Result<UniqueFd> open_memfd_of(pid_t pid, std::uint64_t inode);

// What /proc calls an eventfd of the process, a number for as long as that lives; 0: unknown.
std::uint64_t eventfd_id(pid_t pid, int fd);
// A copy of the process's eventfd with this number (not 0). On failure as copy_socket().
Result<UniqueFd> copy_eventfd(pid_t pid, int pidfd, std::uint64_t id);

// Its real user (credentials(7)). Empty: it is gone, or cannot be read.
std::optional<uid_t> real_user_of(pid_t pid);

// Whether the process was given this "NAME=value" when it was executed. False too when we may not know.
bool was_given(pid_t pid, std::string_view variable);

}  // namespace runmain::os

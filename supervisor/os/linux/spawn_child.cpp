#include "os/linux/spawn_child.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>

// A sanitizer keeps notes about stacks and memory for each process; this code runs on the parent's memory
// with another stack, so it must not take part.
#define RUNMAIN_IN_CHILD __attribute__((no_sanitize("address", "undefined", "thread")))

namespace runmain::os {

namespace {

constexpr unsigned kUnshareTable = 1U << 1U;  // CLOSE_RANGE_UNSHARE
constexpr long kSignals = 64;                 // real-time signals included
constexpr std::size_t kKernelSigset = 8;      // bytes of the kernel's sigset_t
constexpr int kNotExecuted = 127;

// setgroups(2) and its kind are called directly: the libc's functions of these names signal all threads of
// the process they believe to be in. 32-bit systems have them with 16-bit ids under the plain names.
#ifdef SYS_setresuid32
constexpr long kSetgroups = SYS_setgroups32;
constexpr long kSetresgid = SYS_setresgid32;
constexpr long kSetresuid = SYS_setresuid32;
#else
constexpr long kSetgroups = SYS_setgroups;
constexpr long kSetresgid = SYS_setresgid;
constexpr long kSetresuid = SYS_setresuid;
#endif

// sigaction(2) as the kernel takes it; all zero is "the default action" on every architecture.
struct KernelAction {
  std::array<unsigned long, 4> words;
};

RUNMAIN_IN_CHILD bool fail(ChildScript& script, SpawnStage stage, const char* call) {
  script.error = errno;
  script.call = call;
  script.stage = stage;
  return false;
}

RUNMAIN_IN_CHILD long close_range_call(unsigned first, unsigned last, unsigned flags) {
#ifdef SYS_close_range
  return syscall(SYS_close_range, first, last, flags);
#else
  return syscall(436, first, last, flags);  // the same number on every architecture
#endif
}

// Without close_range(2): every fd that /proc names, else every number that the limit allows.
RUNMAIN_IN_CHILD void close_one_by_one(int first) {
  const int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) {
    struct rlimit limit {};
    getrlimit(RLIMIT_NOFILE, &limit);
    const int end = limit.rlim_max < (1U << 20U) ? static_cast<int>(limit.rlim_max) : 1 << 20;
    for (int fd = first; fd < end; ++fd) close(fd);
    return;
  }
  alignas(8) char buffer[4096];
  for (long n = 0; (n = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0;) {
    for (long at = 0; at < n;) {
      // linux_dirent64: 8 bytes inode, 8 offset, 2 length, 1 type, name.
      const unsigned length =
          static_cast<unsigned char>(buffer[at + 16]) | (static_cast<unsigned char>(buffer[at + 17]) << 8U);
      int fd = 0;
      const char* name = buffer + at + 19;
      for (; *name >= '0' && *name <= '9'; ++name) fd = fd * 10 + (*name - '0');
      if (*name == '\0' && fd >= first && fd != dir) close(fd);
      at += length;
    }
  }
  close(dir);
}

RUNMAIN_IN_CHILD bool own_table(ChildScript& script) {
  // Until this call has succeeded the table is the parent's, and must not be touched.
  if (script.unshare_table && close_range_call(kReservedFds, UINT_MAX, kUnshareTable) != 0) {
    return fail(script, SpawnStage::resources, "close_range");
  }
  for (int fd = 0; fd < script.fd_count; ++fd) {
    if (dup2(kPlacedFds + fd, fd) < 0) return fail(script, SpawnStage::resources, "dup2");
  }
  if (close_range_call(static_cast<unsigned>(script.fd_count), UINT_MAX, 0) != 0) {
    close_one_by_one(script.fd_count);
  }
  return true;
}

// Everything is blocked by the parent, so no handler of the parent can run here before this is done. What was
// ignored (SIGPIPE, SIGCHLD) would stay so through exec.
RUNMAIN_IN_CHILD void default_signals() {
  const KernelAction action{};
  for (long signal = 1; signal <= kSignals; ++signal) {
    syscall(SYS_rt_sigaction, signal, &action, nullptr, kKernelSigset);
  }
}

RUNMAIN_IN_CHILD bool set_limits(ChildScript& script) {
  for (std::size_t i = 0; i < script.limit_count; ++i) {
    const LimitLine& line = script.limits[i];
    if (setrlimit(static_cast<__rlimit_resource_t>(line.resource), &line.value) != 0) {
      script.failed_limit = line.resource;
      return fail(script, SpawnStage::limits, "setrlimit");
    }
  }
  return true;
}

RUNMAIN_IN_CHILD bool become_user(ChildScript& script) {
  if (!script.set_user) return true;
  if (script.set_groups && syscall(kSetgroups, script.group_count, script.groups) != 0) {
    return fail(script, SpawnStage::user, "setgroups");
  }
  if (syscall(kSetresgid, script.gid, script.gid, script.gid) != 0) {
    return fail(script, SpawnStage::user, "setresgid");
  }
  if (syscall(kSetresuid, script.uid, script.uid, script.uid) != 0) {
    return fail(script, SpawnStage::user, "setresuid");
  }
  return true;
}

// After the user, because the kernel forgets the signal when the user changes. A parent that died before the
// call is noticed by its pid; then there is nobody to tell.
RUNMAIN_IN_CHILD bool tie_to_parent(ChildScript& script) {
  if (script.parent_death_signal == 0) return true;
  if (prctl(PR_SET_PDEATHSIG, script.parent_death_signal, 0, 0, 0) != 0) {
    return fail(script, SpawnStage::user, "prctl PR_SET_PDEATHSIG");
  }
  if (syscall(SYS_getppid) != script.parent) {
    errno = ESRCH;
    return fail(script, SpawnStage::user, "getppid");
  }
  return true;
}

RUNMAIN_IN_CHILD void write_pid(ChildScript& script) {
  if (script.pid_value_count == 0) return;
  char digits[kPidDigits];
  int count = 0;
  for (long pid = syscall(SYS_getpid); pid > 0 && count < kPidDigits; pid /= 10) {
    digits[count++] = static_cast<char>('0' + pid % 10);
  }
  for (std::size_t i = 0; i < script.pid_value_count; ++i) {
    char* to = script.pid_values[i];
    for (int d = count; d > 0; --d) *to++ = digits[d - 1];
    *to = '\0';
  }
}

// As execvp(3): a name that is missing in one folder may be in the next; EACCES is told if nothing else is
// found.
RUNMAIN_IN_CHILD void execute(ChildScript& script) {
  bool denied = false;
  errno = ENOENT;
  for (std::size_t i = 0; i < script.candidate_count; ++i) {
    execve(script.candidates[i], script.argv, script.env);
    if (errno == EACCES) {
      denied = true;
    } else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV &&
               errno != ETIMEDOUT) {
      denied = false;
      break;
    }
  }
  if (denied) errno = EACCES;
  fail(script, SpawnStage::exec, "exec");
}

}  // namespace

RUNMAIN_IN_CHILD int run_child(void* argument) {
  ChildScript& script = *static_cast<ChildScript*>(argument);
  if (!own_table(script)) return kNotExecuted;
  default_signals();
  if (script.new_session && setsid() < 0) {
    fail(script, SpawnStage::session, "setsid");
    return kNotExecuted;
  }
  if (script.terminal && syscall(SYS_ioctl, 0, TIOCSCTTY, 0) < 0) {
    fail(script, SpawnStage::session, "TIOCSCTTY");
    return kNotExecuted;
  }
  if (!set_limits(script) || !become_user(script)) return kNotExecuted;
  if (script.umask >= 0) umask(static_cast<mode_t>(script.umask));
  if (!tie_to_parent(script)) return kNotExecuted;
  if (script.cwd != nullptr && chdir(script.cwd) != 0) {
    fail(script, SpawnStage::cwd, "chdir");
    return kNotExecuted;
  }
  write_pid(script);
  const std::uint64_t nothing_blocked = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &nothing_blocked, nullptr, kKernelSigset);
  execute(script);
  return kNotExecuted;
}

}  // namespace runmain::os

#include "os/linux/spawn.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <string_view>

#include "os/linux/exec_fault.hpp"
#include "os/linux/spawn_child.hpp"

namespace runmain::os {

namespace {

constexpr std::size_t kStackBytes = 128U << 10U;
constexpr std::size_t kGuardBytes = 64U << 10U;  // at least one page, whatever its size
constexpr std::size_t kKernelSigset = 8;

static_assert(kPlacedFds + 3 + static_cast<int>(kSpawnFdsMax) <= kReservedFds);
static_assert(kPlacedFds >= 3 + static_cast<int>(kSpawnFdsMax),
              "sources and targets of dup2 must not overlap");

// Blocks every signal, the libc's internal ones too, so that no handler runs in the child on our memory.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    const std::uint64_t all = ~std::uint64_t{0};
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before_, kKernelSigset);
  }
  ~AllSignalsBlocked() { ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, kKernelSigset); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  std::uint64_t before_ = 0;
};

bool is_null_device(int fd) {
  struct stat s {};
  struct stat null {};
  return ::fstat(fd, &s) == 0 && S_ISCHR(s.st_mode) && ::stat("/dev/null", &null) == 0 &&
         s.st_rdev == null.st_rdev;
}

// stdio and fds at kPlacedFds …, for the time of one clone; placeholders again afterwards.
class PlacedFds {
 public:
  explicit PlacedFds(int null) : null_(null) {}
  ~PlacedFds() {
    for (int i = 0; i < count_; ++i) ::dup3(null_, kPlacedFds + i, O_CLOEXEC);
  }
  PlacedFds(const PlacedFds&) = delete;
  PlacedFds& operator=(const PlacedFds&) = delete;

  bool place(int fd) {
    if (::dup3(fd, kPlacedFds + count_, O_CLOEXEC) < 0) return false;
    ++count_;
    return true;
  }
  int count() const { return count_; }

 private:
  int null_;
  int count_ = 0;
};

std::vector<std::string> candidates_for(const SpawnPlan& plan) {
  const std::string& name = plan.argv[0];
  if (name.find('/') != std::string::npos || name.empty()) return {name};
  const std::string searched = search_path(plan);
  std::string_view path = searched;
  std::vector<std::string> out;
  for (;;) {
    const std::size_t colon = path.find(':');
    std::string candidate(path.substr(0, colon));
    if (candidate.empty()) candidate = ".";  // an empty part means the working folder
    out.push_back(candidate.append("/").append(name));
    if (colon == std::string_view::npos) return out;
    path.remove_prefix(colon + 1);
  }
}

std::vector<char*> pointers(std::vector<std::string>& lines) {
  std::vector<char*> out;
  out.reserve(lines.size() + 1);
  for (std::string& line : lines) out.push_back(line.data());
  out.push_back(nullptr);
  return out;
}

bool has_these_groups(const std::vector<std::uint32_t>& wanted) {
  const int n = ::getgroups(0, nullptr);
  if (n < 0) return false;
  std::vector<gid_t> held(static_cast<std::size_t>(n));
  if (::getgroups(n, held.data()) != n) return false;
  std::vector<gid_t> sorted(wanted.begin(), wanted.end());
  std::sort(held.begin(), held.end());
  std::sort(sorted.begin(), sorted.end());
  return held == sorted;
}

// Owns everything that a ChildScript points at.
class Preparation {
 public:
  explicit Preparation(const SpawnPlan& plan)
      : plan_(plan), argv_(plan.argv), env_(plan.env), groups_(plan.groups) {
    candidates_ = candidates_for(plan);
    for (const std::string& candidate : candidates_) candidate_pointers_.push_back(candidate.c_str());
    argv_pointers_ = pointers(argv_);
    env_pointers_ = pointers(env_);
    for (const auto& [resource, value] : plan.limits) limits_.push_back({resource, value});
    if (plan.tag != 0) limits_.push_back({RLIMIT_RTTIME, {plan.tag, plan.tag}});
    find_pid_values();
    fill();
  }
  Preparation(const Preparation&) = delete;
  Preparation& operator=(const Preparation&) = delete;

  ChildScript& script() { return script_; }
  const std::vector<std::string>& candidates() const { return candidates_; }

 private:
  void find_pid_values() {
    const std::string zeros(kPidDigits, '0');
    for (std::string& line : env_) {
      const std::size_t equals = line.find('=');
      if (equals == std::string::npos || line.size() - equals - 1 < zeros.size()) continue;
      const std::string name = line.substr(0, equals);
      const auto& wanted = plan_.pid_variables;
      if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
      const std::size_t at = line.size() - zeros.size();
      if (line.compare(at, zeros.size(), zeros) == 0) pid_values_.push_back(line.data() + at);
    }
  }
  void fill() {
    script_.new_session = plan_.new_session;
    script_.terminal = plan_.terminal;
    script_.limits = limits_.data();
    script_.limit_count = limits_.size();
    script_.set_user = plan_.set_user;
    // Without privileges, setgroups(2) is refused even for the groups that one has.
    script_.set_groups = plan_.set_user && !has_these_groups(plan_.groups);
    script_.uid = plan_.uid;
    script_.gid = plan_.gid;
    script_.groups = groups_.data();
    script_.group_count = groups_.size();
    script_.umask = plan_.umask;
    script_.parent_death_signal = plan_.parent_death_signal;
    script_.parent = ::getpid();
    script_.cwd = plan_.cwd.empty() ? nullptr : plan_.cwd.c_str();
    script_.pid_values = pid_values_.data();
    script_.pid_value_count = pid_values_.size();
    script_.argv = argv_pointers_.data();
    script_.env = env_pointers_.data();
    script_.candidates = candidate_pointers_.data();
    script_.candidate_count = candidate_pointers_.size();
  }

  const SpawnPlan& plan_;
  std::vector<std::string> argv_;
  std::vector<std::string> env_;
  std::vector<gid_t> groups_;
  std::vector<std::string> candidates_;
  std::vector<const char*> candidate_pointers_;
  std::vector<char*> argv_pointers_;
  std::vector<char*> env_pointers_;
  std::vector<LimitLine> limits_;
  std::vector<char*> pid_values_;
  ChildScript script_;
};

// What the child shall have as 0, 1, 2, 3 …
std::vector<int> fds_from_zero(const SpawnPlan& plan, int null) {
  std::vector<int> out;
  for (int i = 0; i < 3; ++i) {
    const int given = plan.stdio[static_cast<std::size_t>(i)];
    const bool inherits = given < 0 && ::fcntl(i, F_GETFD) >= 0;
    // Where the caller itself was started without this one, the child gets /dev/null.
    out.push_back(given >= 0 ? given : (inherits ? i : null));
  }
  out.insert(out.end(), plan.fds.begin(), plan.fds.end());
  return out;
}

SpawnOutcome failed(SpawnStage stage, int error, const std::string& what) {
  return {0, stage, error, what + ": " + std::strerror(error)};
}

std::string describe(const SpawnPlan& plan, const ChildScript& script,
                     const std::vector<std::string>& candidates) {
  const std::string because = std::string(": ") + std::strerror(script.error);
  switch (script.stage) {
    case SpawnStage::exec: return explain_exec(plan, candidates, script.error);
    case SpawnStage::cwd: return "chdir " + plan.cwd + because;
    case SpawnStage::limits: {
      const bool is_tag = script.failed_limit == RLIMIT_RTTIME && plan.tag != 0;
      return "setrlimit " + limit_name(script.failed_limit) + (is_tag ? " (the tag of its tree)" : "") +
             because;
    }
    case SpawnStage::user:
      return std::string(script.call) + " (user " + std::to_string(plan.uid) + ", group " +
             std::to_string(plan.gid) + ")" + because;
    default: return script.call + because;
  }
}

void reap(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

void Spawner::Unmap::operator()(std::byte* stack) const { ::munmap(stack, kGuardBytes + kStackBytes); }

Result<Spawner> Spawner::make() {
  Spawner made;
  UniqueFd low(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!low) return Error::from_errno("open /dev/null", errno);
  made.null_.reset(::fcntl(low.get(), F_DUPFD_CLOEXEC, kReservedFds));
  if (!made.null_) {
    return Error{std::string("fds from 3 to 127 for the spawner: ") + std::strerror(errno),
                 {},
                 "the limit of open files (ulimit -n) must be above 256",
                 errno};
  }
  for (int fd = 3; fd < kReservedFds; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) != 0 && !is_null_device(fd)) {
      return Error::from_errno("fd " + std::to_string(fd) + " for the spawner", EBUSY);
    }
  }
  for (int fd = 3; fd < kReservedFds; ++fd) {
    if (fd != low.get() && ::dup3(made.null_.get(), fd, O_CLOEXEC) < 0)
      return Error::from_errno("dup3", errno);
  }
  if (low.get() < kReservedFds) low.release();  // a placeholder itself
  void* stack = ::mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) return Error::from_errno("mmap of the child's stack", errno);
  made.stack_.reset(static_cast<std::byte*>(stack));
  if (::mprotect(stack, kGuardBytes, PROT_NONE) != 0) return Error::from_errno("mprotect", errno);
#ifdef SYS_close_range
  constexpr long kCloseRange = SYS_close_range;
#else
  constexpr long kCloseRange = 436;
#endif
  // Closes nothing and unshares nothing here: asks whether the kernel (or a filter before it) knows the call.
  made.shares_table_ = ::syscall(kCloseRange, UINT_MAX, UINT_MAX, 1U << 1U) == 0;
  return made;
}

SpawnOutcome Spawner::spawn(const SpawnPlan& plan) {
  if (plan.argv.empty()) return {0, SpawnStage::exec, EINVAL, "exec: there is no program to execute"};
  if (plan.fds.size() > kSpawnFdsMax) return failed(SpawnStage::resources, EMFILE, "fds for the child");
  Preparation prepared(plan);
  ChildScript& script = prepared.script();

  PlacedFds placed(null_.get());
  for (const int fd : fds_from_zero(plan, null_.get())) {
    if (placed.place(fd)) continue;
    const int error = errno;
    return failed(SpawnStage::resources, error, "dup3 of fd " + std::to_string(fd));
  }
  script.fd_count = placed.count();
  script.unshare_table = shares_table_;

  int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  if (shares_table_) flags |= CLONE_FILES;
  pid_t pid = -1;
  int error = 0;
  {
    const AllSignalsBlocked blocked;
    pid = ::clone(run_child, stack_.get() + kGuardBytes + kStackBytes, flags, &script);
    error = errno;
  }
  if (pid < 0) return failed(SpawnStage::fork, error, "clone");
  if (script.stage == SpawnStage::none) return {pid, SpawnStage::none, 0, {}};
  reap(pid);
  return {0, script.stage, script.error, describe(plan, script, prepared.candidates())};
}

}  // namespace runmain::os

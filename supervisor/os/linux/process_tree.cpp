// Why a proof reaches back to the previous pass.
//
// A pass that begins after the mark c sees every process that is visible during it; a pid handed out after c
// is checked after the pass, in the order of handing out, until none is new. A child gets its number after
// its parent's, so when a child was not yet visible at its check, its parent (checked before, or part of the
// pass) was alive then and was found. One case is left: a fork under way at c, whose number is from before c,
// not visible when the pass comes by, with a parent that the pass meets later (numbers wrap) and that has
// died by then. But then the parent stood in that fork at c. If the pass before began earlier still, it
// either found the parent, and a process with a pending SIGKILL completes no fork; or the parent came to life
// after that pass had begun, so that the child's number was handed out after its mark. Hence: check all
// numbers since the previous mark, and no pass alone proves.

#include "os/linux/process_tree.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string_view>

#include "os/linux/fd.hpp"
#include "os/linux/monotonic.hpp"
#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr std::uint64_t kTagEnd = kTagBase << 1U;
constexpr int kRoundsMin = 2;  // passes that one step may always make
constexpr Duration kStepMax = std::chrono::milliseconds(5);
constexpr std::uint32_t kWaitsMax =
    16;                            // steps that wait for signalled ones before all of /proc is read again
constexpr pid_t kChaseMax = 4096;  // numbers checked one by one; with more a pass is cheaper
constexpr Duration kLookEvery = std::chrono::milliseconds(1);  // at the pid handed out last, during a pass
constexpr std::size_t kLimitsTextMax = 4096;
constexpr std::size_t kChildrenTextMax = 16U << 10U;  // some 2,000 children

std::uint64_t tag_in(std::uint64_t soft, std::uint64_t hard) {
  return soft == hard && soft >= kTagBase && soft < kTagEnd ? soft : 0;
}

// The line "Max realtime timeout  SOFT  HARD  us" of /proc/PID/limits, which everyone may read.
std::uint64_t tag_from_text(pid_t pid) {
  constexpr std::string_view kLine = "Max realtime timeout";
  const std::string path = "/proc/" + std::to_string(pid) + "/limits";
  const std::string text = proc_text(path.c_str(), kLimitsTextMax);
  const std::size_t at = text.find(kLine);
  if (at == std::string::npos) return 0;
  std::string_view rest = std::string_view(text).substr(at + kLine.size());
  const auto soft = parse_number(rest);
  if (!soft) return 0;
  rest.remove_prefix(rest.find_first_not_of(" \t"));
  rest.remove_prefix(std::min(rest.size(), rest.find(' ')));
  return tag_in(*soft, parse_number(rest).value_or(0));
}

// False: this way is not open to us; the text must be read.
bool quick_tag(pid_t pid, std::uint64_t& tag) {
  rlimit64 limit{};
  tag = 0;
  if (::prlimit64(pid, RLIMIT_RTTIME, nullptr, &limit) == 0) {
    tag = tag_in(limit.rlim_cur, limit.rlim_max);
    return true;
  }
  return errno == ESRCH;
}

// The process that a thread belongs to; 0 if there is none.
pid_t process_of_thread(pid_t thread) {
  const std::string text = proc_text(("/proc/" + std::to_string(thread) + "/status").c_str(), 1024);
  const std::size_t at = text.find("\nTgid:");
  if (at == std::string::npos) return 0;
  return static_cast<pid_t>(parse_number(std::string_view(text).substr(at + 6)).value_or(0));
}

enum class Sent { yes, refused, gone, thread };

// SIGKILL for the process that has this number and this tag. The pidfd is taken before the tag is read: if
// the number changes hands in between, the signal goes to the one that is dead.
Sent kill_tagged(pid_t pid, std::uint64_t tag) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    if (errno == ESRCH) return Sent::gone;
    if (errno == EINVAL || errno == ENOENT) return Sent::thread;
  }
  if (tag_of(pid) != tag) return Sent::gone;
  // Without pidfds (before Linux 5.3, or no fd left) a gap of some microseconds stays.
  const long r =
      pidfd ? ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0) : ::kill(pid, SIGKILL);
  if (r == 0) return Sent::yes;
  return errno == ESRCH ? Sent::gone : Sent::refused;
}

bool still_living(pid_t pid, std::uint64_t tag) {
  if (tag_of(pid) != tag) return false;
  const auto state = process_state(pid);
  return state && state->living();
}

std::string survivor(pid_t pid) {
  const auto state = process_state(pid).value_or(ProcessState{});
  std::string why = "did not die";
  if (::kill(pid, 0) != 0 && errno == EPERM) {
    why = "belongs to another user";
  } else if (state.state == 'D') {
    why = "uninterruptible, state D";
  }
  return std::to_string(pid) + " " + (state.name.empty() ? "?" : state.name) + " (" + why + ")";
}

}  // namespace

TagSource::TagSource() : last_(kTagEnd) {
  // Inside a tagged tree: below that tag, in the upper half, so that there is room for many levels.
  rlimit64 own{};
  if (::prlimit64(0, RLIMIT_RTTIME, nullptr, &own) == 0 && tag_in(own.rlim_max, own.rlim_max) != 0) {
    last_ = own.rlim_max;
  }
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof random)) {
    random = static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count()) * 0x9e3779b97f4a7c15ULL ^
             static_cast<std::uint64_t>(::getpid());
  }
  const std::uint64_t half = (last_ - kTagBase) / 2;
  if (half > 0) last_ -= random % half;
}

bool TagSource::continue_below(std::uint64_t tag) {
  rlimit64 own{};
  const bool inside =
      ::prlimit64(0, RLIMIT_RTTIME, nullptr, &own) == 0 && tag_in(own.rlim_max, own.rlim_max) != 0;
  if (tag <= kTagBase || tag >= kTagEnd || (inside && tag > own.rlim_max)) return false;
  last_ = tag;
  return true;
}

std::uint64_t tag_of(pid_t pid) {
  std::uint64_t tag = 0;
  return quick_tag(pid, tag) ? tag : tag_from_text(pid);
}

std::vector<pid_t> tagged_processes_and_zombies(std::uint64_t tag) {
  ProcessList list;
  std::vector<pid_t> pids;
  if (!list.read(pids)) return {};
  std::erase_if(pids, [tag](pid_t pid) { return tag_of(pid) != tag; });
  return pids;
}

std::vector<pid_t> tagged_processes(std::uint64_t tag) {
  std::vector<pid_t> pids = tagged_processes_and_zombies(tag);
  std::erase_if(pids, [tag](pid_t pid) { return !still_living(pid, tag); });
  return pids;
}

bool is_gone_with_its_main(std::uint64_t tag, const std::function<bool(pid_t)>& other) {
  // None can leave the list while it is read, since only we wait for them; new ones come at its end.
  const UniqueFd list(::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC));
  std::array<char, kChildrenTextMax> text;
  std::size_t size = 0;
  for (ssize_t n = -1; list && n != 0; size += static_cast<std::size_t>(n)) {
    n = ::read(list.get(), text.data() + size, text.size() - size);
    if (n < 0) return false;
  }
  if (!list || size == text.size()) return false;
  for (std::string_view rest(text.data(), size); !rest.empty();) {
    const auto pid = parse_number(rest);
    if (!pid) return rest.find_first_not_of(" \n") == std::string_view::npos;
    rest.remove_prefix(std::min(rest.size(), rest.find(' ', rest.find_first_not_of(' '))));
    if (other(static_cast<pid_t>(*pid))) continue;
    const std::uint64_t found = tag_of(static_cast<pid_t>(*pid));
    if (found == 0 || found == tag) return false;
  }
  return true;
}

TreeKiller::Tree* TreeKiller::tree_of(std::uint64_t tag) {
  const auto at = std::lower_bound(trees_.begin(), trees_.end(), tag,
                                   [](const Tree& tree, std::uint64_t wanted) { return tree.tag < wanted; });
  return at != trees_.end() && at->tag == tag ? &*at : nullptr;
}

void TreeKiller::add(std::uint64_t tag, Time deadline) {
  if (Tree* known = tree_of(tag)) {
    known->deadline = deadline;
    return;
  }
  Tree tree;
  tree.tag = tag;
  tree.deadline = deadline;
  const auto at = std::lower_bound(trees_.begin(), trees_.end(), tag,
                                   [](const Tree& t, std::uint64_t wanted) { return t.tag < wanted; });
  trees_.insert(at, std::move(tree));
}

std::vector<std::pair<std::uint64_t, Time>> TreeKiller::targets() const {
  std::vector<std::pair<std::uint64_t, Time>> all;
  for (const Tree& tree : trees_) all.emplace_back(tree.tag, tree.deadline);
  return all;
}

std::vector<TreeKiller::Done> TreeKiller::step(Time now) {
  for (Tree& tree : trees_) {
    ++tree.steps;
    ++tree.waits;
    const auto dead = [&tree](pid_t pid) { return !still_living(pid, tree.tag); };
    tree.living.erase(std::remove_if(tree.living.begin(), tree.living.end(), dead), tree.living.end());
  }
  const auto wants_pass = [](const Tree& tree) {
    return !tree.proved && (tree.living.empty() || tree.waits >= kWaitsMax);
  };
  const Time begin = monotonic_now();
  for (int round = 0; std::any_of(trees_.begin(), trees_.end(), wants_pass); ++round) {
    // Two passes can prove, however slow; more than that must not hold the caller up.
    if (round >= kRoundsMin && monotonic_now() - begin > kStepMax) break;
    pass();
  }

  std::vector<Done> done;
  for (const Tree& tree : trees_) {
    if (tree.proved) {
      done.push_back({tree.tag, {}});
    } else if (now >= tree.deadline && tree.steps > 1) {
      done.push_back({tree.tag, survivors_of(tree)});
    }
  }
  for (const Done& settled : done) trees_.erase(trees_.begin() + (tree_of(settled.tag) - trees_.data()));
  return done;
}

PidCursor::Mark TreeKiller::look() {
  const Time before = monotonic_now();
  const auto pid = list_.last_pid();
  return cursor_.look(pid ? *pid : -1, before, monotonic_now());
}

void TreeKiller::pass() {
  cursor_.set_limits(ProcessList::pid_max(), cpus_);
  begin_ = look();
  const bool has_base = cursor_.covers(base_);
  foreign_before_.swap(foreign_);
  foreign_.clear();
  if (!has_base) {
    foreign_before_.clear();
    base_ = begin_;
  }

  const bool complete = list_.read(listed_).ok();
  for (const pid_t pid : listed_) {
    check_listed(pid);
    if (monotonic_now() - cursor_.last_look() > kLookEvery) look();
  }
  const bool caught_up = begin_.pid >= 0 && chase(base_.pid) && cursor_.covers(base_);
  base_ = complete ? begin_ : PidCursor::Mark{};
  for (Tree& tree : trees_) {
    tree.waits = 0;
    ++tree.passes;
    tree.proved = complete && has_base && caught_up && tree.passes > 1 && tree.living.empty();
  }
}

// Checks all numbers handed out after `from`, and those handed out meanwhile, until there are no new ones.
// False when they are too many for this way.
bool TreeKiller::chase(pid_t from) {
  for (pid_t budget = kChaseMax;;) {
    const pid_t to = look().pid;
    if (to < 0) return false;
    if (to == from) return true;
    const pid_t count = pids_between(from, to, cursor_.pid_max());
    if (count > budget) return false;
    budget -= count;
    each_pid_between(from, to, cursor_.pid_max(), [this](pid_t pid) { check(pid, tag_of(pid)); });
    from = to;
  }
}

// The tag of a process as remembered from the pass before, unless its number was handed out again between the
// two. What is handed out later is checked in the chase, and read anew by the next pass.
std::uint64_t TreeKiller::foreign_tag(pid_t pid) const {
  if (!is_pid_between(pid, base_.pid, begin_.pid)) {
    const auto at = std::lower_bound(foreign_before_.begin(), foreign_before_.end(), pid,
                                     [](const Foreign& known, pid_t wanted) { return known.pid < wanted; });
    if (at != foreign_before_.end() && at->pid == pid) return at->tag;
  }
  return tag_from_text(pid);
}

void TreeKiller::check_listed(pid_t pid) {
  std::uint64_t tag = 0;
  if (!quick_tag(pid, tag)) {
    tag = foreign_tag(pid);
    foreign_.push_back({pid, tag});
  }
  check(pid, tag);
}

void TreeKiller::check(pid_t pid, std::uint64_t tag) {
  Tree* tree = tag == 0 ? nullptr : tree_of(tag);
  if (tree == nullptr) return;
  const auto state = process_state(pid);
  if (!state || !state->living()) return;
  const Sent sent = kill_tagged(pid, tag);
  if (sent == Sent::gone) return;
  if (sent == Sent::thread) {
    // A number from the chase may be a thread's; the process itself is what lives and gets the signal.
    const pid_t process = process_of_thread(pid);
    if (process <= 0) return;
    if (process != pid) return check(process, tag_of(process));
  }
  if (std::find(tree->living.begin(), tree->living.end(), pid) == tree->living.end())
    tree->living.push_back(pid);
}

std::vector<std::string> TreeKiller::survivors_of(const Tree& tree) const {
  if (tree.living.empty()) return {"? (/proc gave no proof in time that all are gone)"};
  std::vector<std::string> out;
  for (const pid_t pid : tree.living) {
    if (out.size() == kSurvivorsMax) {
      out.push_back("… and " + std::to_string(tree.living.size() - kSurvivorsMax) + " more");
      break;
    }
    out.push_back(survivor(pid));
  }
  return out;
}

}  // namespace runmain::os

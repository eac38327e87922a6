#include "keeper/leftovers.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "os/linux/monotonic.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"

namespace runmain::keeper {
namespace {

constexpr int kLookMs = 20;  // between two looks at who was asked to end
constexpr Duration kKilledMax = std::chrono::seconds(1);

os::UniqueFd open_pid(pid_t pid) { return os::UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

void send(const os::UniqueFd& pidfd, int signal) {
  syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
}

bool has_ended(const os::UniqueFd& pidfd) { return os::wait_process_end(pidfd.get(), Duration(0)); }

std::string name_of(pid_t pid) {
  const auto state = os::process_state(pid);
  return state ? state->name : "?";
}

// Each living process that has a tag, but for our own tree.
template <class Use>
void each_tagged(const Use& use) {
  const std::uint64_t own = os::tag_of(getpid());
  os::any_process([&](pid_t pid) {
    const std::uint64_t tag = os::tag_of(pid);
    if (tag == 0 || tag == own) return false;
    const auto state = os::process_state(pid);
    if (state && state->living()) use(pid, tag);
    return false;
  });
}

void find_trees(const AdoptionTable& table, const std::set<std::uint64_t>& taken, Leftovers& left) {
  std::map<std::uint64_t, const ChildOnRecord*> known;
  for (const ChildOnRecord& record : table.children) {
    if (taken.contains(record.tag) || record.tag == 0) continue;
    known[record.tag] = &record;
    left.tags.insert(record.tag);
  }
  each_tagged([&](pid_t pid, std::uint64_t tag) {
    const bool ours = known.contains(tag) || (tag < table.tags_begin && tag + kTagsAhead >= table.tags_end);
    if (!ours || taken.contains(tag)) return;
    if (!left.trees.contains(tag)) left.trees[tag] = {pid, name_of(pid), false, {}};
  });
  for (auto& [tag, tree] : left.trees) {
    const auto record = known.find(tag);
    if (record == known.end()) continue;
    const ChildOnRecord& child = *record->second;
    tree.name = child.service;
    tree.first = child.first;
    const bool main_lives = os::open_process(child.main) && os::tag_of(child.main.pid) == tag;
    if (main_lives) tree.pid = child.main.pid;
    tree.asks = main_lives && child.alive && child.key.is_worker();
  }
}

// The pidfd is there before anything is looked at, and what was seen is of that process if it has not ended
// since.
void find_loose(Leftovers& left) {
  left.loose.clear();
  if (left.channel.empty()) return;
  const std::string told = "RUNMAIN_CHANNEL=" + left.channel;
  each_tagged([&](pid_t pid, std::uint64_t tag) {
    os::UniqueFd pidfd = open_pid(pid);
    if (!pidfd || os::real_user_of(pid) != getuid() || !os::was_given(pid, told)) return;
    std::string name = name_of(pid);
    if (!has_ended(pidfd)) left.loose.push_back({pid, std::move(name), tag, std::move(pidfd)});
  });
}

// As a signal to the group of the first process, which a number does not prove to be ours.
void ask(const Leftovers::Tree& tree, std::uint64_t tag) {
  for (const pid_t pid : os::tagged_processes(tag)) {
    const os::UniqueFd pidfd = open_pid(pid);
    if (!pidfd || os::tag_of(pid) != tag) continue;
    if (pid == tree.pid || getpgid(pid) == tree.first.pid) send(pidfd, SIGTERM);
  }
}

void kill_trees(const std::set<std::uint64_t>& tags, std::vector<std::string>& words) {
  os::TreeKiller killer;
  const Time deadline = os::monotonic_now() + kLeftoversMax;
  for (const std::uint64_t tag : tags) killer.add(tag, deadline);
  while (!killer.idle()) {
    for (const auto& done : killer.step(os::monotonic_now())) {
      for (const std::string& survivor : done.survivors)
        words.push_back("a process of the run before could not be ended: " + survivor);
    }
    if (!killer.idle()) ::poll(nullptr, 0, 1);  // they are not our children: nobody tells us
  }
}

// Until no process has one of these tags; returns those that are left.
std::set<std::uint64_t> await_trees(std::set<std::uint64_t> tags) {
  const Time until = os::monotonic_now() + kAskedMax;
  for (;;) {
    std::set<std::uint64_t> living;
    each_tagged([&](pid_t, std::uint64_t tag) {
      if (tags.contains(tag)) living.insert(tag);
    });
    tags = std::move(living);
    if (tags.empty() || os::monotonic_now() >= until) return tags;
    ::poll(nullptr, 0, kLookMs);
  }
}

std::size_t end_by_tags(const Leftovers& left, std::vector<std::string>& words) {
  std::set<std::uint64_t> asked;
  std::set<std::uint64_t> others = left.tags;
  for (const auto& [tag, tree] : left.trees) {
    if (tree.asks) {
      asked.insert(tag);
      others.erase(tag);
      ask(tree, tag);
    } else {
      others.insert(tag);
    }
  }
  kill_trees(others, words);
  if (asked.empty()) return 0;
  const std::set<std::uint64_t> unwilling = await_trees(asked);
  kill_trees(asked, words);  // a look is no proof
  return unwilling.size();
}

std::set<std::uint64_t> tags_of(const std::vector<Leftovers::Loose>& all) {
  std::set<std::uint64_t> tags;
  for (const Leftovers::Loose& one : all) tags.insert(one.tag);
  return tags;
}

bool await_loose(const std::vector<Leftovers::Loose>& all, Duration at_most) {
  const Time until = os::monotonic_now() + at_most;
  return std::all_of(all.begin(), all.end(), [&](const Leftovers::Loose& one) {
    return os::wait_process_end(one.pidfd.get(), std::max(until - os::monotonic_now(), Duration(0)));
  });
}

// Each of them by its own proof. What one starts while it dies is found by the next look.
std::size_t end_loose(Leftovers& left, std::vector<std::string>& words) {
  if (left.loose.empty()) return 0;
  bool asked = false;
  for (const Leftovers::Loose& one : left.loose) {
    if (getpgid(one.pid) != getsid(one.pid)) continue;  // not in the group that a keeper has started
    send(one.pidfd, SIGTERM);
    asked = true;
  }
  if (asked) (void)await_loose(left.loose, kAskedMax);
  find_loose(left);
  const std::size_t unwilling = tags_of(left.loose).size();
  for (const Time until = os::monotonic_now() + kLeftoversMax;
       !left.loose.empty() && os::monotonic_now() < until; find_loose(left)) {
    for (const Leftovers::Loose& one : left.loose) send(one.pidfd, SIGKILL);
    (void)await_loose(left.loose, kKilledMax);
  }
  for (const Leftovers::Loose& one : left.loose)
    words.push_back("a process of the run before could not be ended: " + std::to_string(one.pid) + " " +
                    one.name);
  return unwilling;
}

}  // namespace

std::size_t Leftovers::count() const { return trees.size() + tags_of(loose).size(); }

Leftovers find_leftovers(const AdoptionTable* table, const std::string& channel,
                         const std::set<std::uint64_t>& taken) {
  Leftovers left;
  if (table != nullptr) {
    find_trees(*table, taken, left);
  } else {
    left.channel = channel;
    find_loose(left);
  }
  return left;
}

std::size_t end_leftovers(Leftovers& left, std::vector<std::string>& words) {
  const std::size_t unwilling = end_by_tags(left, words);
  return unwilling + end_loose(left, words);
}

void remove_socket_files(const AdoptionTable& table) {
  for (const ListenerOnRecord& listener : table.listeners) {
    struct stat st {};
    const std::string& path = listener.address.path;
    if (path.empty() || listener.file_inode == 0 || lstat(path.c_str(), &st) != 0) continue;
    if (S_ISSOCK(st.st_mode) && st.st_dev == listener.file_device && st.st_ino == listener.file_inode)
      unlink(path.c_str());
  }
}

}  // namespace runmain::keeper

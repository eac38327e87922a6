#include "drive/watch_git.hpp"

#include <filesystem>

#include "base/wall_time.hpp"
#include "drive/watch_table.hpp"
#include "os/linux/folder.hpp"

namespace runmain::drive {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kGitFileMax = 8192;  // bytes; such a file is one line with a path

// "gitdir: PATH", relative to the file's folder (gitrepository-layout(5)).
std::string read_git_file(const std::string& folder) {
  const auto text = os::read_file(join_path(folder, ".git"), kGitFileMax);
  constexpr std::string_view kPrefix = "gitdir: ";
  if (!text || text.value().compare(0, kPrefix.size(), kPrefix) != 0) return {};
  std::string target = text.value().substr(kPrefix.size());
  while (!target.empty() && (target.back() == '\n' || target.back() == '\r')) target.pop_back();
  std::error_code failed;
  const fs::path path = fs::canonical(
      target.empty() || target.front() == '/' ? fs::path(target) : fs::path(folder) / target, failed);
  return failed ? std::string() : path.string();
}

Duration age_of(const os::FileStat& stat) { return Duration(wall_now_ns() - stat.mtime_ns); }

}  // namespace

std::string find_git_folder(const std::string& path) {
  for (std::string folder = path;; folder = split_path(folder).first) {
    std::string git = join_path(folder, ".git");
    if (const auto stat = os::stat_link(git); stat) {
      if (stat.value().is_folder()) return git;
      if (stat.value().is_file()) return read_git_file(folder);
      std::error_code failed;
      const fs::path target = fs::canonical(git, failed);
      return failed ? std::string() : target.string();
    }
    if (folder == "/") return {};
  }
}

void GitLocks::assign(const std::map<std::string, std::set<ServiceId>>& folders) {
  std::map<std::string, Lock> locks;
  for (const auto& [folder, services] : folders) {
    const auto known = locks_.find(folder);
    Lock lock = known == locks_.end() ? Lock{} : known->second;
    lock.services = services;
    locks.emplace(folder, std::move(lock));
  }
  locks_ = std::move(locks);
}

std::set<std::string> GitLocks::folders() const {
  std::set<std::string> found;
  for (const auto& [folder, lock] : locks_) found.insert(folder);
  return found;
}

bool GitLocks::is_lock(const std::string& folder, std::string_view name) const {
  return name == kLockName && locks_.count(folder) != 0;
}

void GitLocks::look(const std::string& folder, Lock& lock, Time now, std::vector<std::string>& warnings) {
  const std::string path = join_path(folder, kLockName);
  const auto stat = os::stat_link(path);
  if (!stat) {
    lock.on = lock.stale = false;
    return;
  }
  if (lock.stale) return;
  if (!lock.on) {
    lock.on = true;
    // The wall clock is asked once, of a lock that may have been there before us: it may jump meanwhile.
    lock.since = age_of(stat.value()) < kLockMax ? now : now - kLockMax;
  }
  if (now - lock.since < kLockMax) return;
  lock.on = false;
  lock.stale = true;
  warnings.push_back(path + " is there for more than " + std::to_string(to_ms(kLockMax) / 1000) +
                     " s, no longer waiting for git, ignoring it");
}

std::vector<GitLocks::Change> GitLocks::update(Time now, std::vector<std::string>& warnings) {
  std::set<ServiceId> held;
  for (auto& [folder, lock] : locks_) {
    look(folder, lock, now, warnings);
    if (lock.on) held.insert(lock.services.begin(), lock.services.end());
  }
  std::vector<Change> changes;
  for (const ServiceId service : held) {
    if (held_.count(service) == 0) changes.push_back({service, true});
  }
  for (const ServiceId service : held_) {
    if (held.count(service) == 0) changes.push_back({service, false});
  }
  held_ = std::move(held);
  return changes;
}

Time GitLocks::next_deadline() const {
  Time next = kNever;
  for (const auto& [folder, lock] : locks_) {
    if (lock.on) next = std::min(next, lock.since + kLockMax);
  }
  return next;
}

}  // namespace runmain::drive

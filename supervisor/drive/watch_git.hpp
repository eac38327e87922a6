// Holds: while git works in a watched repository (index.lock in its folder) a service's changes are gathered,
// not acted on. A lock that is older than kLockMax was left behind by a git that died, and holds nothing.
//
// Invariant: what `update` tells alternates on, off, on for each service. Thread: one. Non-goal: what the
// change was.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"

namespace runmain::drive {

inline constexpr Duration kLockMax = std::chrono::seconds(10);
inline constexpr const char* kLockName = "index.lock";

// The folder where git keeps the index for `path`: the `.git` folder of the repository that `path` is in, or
// what a
// `.git` file of a worktree or submodule leads to. Empty when there is none.
std::string find_git_folder(const std::string& path);

class GitLocks {
 public:
  // Replaces the repositories: the folder of each and the services that it holds.
  void assign(const std::map<std::string, std::set<ServiceId>>& folders);
  std::set<std::string> folders() const;
  bool is_lock(const std::string& folder, std::string_view name) const;

  struct Change {
    ServiceId service{};
    bool on = false;
  };
  // Looks at every lock. Returns the services whose hold has changed; warnings are appended to `warnings`.
  std::vector<Change> update(Time now, std::vector<std::string>& warnings);
  // When update() is wanted although nothing happened; kNever if never.
  Time next_deadline() const;

 private:
  struct Lock {
    std::set<ServiceId> services;
    bool on = false;
    bool stale = false;  // holds no more, until it is gone
    Time since{};
  };
  void look(const std::string& folder, Lock& lock, Time now, std::vector<std::string>& warnings);

  std::map<std::string, Lock> locks_;
  std::set<ServiceId> held_;
};

}  // namespace runmain::drive

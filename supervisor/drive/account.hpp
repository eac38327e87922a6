// The user and group that a child shall run as, resolved from their names.
//
// Invariant: only someone who may switch is told to. Non-goal: switching; the spawner does. Thread: any; may
// block on a network user database. Source: getpwnam_r(3), getgrnam_r(3), getgrouplist(3), credentials(7).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace runmain::drive {

struct Account {
  bool change = false;  // false: the child runs as we do, the rest is empty
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // supplementary, gid included
  std::string name;                   // login name and home, where a user was given and is in the database
  std::string home;
};

struct Ids {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

// Names or numbers, empty for "as it is". A number needs no entry in the database, but then a group beside
// it. On failure an Error: ESRCH for an unknown name, EPERM if `current` (who runmain is) may not switch.
Result<Account> resolve_account(const std::string& user, const std::string& group, Ids current);

}  // namespace runmain::drive

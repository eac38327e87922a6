#include "drive/account.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/types.h>

#include <charconv>
#include <optional>

namespace runmain::drive {
namespace {

constexpr std::size_t kDatabaseBuffer =
    16U << 10U;  // bytes of one entry; grows up to kDatabaseBufferMax on ERANGE
constexpr std::size_t kDatabaseBufferMax = 1U << 20U;
constexpr int kGroupsMax = 65536;  // NGROUPS_MAX

std::optional<std::uint32_t> as_number(const std::string& text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // ~0 means "no change" to setuid(2) and its like; it is never an id.
  if (error != std::errc() || end != text.data() + text.size() || value == ~0U) return std::nullopt;
  return value;
}

// Calls a get…_r function with a buffer that is large enough. nullopt: no such entry.
template <class Entry, class Call, class Use>
auto look_up(Call call, Use use) -> std::optional<decltype(use(std::declval<Entry&>()))> {
  Entry entry{};
  std::string buffer(kDatabaseBuffer, '\0');
  for (;;) {
    Entry* found = nullptr;
    const int error = call(&entry, buffer.data(), buffer.size(), &found);
    if (error == EINTR) continue;
    if (error == ERANGE && buffer.size() < kDatabaseBufferMax) {
      buffer.resize(buffer.size() * 4);
      continue;
    }
    if (found == nullptr) return std::nullopt;
    return use(*found);
  }
}

struct User {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string name;
  std::string home;
};

std::optional<User> find_user(const std::string& text) {
  const auto copy = [](const passwd& p) { return User{p.pw_uid, p.pw_gid, p.pw_name, p.pw_dir}; };
  auto by_name = look_up<passwd>(
      [&](passwd* p, char* b, std::size_t n, passwd** r) { return getpwnam_r(text.c_str(), p, b, n, r); },
      copy);
  const auto number = as_number(text);
  if (by_name || !number) return by_name;
  return look_up<passwd>(
      [&](passwd* p, char* b, std::size_t n, passwd** r) { return getpwuid_r(*number, p, b, n, r); }, copy);
}

std::optional<std::uint32_t> find_group(const std::string& text) {
  auto by_name = look_up<group>(
      [&](group* g, char* b, std::size_t n, group** r) { return getgrnam_r(text.c_str(), g, b, n, r); },
      [](const group& g) { return std::uint32_t{g.gr_gid}; });
  return by_name ? by_name : as_number(text);
}

std::vector<std::uint32_t> groups_of(const std::string& name, std::uint32_t gid) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (getgrouplist(name.c_str(), gid, groups.data(), &count) < 0 && count <= kGroupsMax &&
         groups.size() < static_cast<std::size_t>(count)) {
    groups.resize(static_cast<std::size_t>(count));
  }
  const std::size_t known = count < 0 ? 0 : static_cast<std::size_t>(count);
  if (groups.size() > known) groups.resize(known);
  return {groups.begin(), groups.end()};
}

}  // namespace

Result<Account> resolve_account(const std::string& user, const std::string& group, Ids current) {
  Account account;
  if (user.empty() && group.empty()) return account;
  account.uid = current.uid;
  account.gid = current.gid;
  if (!user.empty()) {
    const auto found = find_user(user);
    const auto number = as_number(user);
    if (!found && !number) return Error{"unknown user \"" + user + "\"", {}, {}, ESRCH};
    if (!found && group.empty()) {
      return Error{
          "user " + user + " is not in the user database and no group is given", {}, "set group", ESRCH};
    }
    account.uid = found ? found->uid : *number;
    if (found) {
      // Who stays the same user stays in the same group, unless another one is asked for.
      account.gid = found->uid == current.uid ? current.gid : found->gid;
      account.name = found->name;
      account.home = found->home;
    }
  }
  if (!group.empty()) {
    const auto gid = find_group(group);
    if (!gid) return Error{"unknown group \"" + group + "\"", {}, {}, ESRCH};
    account.gid = *gid;
  }
  if (account.uid == current.uid && account.gid == current.gid) return Account{};
  if (current.uid != 0) {
    const std::string who = user.empty() ? "group \"" + group + "\"" : "user \"" + user + "\"";
    return Error{"runmain is not root and cannot start a child as " + who,
                 {},
                 "run it as root, or leave this out",
                 EPERM};
  }
  account.change = true;
  account.groups =
      account.name.empty() ? std::vector<std::uint32_t>{account.gid} : groups_of(account.name, account.gid);
  return account;
}

}  // namespace runmain::drive

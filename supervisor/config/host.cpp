#include "config/host.hpp"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/env_file.hpp"
#include "config/read_file.hpp"
#include "config/text.hpp"

namespace runmain::config {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLookupMax = 1U << 20U;  // bytes of a passwd or group entry; NSS entries can be long

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// Calls a getXXnam_r(3) with a buffer that grows while it says ERANGE. False only if there surely is no such
// entry.
template <class Entry, class Call>
bool known(Call call, const std::string& name) {
  for (std::vector<char> buffer(1024); buffer.size() <= kLookupMax; buffer.resize(buffer.size() * 4)) {
    Entry entry{};
    Entry* found = nullptr;
    const int fault = call(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (fault == ERANGE) continue;
    return found != nullptr || fault == EMFILE || fault == ENFILE || fault == ENOMEM || fault == EINTR;
  }
  return true;
}

}  // namespace

bool check_folder(Report& report, Place place, const std::string& name, const std::string& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::is_directory(status)) return true;
  const bool there = fs::exists(status);
  report.fault(place, name + ": " + quote_path(path) + (there ? " is not a folder" : ": no such folder"),
               there ? "" : "create it, or correct the path");
  return false;
}

bool check_exists(Report& report, Place place, const std::string& name, const std::string& path) {
  std::error_code ignored;
  if (fs::exists(fs::status(path, ignored))) return true;
  report.fault(place, name + ": " + quote_path(path) + ": no such file or folder",
               "create it, or correct the path");
  return false;
}

bool check_env_file(Report& report, Place place, const std::string& path) {
  auto text = read_file(path, kEnvFileMax);
  if (!text) {
    std::error_code ignored;
    const bool there = fs::exists(path, ignored);
    report.fault(place, "env_file: " + quote_path(path) + ": " + text.error().message,
                 there ? "name a readable text file of at most 1 MiB" : "create it, or correct the path");
    return false;
  }
  EnvFile parsed = parse_env_file(*text, path);
  for (Error& fault : parsed.faults) report.foreign_fault(place, std::move(fault));
  return parsed.faults.empty();
}

bool check_user(Report& report, Place place, const std::string& user) {
  if (known<passwd>(getpwnam_r, user) || is_number(user)) return true;
  report.fault(place, "user: there is no user " + quote(user), "see getent passwd, or write its number");
  return false;
}

bool check_group(Report& report, Place place, const std::string& name) {
  if (known<group>(getgrnam_r, name) || is_number(name)) return true;
  report.fault(place, "group: there is no group " + quote(name), "see getent group, or write its number");
  return false;
}

}  // namespace runmain::config

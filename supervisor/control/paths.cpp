#include "control/paths.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace runmain::control {
namespace {

constexpr mode_t kRuntimeMode = 0711;
constexpr mode_t kStateMode = 0700;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool is_absolute(const std::string& path) { return !path.empty() && path.front() == '/'; }

// $XDG_RUNTIME_DIR of another user (kept by su or sudo) is as good as none.
bool is_our_folder(const std::string& path, uid_t uid) {
  struct stat st {};
  return is_absolute(path) && stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid;
}

std::string fallback_runtime(uid_t uid) {
  return uid == 0 ? "/run/runmain" : "/tmp/runmain-" + std::to_string(uid);
}

std::string default_state(const Environment& env) {
  if (is_absolute(env.xdg_state_home)) return env.xdg_state_home + "/runmain";
  if (env.uid == 0) return "/var/lib/runmain";
  if (is_absolute(env.home)) return env.home + "/.local/state/runmain";
  return "/tmp/runmain-" + std::to_string(env.uid) + "/state";
}

std::string absolute(const std::string& path) {
  if (is_absolute(path)) return path;
  char here[PATH_MAX];
  return getcwd(here, sizeof here) == nullptr ? path : std::string(here) + "/" + path;
}

Error cannot_make(const std::string& path, int error) {
  Error told = Error::from_errno("mkdir " + path, error);
  told.hint = "name another folder with --runtime-dir or --state-dir";
  if (error == EROFS) told.hint += ", or mount a tmpfs there";
  return told;
}

Result<void> make_with_parents(const std::string& path, mode_t mode) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return cannot_make(part, errno);
  }
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return cannot_make(path, errno);
  return {};
}

Result<void> check_ours(const std::string& path, uid_t uid) {
  struct stat st {};
  if (lstat(path.c_str(), &st) != 0) return Error::from_errno("stat " + path, errno);
  const std::string hint = "name another folder with --runtime-dir or --state-dir";
  if (S_ISLNK(st.st_mode)) return Error{path + " is a symbolic link", {}, hint, ELOOP};
  if (!S_ISDIR(st.st_mode)) return Error{path + " is not a folder", {}, hint, ENOTDIR};
  if (st.st_uid != uid) return Error{path + " belongs to user " + std::to_string(st.st_uid), {}, hint, EPERM};
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) return Error{path + " is writable by others", {}, hint, EPERM};
  return {};
}

// A default folder and the one above it are runmain's own, so both get the mode and both are checked. One
// that the user named keeps its mode.
Result<void> make_folder(const std::string& path, bool given, mode_t mode, uid_t uid) {
  const mode_t old = umask(0022);
  const auto made = make_with_parents(path, mode);
  umask(old);
  if (!made) return made;
  if (!given) {
    const auto above = check_ours(path.substr(0, path.rfind('/')), uid);
    if (!above) return above;
  }
  const auto ours = check_ours(path, uid);
  if (!ours || given) return ours;
  if (chmod(path.c_str(), mode) != 0) return Error::from_errno("chmod " + path, errno);
  return {};
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

Environment Environment::of_process() {
  return {variable("XDG_RUNTIME_DIR"), variable("XDG_STATE_HOME"), variable("HOME"), geteuid()};
}

std::string hash_of(const std::string& text) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(h));
  return digits;
}

Result<std::string> real_config(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) {
    Error error = Error::from_errno(path, errno);
    if (error.code == ENOENT) error.hint = "name the configuration with -c FILE";
    return error;
  }
  return std::string(resolved);
}

Folders folders_of(const std::string& config, const std::string& runtime_dir, const std::string& state_dir,
                   const Environment& env) {
  Folders folders;
  folders.config = config;
  folders.runtime_given = !runtime_dir.empty();
  folders.state_given = !state_dir.empty();
  const std::string hash = "/" + hash_of(config);
  if (folders.runtime_given) {
    folders.runtime = without_trailing_slashes(absolute(runtime_dir));
  } else if (is_our_folder(env.xdg_runtime_dir, env.uid)) {
    folders.runtime = env.xdg_runtime_dir + "/runmain" + hash;
  } else {
    folders.runtime = fallback_runtime(env.uid) + hash;
  }
  folders.state =
      folders.state_given ? without_trailing_slashes(absolute(state_dir)) : default_state(env) + hash;
  return folders;
}

std::vector<std::string> runtime_candidates(const Folders& folders, const Environment& env) {
  std::vector<std::string> found{folders.runtime};
  if (folders.runtime_given) return found;
  const std::string hash = "/" + hash_of(folders.config);
  for (const std::string& base :
       {fallback_runtime(env.uid), "/run/user/" + std::to_string(env.uid) + "/runmain"}) {
    if (base + hash != folders.runtime) found.push_back(base + hash);
  }
  return found;
}

Result<void> make_folders(const Folders& folders, const Environment& env) {
  const auto runtime = make_folder(folders.runtime, folders.runtime_given, kRuntimeMode, env.uid);
  if (!runtime) return runtime;
  return make_folder(folders.state, folders.state_given, kStateMode, env.uid);
}

}  // namespace runmain::control

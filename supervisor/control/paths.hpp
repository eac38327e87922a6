// The folders of one runmain: which they are, and making them safely.
//
// runtime: $XDG_RUNTIME_DIR/runmain/HASH, else /run/runmain/HASH (root) or /tmp/runmain-UID/HASH: control,
// channel, lock. state: $XDG_STATE_HOME/runmain/HASH, else ~/.local/state/runmain/HASH; root:
// /var/lib/runmain/HASH. HASH is of the configuration file's real path, so every name of one file means the
// same runmain; for `runmain dev` it is of the folder's. Invariant: a folder that is used is ours, is no
// symlink, and nobody else may write to it. Source: XDG Base Directory Specification 0.8. Non-goal: cleaning
// up; sockets and lock stay, the lock decides.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.hpp"

namespace runmain::control {

struct Environment {
  std::string xdg_runtime_dir;
  std::string xdg_state_home;
  std::string home;
  uid_t uid = 0;  // effective
  static Environment of_process();
};

struct Folders {
  std::string config;  // the configuration's real path
  std::string runtime;
  std::string state;
  bool runtime_given = false;  // by --runtime-dir: used as it is, no HASH below it
  bool state_given = false;

  std::string control() const { return runtime + "/control"; }
  std::string channel() const { return runtime + "/channel"; }
  std::string lock() const { return runtime + "/lock"; }
  std::string desired() const { return runtime + "/desired"; }
  std::string adoption() const { return state + "/adoption"; }
  std::string log() const { return state + "/runmain.log"; }
};

// 16 hexadecimal digits of FNV-1a, 64 bits.
std::string hash_of(const std::string& text);

// realpath(3) of a configuration file. On failure the errno, with a hint for a missing file.
Result<std::string> real_config(const std::string& path);

// Only names; nothing is made. Overrides may be relative to the current folder.
Folders folders_of(const std::string& config, const std::string& runtime_dir, const std::string& state_dir,
                   const Environment& env);

// Every runtime folder where a runmain of this user may have been started with another environment (a login
// shell has XDG_RUNTIME_DIR, a cron job has not); the first is folders.runtime. Just that one if it was
// given.
std::vector<std::string> runtime_candidates(const Folders& folders, const Environment& env);

// Makes both folders (runtime 0711, because children of other users reach the channel; state 0700) and checks
// the invariant. On failure says which folder and why.
Result<void> make_folders(const Folders& folders, const Environment& env);

}  // namespace runmain::control

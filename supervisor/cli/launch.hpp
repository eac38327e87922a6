// Becoming the keeper: all that can go wrong is tried before, with this process's own error messages.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "cli/options.hpp"
#include "control/paths.hpp"
#include "core/spec.hpp"
#include "os/linux/fd.hpp"

namespace runmain::cli {

struct Launch {
  control::Folders folders;
  std::string keeper;  // path of the executable
  std::vector<std::string> argv;
  os::UniqueFd lock;
  os::UniqueFd control;
  os::UniqueFd channel;
  os::UniqueFd journal;  // optional
};

// Folders, lock, sockets, journal, executables. On failure nothing stays but empty folders. Requires that
// options.file is a good configuration; or, with `desired`, a folder: then that is handed to the head by a
// file in the runtime folder.
Result<Launch> prepare_launch(const Options& options, core::Mode mode,
                              const core::Desired* desired = nullptr);

// Writes this process's pid into the lock and executes the keeper. Returns only on failure.
Error become_keeper(Launch& launch);

}  // namespace runmain::cli

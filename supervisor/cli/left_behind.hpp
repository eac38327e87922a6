// Workers that live on after their keeper was killed (on_keeper_death = "keep"), and the rest of a run that
// nobody has ended: runmain-keeper finds them by its adoption table. Invariant: nothing is looked for, and
// nobody is signalled, while a runmain holds the lock. Non-goal: taking them over; the next start does that.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "cli/options.hpp"
#include "control/paths.hpp"

namespace runmain::cli {

struct LeftBehind {
  control::Folders folders;
  std::size_t processes = 0;
  std::string pids;  // "12, 13, …"
};

// Nothing where nothing was left, or where a runmain runs.
std::optional<LeftBehind> find_left_behind(const Options& options);
// Ends them all. On failure what could not be done; what could not be ended was named on standard error.
Result<void> end_left_behind(const LeftBehind& left);
// As in "2 workers live on without it (pid 12, 13)".
Error error_of(const LeftBehind& left);

}  // namespace runmain::cli

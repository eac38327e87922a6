// Why a program could not be started, in words. Runs after the fact, in the parent, and only reads.
// Non-goal: predicting whether a program can be started.
#pragma once

#include <string>
#include <vector>

#include "os/linux/spawn.hpp"

namespace runmain::os {

// "exec ./run: its interpreter /usr/bin/pythn does not exist". `candidates` are the paths that were tried,
// relative ones from plan.cwd. Best effort: what cannot be read by the caller leaves the plain words of the
// errno.
std::string explain_exec(const SpawnPlan& plan, const std::vector<std::string>& candidates, int error);

// PATH of plan.env, or the usual folders where it has none.
std::string search_path(const SpawnPlan& plan);

// "nofile" for RLIMIT_NOFILE, "limit 40" for one without a name.
std::string limit_name(int resource);

}  // namespace runmain::os

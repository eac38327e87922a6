// Programs of Python that are run by a launcher: a few lines that change in the server's own library what no
// flag and no variable changes, and then run the user's program as `python` would.
//
// Why: a server that is told to stop shall take nothing more and finish what it has taken. Werkzeug's ends in
// the middle of an answer; Uvicorn closes a connection that it has accepted and not yet read from. Invariant:
// the user's program and its arguments stay as they are; where no launcher can be put in, nothing is changed.
#pragma once

#include "config/runner_table.hpp"
#include "config/runner_words.hpp"
#include "config/runners.hpp"

namespace runmain::config {

// Puts the launcher in front of the program. `program` is where it is in runner.argv. False, and nothing
// changed: its interpreter is not known.
bool launch_by(Launcher launcher, const Program& program, const RunnerFacts& facts, Runner& runner);

}  // namespace runmain::config

// Programs that only watch files and start another one: `nodemon app.js`, `watchfiles "uvicorn app:app"`.
// Under runmain they are left out: the program that they would start is run, and a save reloads that.
//
// Why: with two watchers a save restarts twice, and a watcher hands no socket on. Invariant: only where it is
// plain what would be started; else nothing is changed. What they were told to watch is dropped. Non-goal:
// reading their files (nodemon.json).
#pragma once

#include <optional>
#include <string>

#include "config/runner_words.hpp"

namespace runmain::config {

struct Unwatched {
  std::string watcher;  // "nodemon"
  Argv argv;            // what it would start, behind the wrappers that were in front of it
};

// Nothing: no watcher, or one of whom it cannot be said.
std::optional<Unwatched> without_watcher(const Argv& argv);

// The program without a watcher in front of it, or `argv`.
Argv watched_words(const Argv& argv);

}  // namespace runmain::config

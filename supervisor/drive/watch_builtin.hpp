// What every watcher ignores unless somebody takes it back: other tools' books, what is installed and not
// edited, caches and databases that a running program writes itself, and the temporary files of editors. Each
// rule has a name that `runmain explain` shows. Build outputs are not here: some people watch them.
//
// Invariant: the weakest of all lists, but for repositories(): a `!*` in a .gitignore speaks of git's index
// and must not open .git. Thread: any.
#pragma once

#include "drive/watch_ignore.hpp"

namespace runmain::drive {

struct BuiltinRule {
  const char* name;
  const char* glob;
};

// .git and its like.
const IgnoreList& builtin_repositories();
const IgnoreList& builtin_rules();

}  // namespace runmain::drive

// What changes between two configurations, for a reload of the file: which services, and which of their keys.
// Invariant: a service that only moved inside the file is not changed. Non-goal: what to do about it; core
// decides.
#pragma once

#include <string>
#include <vector>

#include "core/spec.hpp"

namespace runmain::config {

struct ServiceChange {
  std::string name;
  std::vector<std::string> keys;  // as the file spells them: "command", "env", …
};

struct Diff {
  std::vector<std::string> added;      // in the new file's order
  std::vector<std::string> removed;    // in the old file's order
  std::vector<ServiceChange> changed;  // in the new file's order
  bool mode_changed = false;
  bool empty() const { return added.empty() && removed.empty() && changed.empty() && !mode_changed; }
};

// Any thread.
Diff diff(const core::Desired& before, const core::Desired& after);

// A line for each: "+ api", "- old", "~ web (command, env)"; "mode dev -> prod" first; "no change" alone.
std::string text(const Diff& diff, const core::Desired& before, const core::Desired& after);

}  // namespace runmain::config

// Whether a change of a path would be told to a service, and which rule says so: the watcher's own look-up,
// asked by a person.
//
// Invariant: what is said here is what the watcher does; there is no second reading of the rules. Thread: the
// RootSet's. Non-goal: sentences (cli makes them), and what the core does with a change.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/ids.hpp"
#include "core/spec.hpp"

namespace runmain::drive {

class RootSet;

struct Explanation {
  bool reloads = false;
  // "watched", "outside": not below a watched path, "ignored", "not_included": no include glob matches,
  // "nothing": the service watches nothing.
  std::string verdict = "nothing";
  std::string by;          // who ignores it: "service", "built_in", "file"
  std::string file;        // the absolute path of the ignore file
  std::uint32_t line = 0;  // in that file
  std::string rule;        // the line as it stands there
  std::string name;        // of the built-in rule
};

// For a path as a person gives it, absolute: "." and ".." and links above its last part are resolved. A slash
// at its end says that it is a folder; else a look says whether it is one.
Explanation explain(const RootSet& roots, ServiceId service, const std::string& path);
// The same where no watcher runs.
Explanation explain(const core::WatchSpec& spec, const std::string& path);

nlohmann::ordered_json to_json(const Explanation& explanation);

}  // namespace runmain::drive

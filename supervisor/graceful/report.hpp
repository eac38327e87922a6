// What check-graceful found, as JSON: for programs, and for `runmain check-graceful`, which makes text of it.
// Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "graceful/finding.hpp"
#include "graceful/observation.hpp"

namespace runmain::graceful {

// One object: v, command, listen, served, trials, start_ms, drain_ms, findings, notes
// (docs/check-graceful.md).
nlohmann::ordered_json to_json(const Observation& o, const std::vector<Finding>& findings);

}  // namespace runmain::graceful

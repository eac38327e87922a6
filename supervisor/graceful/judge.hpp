// From observations to findings.
//
// Invariant: pure; the same observations give the same findings, each cause once, in the order of Cause. What
// another finding explains is not told again (a worker that ignores SIGTERM keeps every connection, too). No
// finding: a connection that was closed in order while no request was on it, and a request that crossed such
// an end.
#pragma once

#include <string>
#include <vector>

#include "graceful/finding.hpp"
#include "graceful/observation.hpp"

namespace runmain::graceful {

std::vector<Finding> judge(const Observation& o);

// What a person may want to know and is no fault: sentences.
std::vector<std::string> notes_of(const Observation& o);

}  // namespace runmain::graceful

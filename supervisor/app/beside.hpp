// What a start that failed beside the old generation has printed, read for one thing: whether it met that one
// (a port, a database or a lock that only one of them can have).
// Invariant: looks at lines, decides nothing. Non-goal: being sure; the person is given a hint with its
// reason.
#pragma once

#include <string>
#include <vector>

namespace runmain::app {

// The last line that says so, shortened and printable; empty: none does.
std::string line_of_conflict(const std::vector<std::string>& lines);

}  // namespace runmain::app

// The table of `runmain status`, from the status JSON.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/terminal.hpp"
#include "control/protocol.hpp"

namespace runmain::cli {

// One row a service, one below it for each worker where there are several, and a note where something is
// wrong. `width` 0: no limit. Ends with a newline. Never fails: what is missing in the JSON is shown as
// nothing.
std::string status_table(const control::Json& status, bool colour, std::size_t width);

Style style_of_state(const std::string& state);

// Why not every service that is wanted serves with all its workers, in a line; empty: they do. No names: all
// but those that are stopped or done.
std::string fault_of_status(const control::Json& status, const std::vector<std::string>& names);

}  // namespace runmain::cli

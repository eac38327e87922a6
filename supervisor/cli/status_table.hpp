// The table of `runmain status`, from the status JSON.
#pragma once

#include <cstddef>
#include <string>

#include "cli/terminal.hpp"
#include "control/protocol.hpp"

namespace runmain::cli {

// One row a service, one below it for each worker where there are several, and a note where something is
// wrong. `width` 0: no limit. Ends with a newline. Never fails: what is missing in the JSON is shown as
// nothing.
std::string status_table(const control::Json& status, bool colour, std::size_t width);

Style style_of_state(const std::string& state);

}  // namespace runmain::cli

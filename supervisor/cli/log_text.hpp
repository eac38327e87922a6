// One line of `logs`, from its JSON.
#pragma once

#include <string>

#include "control/protocol.hpp"

namespace runmain::cli {

// "web.1 | text": the label, as `up` shows it; "+" in place of "|" goes on with a line that was split. With
// colour the prefix has the service's colour and the child's own colours are kept; all other bytes are made
// harmless.
// {"skipped":N} becomes a line that says so.
std::string log_text(const control::Json& item, bool colour);

}  // namespace runmain::cli

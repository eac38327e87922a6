// Verbs that answer with items: logs and events.
#pragma once

#include <functional>
#include <string>

#include "cli/options.hpp"
#include "cli/session.hpp"

namespace runmain::cli {

// Shows every item (as JSON lines with --json) until the stream ends. Following goes on over a change of the
// supervisor and ends cleanly when runmain ends.
int stream(const Options& options, Terminal& terminal, const std::string& verb, Json args,
           const std::function<std::string(const Json&)>& show);

}  // namespace runmain::cli

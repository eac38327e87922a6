// Verbs that answer with items: logs and events.
#pragma once

#include <functional>
#include <string>

#include "cli/options.hpp"
#include "cli/session.hpp"

namespace runmain::cli {

struct Stream {
  std::string verb;
  Json args;
  std::function<std::string(const Json&)> show;  // an item as text, empty: nothing of it
  std::function<Json()> args_again;              // to go on where the stream broke off
};

// Shows every item (as JSON lines with --json) until the stream ends. Following goes on over a change of the
// supervisor and ends cleanly when runmain ends.
int run_stream(const Options& options, Terminal& terminal, const Stream& stream);

}  // namespace runmain::cli

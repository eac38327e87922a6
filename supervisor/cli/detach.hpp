// `up -d`: the keeper in the background, and waiting until all is ready.
#pragma once

#include "cli/launch.hpp"
#include "cli/options.hpp"
#include "cli/terminal.hpp"

namespace runmain::cli {

// Returns the exit status: kClean once all services are ready or done, kServiceFailed if one failed (the
// others go on), kTimedOut, kUsage if it never came up; then the end of its log is shown.
int start_detached(Launch launch, const Options& options, std::size_t services, Terminal& terminal);

}  // namespace runmain::cli

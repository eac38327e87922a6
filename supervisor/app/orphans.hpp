// Ending the trees of a keeper that was killed.
#pragma once

#include <cstdint>
#include <vector>

namespace runmain::app {

// SIGKILL to every process with one of these tags, until they are proved gone or 5 s have passed. Blocks.
void end_orphans(const std::vector<std::uint64_t>& tags);

}  // namespace runmain::app

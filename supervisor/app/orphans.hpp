// Ending the trees of a keeper that was killed.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace runmain::app {

// SIGKILL to every process with one of these tags, until they are proved gone or 5 s have passed. Blocks.
// `meanwhile` is called once, when all have got the first one.
void end_orphans(const std::vector<std::uint64_t>& tags, const std::function<void()>& meanwhile);

}  // namespace runmain::app

// What `runmain check-graceful` found, for a person: a line for each trial, then what is broken and how to
// mend it. From the JSON of runmain-graceful (docs/check-graceful.md).
//
// Invariant: whatever the JSON holds, it is harmless for a terminal and ends. Pure.
#pragma once

#include <string>

#include "control/protocol.hpp"

namespace runmain::cli {

// `width`: columns that sentences are wrapped at; 0: not at all.
std::string graceful_text(const control::Json& report, bool colour, std::size_t width);

}  // namespace runmain::cli

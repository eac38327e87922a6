// What `runmain doctor` found, for a person: processes, findings with both sides' stacks and how to mend
// them, and the providers as they are. From the JSON of runmain-doctor (docs/doctor.md).
//
// Invariant: whatever the JSON holds, it is harmless for a terminal and ends. Pure.
#pragma once

#include <string>

#include "control/protocol.hpp"

namespace runmain::cli {

// `width`: columns that sentences are wrapped at; 0: not at all. Paths below `folder` are shown from there
// on.
std::string doctor_text(const control::Json& report, bool colour, std::size_t width,
                        const std::string& folder);

}  // namespace runmain::cli

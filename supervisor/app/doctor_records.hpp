// What a program's probes have written to their folder, as evidence.
#pragma once

#include <string>

#include "doctor/evidence.hpp"

namespace runmain::app {

// All PID.jsonl of the folder, as far as they are regular files of at most 64 MiB; another one counts as
// lost. Does not wait for a pipe, nor follow a link.
void read_records_in(const std::string& folder, doctor::Evidence& evidence);

}  // namespace runmain::app

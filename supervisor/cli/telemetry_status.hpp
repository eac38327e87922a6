// The telemetry part of `runmain status`: what became of each generation's spans, and where they go.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include "control/protocol.hpp"

namespace runmain::cli {

// A status does not wait longer for an observer.
inline constexpr std::chrono::milliseconds kObserverPatience{500};

// {"ledgers":[…],"destinations":[…],…} as the observer at this socket says it; nothing if none answers in
// time.
std::optional<control::Json> ask_telemetry(const std::string& path);

// A line for each generation that lives and has a ledger, one for those of a service that are over, and one
// for each destination, and one for each thing that was lost and is in no ledger; "own_telemetry_lost" is the
// head's. Empty if there is none. `width` 0: no limit. Never fails: what is missing in the JSON counts as 0.
std::string telemetry_text(const control::Json& telemetry, bool colour, std::size_t width);

}  // namespace runmain::cli

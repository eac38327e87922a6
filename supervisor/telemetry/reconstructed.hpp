// A span that a dead process had not ended, from its slot in the mailbox.
#pragma once

#include <optional>
#include <string>

#include "child_runtime/mailbox.h"
#include "telemetry/mailbox_cursor.hpp"

namespace runmain::telemetry {

// The slot as an OTLP Span with status error that ends with its process: runmain.reconstructed = true, and
// process.exit.code or runmain.exit.signal where they are known. Nothing if the slot is free or nonsense,
// which `is_span` tells apart; `slot` is a copy.
std::optional<std::string> reconstructed_span(const runmain_open_slot& slot, const Ending& ending,
                                              bool& is_span);

// "SIGKILL"; "signal 99" for one without a name.
std::string signal_name(int signal);

// "exited with status 3", "was killed by SIGKILL", "is gone".
std::string to_text(const Ending& ending);

}  // namespace runmain::telemetry

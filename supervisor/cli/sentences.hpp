// Events in plain sentences: for `events` and `why`.
#pragma once

#include <string>

#include "control/protocol.hpp"

namespace runmain::cli {

// "web.1 is ready after 120 ms (probe)", without a full stop. An unknown type is shown as it is, with its
// data.
std::string sentence_of(const control::Json& event);

// One line of `events`: local time of day, sentence, newline.
std::string event_text(const control::Json& event, bool colour);

// What `why` shows from the answer to its verb: the state now, then the chain of causes, the oldest first,
// each with how long ago it was; what the same happening caused is indented below it.
std::string why_text(const control::Json& answer, bool colour);

// What `explain` shows from the answer to its verb, a line for each path and service; paths below `here` are
// shortened.
std::string explain_text(const control::Json& answer, const std::string& here);

}  // namespace runmain::cli

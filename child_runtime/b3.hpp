// B3, the headers of Zipkin (openzipkin/b3-propagation): one header, or several.
//
// Invariant: as propagation.h. Non-goals: the debug flag beyond this process, where it counts as sampled; a
// sampling decision without ids; the id of the parent.
#pragma once

#include "propagation.h"

namespace runmain::child {

// "{trace id}-{span id}-{sampled}-{parent's id}"; what is behind the span id may be missing. False: not
// valid.
bool read_b3(runmain_text value, runmain_span_context& out);

// The same in headers of their own. `sampled` and `flags` may be empty.
bool read_b3_multi(runmain_text trace_id, runmain_text span_id, runmain_text sampled, runmain_text flags,
                   runmain_span_context& out);

}  // namespace runmain::child

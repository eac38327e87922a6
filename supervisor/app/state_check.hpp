// Whether this head could go on where another one stands: asked before it takes its place
// (keeper/upgrade.hpp).
#pragma once

namespace runmain::app {

// `log` is the state log's fd. Reads it, goes through its events as a takeover does, and says what this
// program is on standard output, or on standard error why it cannot. Returns the exit status. Nothing is
// changed.
int check_state(int log);

}  // namespace runmain::app

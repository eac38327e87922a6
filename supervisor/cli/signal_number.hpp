// Names of signals. Source: signal(7), sigabbrev_np(3).
#pragma once

#include <string>
#include <vector>

namespace runmain::cli {

// "TERM", "SIGTERM", "sigterm" or "15"; 0 for what is none.
int signal_number(const std::string& text);

// "HUP", "INT", …
std::vector<std::string> signal_names();

}  // namespace runmain::cli

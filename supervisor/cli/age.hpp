// Durations for people.
#pragma once

#include <string>

namespace runmain::cli {

// The two largest units that matter: "350 ms", "4.2 s", "12 s", "2 min 5 s", "3 h 10 min", "2 d 4 h".
// Negative counts as 0.
std::string age_text(long long ms);

}  // namespace runmain::cli

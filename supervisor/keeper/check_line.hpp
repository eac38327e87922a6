// What each program of runmain says of itself when it is asked with --check whether it could take the place
// of the one that runs (upgrade.hpp).
#pragma once

#include <string>
#include <string_view>

#include "base/named_archive.hpp"
#include "keeper/board.hpp"
#include "keeper/observer_messages.hpp"
#include "keeper/protocol.hpp"

namespace runmain::keeper {

// One line: its name, then what must be the same for all that talk to each other.
inline std::string check_line(std::string_view program) {
  return std::string(program) + " " RUNMAIN_VERSION " state " + std::to_string(state_version()) +
         " protocol " + std::to_string(kProtocolVersion) + " observer " + std::to_string(kObserverVersion) +
         " board " + std::to_string(kBoardLayout) + "\n";
}

}  // namespace runmain::keeper

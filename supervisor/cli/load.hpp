// The configuration as `check` and `up` see it: good, or every fault told.
#pragma once

#include <optional>
#include <string>

#include "cli/terminal.hpp"
#include "core/spec.hpp"

namespace runmain::cli {

// On success the configuration; its warnings are on terminal.err. On failure nothing, and all faults are
// there.
std::optional<core::Desired> load_or_complain(const std::string& path, core::Mode mode, Terminal& terminal);

// "3 services", "1 service".
std::string count_of_services(std::size_t count);

}  // namespace runmain::cli

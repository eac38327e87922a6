// Where the other executables of runmain are.
#pragma once

#include <string>

#include "base/result.hpp"

namespace runmain::cli {

// The absolute path of an executable beside this one, or in ../libexec/runmain/ from there. On failure says
// where it was looked for.
Result<std::string> find_program(const std::string& name);

}  // namespace runmain::cli

// The command line to Options.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.hpp"

namespace runmain::cli {

struct Parsed {
  std::optional<int> exit;  // set: everything is said (help, a fault), end with this
  Options options;
};

// `args` without the program's name. Help goes to terminal.out; a fault is one line and a hint on
// terminal.err, exit 2.
Parsed parse(const std::vector<std::string>& args, Terminal& terminal);

// parse() and the command. What main() does.
int run(int argc, char** argv);

}  // namespace runmain::cli

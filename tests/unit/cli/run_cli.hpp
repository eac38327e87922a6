// The command line in-process: parse, run, and what was written.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "cli/parse.hpp"

namespace runmain::cli {

struct Ran {
  int exit = 0;
  std::string out;
  std::string err;
  Options options;
};

// Parses only; exit -1 if a command was chosen.
inline Ran parse_only(const std::vector<std::string>& args) {
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{out, err};
  Parsed parsed = parse(args, terminal);
  return {parsed.exit.value_or(-1), out.str(), err.str(), parsed.options};
}

// `width`: of the terminal; 0: there is none.
inline Ran run_cli(const std::vector<std::string>& args, std::size_t width = 0) {
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{out, err, false, false, width};
  Parsed parsed = parse(args, terminal);
  const int exit = parsed.exit ? *parsed.exit : parsed.options.run(parsed.options, terminal);
  return {exit, out.str(), err.str(), {}};
}

}  // namespace runmain::cli

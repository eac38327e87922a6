// Where the other executables of runmain are, and how one is run for its report.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cli/options.hpp"
#include "control/protocol.hpp"

namespace runmain::cli {

// The absolute path of an executable beside this one, or in ../libexec/runmain/ from there. On failure says
// where it was looked for.
Result<std::string> find_program(const std::string& name);

struct ProgramAnswer {
  std::string text;
  int status = 0;  // as waitpid(2) says
};

// Runs an executable and waits for its end; what it writes on standard output, at most 64 MiB, is the text.
// Standard error is ours; SIGINT, SIGTERM and SIGHUP are passed on to it. On failure it was not started, or
// wrote more.
Result<ProgramAnswer> run_program(const std::string& program, const std::vector<std::string>& args);

// A program's report, one JSON object: as it is with --json, else what `text` makes of it (columns; 0: no
// limit); then its `fault`. Returns the exit status of the program, which is that of runmain.
int show_report(const Options& options, Terminal& terminal, const std::string& program,
                const ProgramAnswer& answer,
                const std::function<std::string(const control::Json&, std::size_t width)>& text);

}  // namespace runmain::cli

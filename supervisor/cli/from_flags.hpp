// What `runmain dev` and `runmain serve` share: one command from the command line, without a file.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/options.hpp"
#include "cli/terminal.hpp"

namespace runmain::cli {

// Looks at the program, makes the configuration of options.flags, tells in a line what was chosen, and
// becomes the keeper. Returns only on failure.
int run_from_flags(const Options& options, Terminal& terminal, config::Purpose purpose);

// --listen, --port, --no-overlap, --no-runner.
void add_addresses(CLI::App* command, config::Flags& flags);
// --signal, --stop-timeout, --ready, --env-file, --name, --journal.
void add_life(CLI::App* command, Options& options);

}  // namespace runmain::cli

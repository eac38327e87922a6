// `runmain version`.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "control/protocol.hpp"

namespace runmain::cli {
namespace {

int run_version(const Options& options, Terminal& terminal) {
  if (options.json) {
    terminal.out << control::to_line(control::Json{{"version", RUNMAIN_VERSION}}) << '\n';
  } else {
    terminal.out << "runmain " << RUNMAIN_VERSION << '\n';
  }
  return kClean;
}

}  // namespace

void add_version(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "version", "Show the version", "  runmain version", run_version);
  add_json(command, options);
}

}  // namespace runmain::cli

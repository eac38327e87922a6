// `runmain status`: what runs, as a table or as JSON.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"
#include "cli/status_table.hpp"

namespace runmain::cli {
namespace {

int run_status(const Options& options, Terminal& terminal) {
  int exit = kClean;
  const auto status = question(options, terminal, "status", Json::object(), exit);
  if (!status) return exit;
  if (options.json) {
    terminal.out << status->dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    terminal.out << status_table(*status, terminal.colour, terminal.width);
  }
  return kClean;
}

}  // namespace

void add_status(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "status", "Show what runs",
                                  "  runmain status\n  runmain status --json", run_status);
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

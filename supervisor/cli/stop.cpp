// `runmain stop`: stops services until somebody starts them again.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

int run_stop(const Options& options, Terminal& terminal) {
  return service_command(options, terminal, "stopped");
}

}  // namespace

void add_stop(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "stop", "Stop services, with all their processes",
                                  "  runmain stop web\n  runmain stop --all --timeout 30s", run_stop);
  command->add_option("SERVICE", options.services, "which services")->type_name("");
  command->add_flag("-a,--all", options.all, "every service");
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli

// `runmain restart`: stops services and starts them anew.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

int run_restart(const Options& options, Terminal& terminal) {
  return service_command(options, terminal, "restarted");
}

}  // namespace

void add_restart(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "restart", "Stop services and start them again",
                                  "  runmain restart web", run_restart);
  command->add_option("SERVICE", options.services, "which services")->type_name("");
  command->add_flag("-a,--all", options.all, "every service");
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli

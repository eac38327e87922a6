// `runmain start`: starts services that are stopped, failed or done.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

int run_start(const Options& options, Terminal& terminal) {
  return service_command(options, terminal, "started");
}

}  // namespace

void add_start(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "start", "Start services and wait until they are ready",
                                  "  runmain start web db", run_start);
  command->add_option("SERVICE", options.services, "which services")->type_name("");
  command->add_flag("-a,--all", options.all, "every service");
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli

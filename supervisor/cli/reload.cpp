// `runmain reload`: a new generation of services, as if their files had changed.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

int run_reload(const Options& options, Terminal& terminal) {
  return service_command(options, terminal, "reloaded");
}

}  // namespace

void add_reload(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "reload", "Bring up a new generation, with overlap where possible",
                  "  runmain reload web", run_reload);
  command->add_option("SERVICE", options.services, "which services")->type_name("");
  command->add_flag("-a,--all", options.all, "every service");
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli

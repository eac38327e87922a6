// `runmain reload`: a new generation of services, as if their files had changed.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

int run_reload(const Options& options, Terminal& terminal) {
  return service_command(options, terminal, options.no_wait ? "reloading" : "reloaded");
}

}  // namespace

void add_reload(CLI::App& app, Options& options) {
  CLI::App* command = add_command(
      app, options, "reload", "Bring up a new generation, with overlap where possible",
      "  runmain reload web\n  runmain reload web --canary 1 --timeout 5m\n"
      "Returns when every worker has the new generation; status 1 when it failed, with the reason and "
      "the\nlast lines of the worker that failed. What it was before serves then.",
      run_reload);
  command->add_option("SERVICE", options.services, "which services")->type_name("");
  command->add_flag("-a,--all", options.all, "every service");
  command->add_option("--canary", options.canary, "so many workers first; they must be well for a while")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  auto* wait = command->add_flag("--wait", options.wait, "until it is done or has failed (default)");
  command->add_flag("--no-wait", options.no_wait, "return at once")->excludes(wait);
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli

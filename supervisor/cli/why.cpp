// `runmain why`: how a service came to be as it is.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/sentences.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

int run_why(const Options& options, Terminal& terminal) {
  int exit = kClean;
  const Json args{{"service", options.service}};
  const auto answer = question(options, terminal, "why", args, exit);
  if (!answer) return exit;
  if (options.json) {
    terminal.out << answer->dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    terminal.out << why_text(*answer, terminal.colour);
  }
  return kClean;
}

}  // namespace

void add_why(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "why", "Tell how a service came to be as it is",
                                  "  runmain why web", run_why);
  command->add_option("SERVICE", options.service, "which service")->required()->type_name("");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

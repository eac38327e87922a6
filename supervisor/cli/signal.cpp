// `runmain signal`: sends a signal to the processes of one service.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"
#include "cli/signal_number.hpp"
#include "control/suggest.hpp"

namespace runmain::cli {
namespace {

int run_signal(const Options& options, Terminal& terminal) {
  const int number = signal_number(options.signal);
  if (number == 0) {
    complain(terminal, Error{"no signal \"" + options.signal + "\"",
                             {},
                             control::did_you_mean(options.signal, signal_names())});
    return kUsage;
  }
  int exit = kClean;
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  const Json args{{"services", Json::array({options.service})}, {"signal", number}};
  return exit_of(session->ask("signal", args, control::deadline_after(kQuestionLimit), false), terminal);
}

}  // namespace

void add_signal(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "signal", "Send a signal to a service's processes",
                                  "  runmain signal web HUP\n  runmain signal web 10", run_signal);
  command->add_option("SERVICE", options.service, "which service")->required()->type_name("");
  command->add_option("SIGNAL", options.signal, "HUP, SIGHUP or 1")->required()->type_name("");
  add_place(command, options);
}

}  // namespace runmain::cli

// `runmain status`: what runs, as a table or as JSON.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"
#include "cli/status_table.hpp"
#include "cli/telemetry_status.hpp"

namespace runmain::cli {
namespace {

// For HEALTHCHECK and the like: silent when good.
int check(const Json& status, const std::vector<std::string>& wanted, Terminal& terminal) {
  const std::string fault = fault_of_status(status, wanted);
  if (fault.empty()) return kClean;
  complain(terminal, Error{fault});
  return kServiceFailed;
}

int run_status(const Options& options, Terminal& terminal) {
  if (!options.check && !options.services.empty()) {
    complain(terminal, Error{"services are named for --check only", {}, "say `runmain status --check web`"});
    return kUsage;
  }
  int exit = kClean;
  std::string runtime;
  auto status = question(options, terminal, "status", Json::object(), exit, &runtime);
  if (!status) return exit;
  if (options.check) return check(*status, options.services, terminal);
  auto telemetry = ask_telemetry(runtime + "/observer");
  if (options.json) {
    if (telemetry) (*status)["telemetry"] = *telemetry;
    terminal.out << status->dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    terminal.out << status_table(*status, terminal.colour, terminal.width);
    if (!telemetry) return kClean;
    if (status->contains("own_telemetry_lost"))
      (*telemetry)["own_telemetry_lost"] = (*status)["own_telemetry_lost"];
    terminal.out << telemetry_text(*telemetry, terminal.colour, terminal.width);
  }
  return kClean;
}

}  // namespace

void add_status(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "status", "Show what runs",
                  "  runmain status\n  runmain status --json\n  runmain status --check", run_status);
  command->add_flag("--check", options.check,
                    "exit 0 and nothing said: every service serves with all its workers; else 1 and why");
  command->add_option("SERVICE", options.services, "--check: these (default: all that are not stopped)")
      ->type_name("");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

// `runmain check`: every fault of a configuration, nothing started.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/load.hpp"
#include "os/linux/cpus.hpp"

namespace runmain::cli {
namespace {

int run_check(const Options& options, Terminal& terminal) {
  const auto desired = load_or_complain(options.file, core::Mode::dev, terminal);
  if (!desired) return kUsage;
  terminal.out << "ok: " << count_of_services(desired->services.size()) << '\n';
  for (const core::ServiceSpec& service : desired->services) {
    if (service.workers_auto)
      terminal.out << service.name << ": workers = \"auto\", " << os::usable_cpus() << " here\n";
  }
  return kClean;
}

}  // namespace

void add_check(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "check", "Check a configuration and tell all its faults",
                                  "  runmain check\n  runmain check other.toml", run_check);
  command->add_option("FILE,-c,--config", options.file, "the configuration (default: supervisor.toml here)")
      ->type_name("");
}

}  // namespace runmain::cli

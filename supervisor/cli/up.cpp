// `runmain up`: checks the configuration, then becomes the keeper (foreground) or starts one (-d).
#include <algorithm>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/detach.hpp"
#include "cli/launch.hpp"
#include "cli/load.hpp"
#include "control/suggest.hpp"

namespace runmain::cli {
namespace {

bool all_known(const core::Desired& desired, const std::vector<std::string>& services, Terminal& terminal) {
  std::vector<std::string> names;
  for (const auto& service : desired.services) names.push_back(service.name);
  for (const std::string& wanted : services) {
    if (std::find(names.begin(), names.end(), wanted) != names.end()) continue;
    complain(terminal,
             Error{"no service \"" + wanted + "\"", desired.file, control::did_you_mean(wanted, names)});
    return false;
  }
  return true;
}

int run_up(const Options& options, Terminal& terminal) {
  const auto mode = options.detach ? core::Mode::prod : core::Mode::dev;
  const auto desired = load_or_complain(options.file, mode, terminal);
  if (!desired || !all_known(*desired, options.services, terminal)) return kUsage;
  auto launch = prepare_launch(options, desired->mode);
  if (!launch.ok()) {
    complain(terminal, launch.error());
    return kUsage;
  }
  const std::size_t count = options.services.empty() ? desired->services.size() : options.services.size();
  if (options.detach) return start_detached(std::move(*launch), options, count, terminal);
  terminal.out.flush();
  complain(terminal, become_keeper(*launch));
  return kUsage;
}

}  // namespace

void add_up(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "up", "Start the services and keep them running",
                                  "  runmain up\n  runmain up -d -c prod.toml\n  runmain up web db", run_up);
  command->add_option("SERVICE", options.services, "only these, with what they depend on")->type_name("");
  command->add_flag("-d,--detach", options.detach, "in the background; returns once all are ready");
  command->add_option("--journal", options.journal, "record every event, for `runmain replay`")
      ->type_name("FILE");
  add_timeout(command, options, "with -d: give up waiting after this (default: 5m)");
  add_place(command, options);
}

}  // namespace runmain::cli

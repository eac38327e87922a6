// `runmain events`: what happens, one event a line.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/sentences.hpp"
#include "cli/stream.hpp"

namespace runmain::cli {
namespace {

int run_events(const Options& options, Terminal& terminal) {
  const Json args{{"follow", options.follow}};
  const auto show = [&](const Json& item) { return event_text(item, terminal.colour); };
  return run_stream(options, terminal, {"events", args, show, [&] { return args; }});
}

}  // namespace

void add_events(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "events", "Show what happens",
                                  "  runmain events -f\n  runmain events --json", run_events);
  command->add_flag("-f,--follow", options.follow, "go on with what comes");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

// `runmain logs`: what services printed.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/log_resume.hpp"
#include "cli/log_text.hpp"
#include "cli/stream.hpp"

namespace runmain::cli {
namespace {

int run_logs(const Options& options, Terminal& terminal) {
  const Json args{{"services", options.services}, {"follow", options.follow}, {"lines", options.lines}};
  LogResume resume;
  const auto show = [&](const Json& item) {
    return resume.is_new(item) ? log_text(item, terminal.colour) : std::string();
  };
  const auto again = [&] {
    Json next = args;
    next["lines"] = control::kLinesMax;
    next["since"] = resume.since();
    return next;
  };
  return run_stream(options, terminal, {"logs", args, show, again});
}

}  // namespace

void add_logs(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "logs", "Show what services print",
                                  "  runmain logs -f\n  runmain logs -n 20 web", run_logs);
  command->add_option("SERVICE", options.services, "only these services")->type_name("");
  command->add_flag("-f,--follow", options.follow, "go on with what comes");
  command->add_option("-n,--lines", options.lines, "lines from before (default: 100)")
      ->check(CLI::Range(std::size_t{0}, control::kLinesMax))
      ->type_name("N");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

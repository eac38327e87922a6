// `runmain check-graceful`: whether a program keeps the contract under load and reloads; runmain-graceful
// looks.
#include <filesystem>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/graceful_text.hpp"
#include "cli/programs.hpp"

namespace runmain::cli {
namespace {

// Of runmain-graceful. False: one of them is none.
bool arguments_of(const Options& options, std::vector<std::string>& args, Terminal& terminal) {
  const config::Flags& flags = options.flags;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) args.insert(args.end(), {name, value});
  };
  std::error_code failed;
  add("--runmain", std::filesystem::read_symlink("/proc/self/exe", failed).string());
  add("--workers", flags.workers);
  if (!flags.listen.empty()) add("--listen", flags.listen.front());
  add("--request", options.request);
  add("--slow", options.slow);
  if (options.reloads > 0) add("--reloads", std::to_string(options.reloads));
  add("--health", flags.health);
  add("--ready", flags.ready);
  add("--signal", flags.signal);
  for (const std::string& file : flags.env_file) add("--env-file", file);
  if (double seconds = 0; !flags.stop_timeout.empty()) {
    if (!read_seconds(flags.stop_timeout, seconds)) {
      complain(terminal,
               Error{"--stop-timeout: \"" + flags.stop_timeout + "\" is not a time such as 500ms or 10s"});
      return false;
    }
    add("--stop-timeout-ms", std::to_string(static_cast<long long>(seconds * 1000)));
  }
  if (options.timeout_s > 0)
    add("--timeout-ms", std::to_string(static_cast<long long>(options.timeout_s * 1000)));
  args.emplace_back("--");
  args.insert(args.end(), flags.command.begin(), flags.command.end());
  return true;
}

int run_check_graceful(const Options& options, Terminal& terminal) {
  const auto& command = options.flags.command;
  const auto is_path = [](const std::string& text) { return text.empty() || text.starts_with("/"); };
  if (command.empty() || !is_path(options.request) || !is_path(options.slow)) {
    complain(terminal,
             Error{command.empty() ? "check what?" : "a path begins with /",
                   {},
                   "runmain check-graceful [--request /path] -- COMMAND, as behind `runmain serve`"});
    return kUsage;
  }
  const auto program = find_program("runmain-graceful");
  std::vector<std::string> args;
  if (!program) {
    complain(terminal, program.error());
    return kServiceFailed;
  }
  if (!arguments_of(options, args, terminal)) return kUsage;
  const auto answer = run_program(*program, args);
  if (!answer) {
    complain(terminal, answer.error());
    return kServiceFailed;
  }
  return show_report(options, terminal, "runmain-graceful", *answer,
                     [&](const control::Json& report, std::size_t width) {
                       return graceful_text(report, terminal.colour, width);
                     });
}

}  // namespace

void add_check_graceful(CLI::App& app, Options& options) {
  CLI::App* command = add_command(
      app, options, "check-graceful", "Say which part of the contract a program breaks when it is replaced",
      "  runmain check-graceful -- ./server --fd {fd}\n"
      "  runmain check-graceful --request /users --slow /report -- gunicorn app:app\n"
      "Runs the command as workers of a private `runmain serve`, sends requests over new and kept,\n"
      "silent and slow connections while it is reloaded, ends it, and says what was lost by whose\n"
      "fault, and how to mend it. Takes about half a minute.\n"
      "Exit status: 0 all is kept, 1 something is broken, 2 usage, 4 it never served.",
      run_check_graceful);
  config::Flags& flags = options.flags;
  command->add_option("--workers", flags.workers, "processes that serve (default: 2)")->type_name("N");
  command->add_option("--listen", flags.listen, "the socket that it is given (default: 127.0.0.1:0)")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  command->add_option("--request", options.request, "what is asked for (default: /)")->type_name("PATH");
  command->add_option("--slow", options.slow, "a path that takes a second or more: in flight at a drain")
      ->type_name("PATH");
  command->add_option("--reloads", options.reloads, "so many under load (default: 3)")
      ->type_name("N")
      ->check(CLI::Range(1, 100));
  command->add_option("--health", flags.health, "as for serve: /path or tcp")->type_name("HOW");
  command->add_option("--ready", flags.ready, "as for serve")->type_name("HOW");
  command->add_option("--signal", flags.signal, "to stop it (default: TERM)")->type_name("SIGNAL");
  command->add_option("--stop-timeout", flags.stop_timeout, "a worker has to be gone by then (default: 10s)")
      ->type_name("TIME");
  command->add_option("--env-file", flags.env_file, "read variables from it at each start")
      ->type_name("FILE")
      ->allow_extra_args(false);
  add_timeout(command, options, "so long until it serves (default: 30s)");
  add_json(command, options);
}

}  // namespace runmain::cli

// `runmain doctor`: runs a program to look at it, or looks at a living service; runmain-doctor does it.
#include <unistd.h>

#include <climits>
#include <optional>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/doctor_text.hpp"
#include "cli/programs.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

// What could not be looked at has no report but its fault.
std::string text_of_report(const control::Json& report, bool colour, std::size_t width) {
  const auto findings = report.find("findings");
  const bool has_findings = findings != report.end() && !findings->empty();
  if (report.contains("fault") && !has_findings) return {};
  char folder[PATH_MAX];
  return doctor_text(report, colour, width, getcwd(folder, sizeof folder) != nullptr ? folder : "");
}

// Arguments of runmain-doctor for a living service. Nothing: `exit` says why.
std::optional<std::vector<std::string>> of_service(const Options& options, Terminal& terminal, int& exit) {
  const auto session = Session::open(options, terminal, exit);
  if (!session) return std::nullopt;
  return std::vector<std::string>{"--service",        options.service, "--runtime",
                                  session->runtime(), "--probe",       options.probe ? "yes" : "no"};
}

std::vector<std::string> of_command(const Options& options) {
  std::vector<std::string> args;
  if (options.timeout_s > 0) {
    args.emplace_back("--timeout-ms");
    args.push_back(std::to_string(static_cast<long long>(options.timeout_s * 1000)));
  }
  return args;
}

int run_doctor(const Options& options, Terminal& terminal) {
  const auto& command = options.flags.command;
  if (command.empty() == options.service.empty()) {
    complain(terminal,
             Error{command.empty() ? "doctor of what?" : "either a service or a command",
                   {},
                   "runmain doctor -- COMMAND, as you start it without runmain; or runmain doctor SERVICE"});
    return kUsage;
  }
  if (!command.empty() && command.front().substr(command.front().rfind('/') + 1) == "runmain") {
    complain(terminal,
             Error{"the doctor looks at a program as it is without runmain",
                   {},
                   "give it the program's own command; of a service that runs here: runmain doctor SERVICE"});
    return kUsage;
  }
  if (!options.request.empty() && options.request[0] != '/' &&
      options.request.find("://") == std::string::npos) {
    complain(terminal, Error{"--request " + options.request + " is neither a path nor a URL",
                             {},
                             "--request /users, or http://127.0.0.1:5000/users"});
    return kUsage;
  }
  const auto program = find_program("runmain-doctor");
  if (!program) {
    complain(terminal, program.error());
    return kServiceFailed;
  }
  int exit = kClean;
  auto args = command.empty() ? of_service(options, terminal, exit) : of_command(options);
  if (!args) return exit;
  if (!options.request.empty()) args->insert(args->end(), {"--request", options.request});
  if (!command.empty()) {
    args->emplace_back("--");
    args->insert(args->end(), command.begin(), command.end());
  }
  const auto answer = run_program(*program, *args);
  if (!answer) {
    complain(terminal, answer.error());
    return kServiceFailed;
  }
  return show_report(options, terminal, "runmain-doctor", *answer,
                     [&](const control::Json& report, std::size_t width) {
                       return text_of_report(report, terminal.colour, width);
                     });
}

}  // namespace

void add_doctor(CLI::App& app, Options& options) {
  CLI::App* command = add_command(
      app, options, "doctor", "Say why there are two spans of a request, or none",
      "  runmain doctor -- flask --app app run --debug\n"
      "  runmain doctor --request /users -- opentelemetry-instrument uvicorn main:app --reload\n"
      "  runmain doctor web\n"
      "  runmain doctor --probe web\n"
      "Runs the command as it is, sends requests to it, stops it, and says which process starts\n"
      "telemetry where, what is wrong with that, and how to mend it. Its spans go to the doctor only.\n"
      "Of a service that runs here: looks at its processes and at its spans, and restarts nothing but with "
      "--probe.\n"
      "Exit status: 0 nothing found, 1 something found, 2 usage, 4 it never answered.",
      run_doctor);
  command
      ->add_option("--request", options.request,
                   "what is asked for: /path, or a URL with the port (default: /)")
      ->type_name("PATH|URL");
  add_timeout(command, options, "so long until it answers (default: 30s)");
  command->add_option("service", options.service, "a service that runs here, instead of a command")
      ->type_name("SERVICE");
  command->add_flag("--probe", options.probe,
                    "of a service: reload it with probes in it, and once more without");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

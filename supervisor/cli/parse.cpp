#include "cli/parse.hpp"

#include <algorithm>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "control/suggest.hpp"

namespace runmain::cli {
namespace {

constexpr std::size_t kHelpColumn = 26;

void add_all(CLI::App& app, Options& options) {
  add_up(app, options);
  add_dev(app, options);
  add_serve(app, options);
  add_down(app, options);
  add_status(app, options);
  add_start(app, options);
  add_stop(app, options);
  add_restart(app, options);
  add_reload(app, options);
  add_scale(app, options);
  add_signal(app, options);
  add_upgrade(app, options);
  add_logs(app, options);
  add_events(app, options);
  add_traces(app, options);
  add_why(app, options);
  add_explain(app, options);
  add_check(app, options);
  add_check_graceful(app, options);
  add_doctor(app, options);
  add_replay(app, options);
  add_version(app, options);
}

const CLI::App& chosen(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::string help_hint(const CLI::App& app) {
  const CLI::App& command = chosen(app);
  return "see `runmain " + (&command == &app ? std::string() : command.get_name() + " ") + "--help`";
}

std::string hint_or_help(const CLI::App& app, const std::string& word,
                         const std::vector<std::string>& known) {
  const std::string near = control::nearest(word, known);
  return near.empty() ? help_hint(app) : "did you mean \"" + near + "\"?";
}

bool takes_command(const std::string& name) {
  return name == "dev" || name == "serve" || name == "doctor" || name == "check-graceful";
}

Error unexpected(const CLI::App& app, const std::string& word) {
  const CLI::App& command = chosen(app);
  if (word.starts_with("-")) {
    const std::string name = word.substr(0, word.find('='));
    return Error{"unknown option \"" + name + "\"", {}, hint_or_help(app, name, option_names(command))};
  }
  if (&command == &app)
    return Error{"unknown command \"" + word + "\"", {}, hint_or_help(app, word, command_names(app))};
  if (takes_command(command.get_name()))
    return Error{"\"" + word + "\" has no flag in front",
                 {},
                 "the command stands behind --: runmain " + command.get_name() + " -- ./server"};
  return Error{"\"" + word + "\" is one argument too many for " + command.get_name(), {}, help_hint(app)};
}

Error fault_of(const CLI::App& app, const CLI::ParseError& error) {
  const auto extras = app.remaining(true);
  if (!extras.empty()) return unexpected(app, extras.front());
  std::string message = error.what();
  constexpr std::string_view kOverride = " was given a disallowed flag override";
  if (message.ends_with(kOverride))
    message = "--" + message.substr(0, message.size() - kOverride.size()) + " takes no value";
  std::replace(message.begin(), message.end(), '\n', ' ');
  return Error{message, {}, help_hint(app)};
}

// The place of `dev`, `serve`, `doctor` or `check-graceful` in the arguments, their number if another command
// is meant.
std::size_t program_at(const std::vector<std::string>& args) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& word = args[i];
    if (word == "-c" || word == "--config" || word == "--runtime-dir" || word == "--state-dir") {
      ++i;
    } else if (!word.starts_with("-")) {
      return takes_command(word) ? i : args.size();
    }
  }
  return args.size();
}

// What stands behind their `--` is another program's: CLI11 does not get to see it.
std::vector<std::string> cut_command(std::vector<std::string>& args) {
  const auto from = args.begin() + static_cast<std::ptrdiff_t>(program_at(args));
  const auto mark = std::find(from, args.end(), "--");
  if (mark == args.end()) return {};
  std::vector<std::string> command(mark + 1, args.end());
  args.erase(mark, args.end());
  return command;
}

// "--poll=3" is not "--poll", and a value that is empty is most likely a variable that is.
void refuse_odd_values(CLI::App& app) {
  const CLI::Validator not_empty(
      [](std::string& value) { return value.empty() ? std::string("its value is empty") : std::string(); },
      "");
  for (CLI::App* command : app.get_subcommands({})) {
    for (CLI::Option* option : command->get_options({})) {
      if (option->get_items_expected_max() == 0) {
        option->disable_flag_override();
      } else {
        option->check(not_empty);
      }
    }
  }
}

// CLI11's default would say "OPTIONS:" and print the sub-commands' groups twice.
void set_up(CLI::App& app, Options& options) {
  app.name("runmain");
  app.description("runmain: restarts anything and loses nothing.");
  app.footer(
      "Start with `runmain dev -- COMMAND` or `runmain serve -- COMMAND`, or with `runmain check` and "
      "`runmain up`. Each command has its "
      "own --help.\n"
      "Exit status: 0 clean, 1 a service failed, 2 usage or configuration, 3 nothing runs here, 4 timed "
      "out.");
  app.get_formatter()->column_width(kHelpColumn);
  app.require_subcommand(0, 1);
  add_place(&app, options);
  add_all(app, options);
  refuse_odd_values(app);
}

}  // namespace

Parsed parse(const std::vector<std::string>& given, Terminal& terminal) {
  Parsed parsed;
  std::vector<std::string> args = given;
  parsed.options.flags.command = cut_command(args);
  CLI::App app;
  bool version = false;
  set_up(app, parsed.options);
  app.add_flag("-V,--version", version, "the version of runmain");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::CallForHelp&) {
    const bool all = &chosen(app) == &app;
    terminal.out << chosen(app).help(all ? "" : "runmain");
    parsed.exit = kClean;
    return parsed;
  } catch (const CLI::ParseError& error) {
    complain(terminal, fault_of(app, error));
    parsed.exit = kUsage;
    return parsed;
  }
  if (version) {
    terminal.out << "runmain " << RUNMAIN_VERSION << '\n';
    parsed.exit = kClean;
  } else if (!parsed.options.run) {
    terminal.err << app.help();
    parsed.exit = kUsage;
  }
  return parsed;
}

int run(int argc, char** argv) {
  Terminal terminal = Terminal::of_process();
  Parsed parsed = parse(std::vector<std::string>(argv + std::min(argc, 1), argv + argc), terminal);
  const int status = parsed.exit ? *parsed.exit : parsed.options.run(parsed.options, terminal);
  terminal.out.flush();
  return status;
}

}  // namespace runmain::cli

// `runmain explain`: would a change of this path reload somebody, and which rule says so. The running
// instance is asked; where nothing runs, the configuration says what one would do.
#include <filesystem>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/load.hpp"
#include "cli/sentences.hpp"
#include "cli/session.hpp"
#include "drive/watch_explain.hpp"

namespace runmain::cli {
namespace {

// As a person gave it, but absolute; a slash at its end stays.
std::string absolute(const std::string& path) {
  std::error_code failed;
  const auto full = std::filesystem::absolute(path, failed);
  return failed ? path : full.string();
}

Json ask_configuration(const core::Desired& desired, const std::vector<std::string>& paths) {
  Json answers = Json::array();
  for (const std::string& path : paths) {
    Json services = Json::array();
    for (const core::ServiceSpec& spec : desired.services) {
      Json said{{"service", spec.name}};
      said.update(drive::to_json(spec.watch ? drive::explain(*spec.watch, path) : drive::Explanation{}));
      services.push_back(std::move(said));
    }
    answers.push_back({{"path", path}, {"services", std::move(services)}});
  }
  return {{"paths", std::move(answers)}};
}

std::optional<Json> ask(const Options& options, Terminal& terminal, int& exit) {
  std::vector<std::string> paths;
  for (const std::string& path : options.paths) paths.push_back(absolute(path));
  if (auto session = Session::find(options)) {
    const auto answer =
        session->ask("explain", {{"paths", paths}}, control::deadline_after(kQuestionLimit), true);
    exit = exit_of(answer, terminal);
    return exit == kClean ? std::optional(answer->value) : std::nullopt;
  }
  const auto desired = load_or_complain(options.file, core::Mode::dev, terminal);
  if (!desired) {
    exit = kUsage;
    return std::nullopt;
  }
  return ask_configuration(*desired, paths);
}

int run_explain(const Options& options, Terminal& terminal) {
  int exit = kClean;
  const auto answer = ask(options, terminal, exit);
  if (!answer) return exit;
  std::error_code failed;
  const std::string here = std::filesystem::current_path(failed).string();
  if (options.json) {
    terminal.out << answer->dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    terminal.out << explain_text(*answer, here);
  }
  bool any = false;
  for (const Json& path : answer->value("paths", Json::array())) {
    for (const Json& said : path.value("services", Json::array())) any = any || said.value("reloads", false);
  }
  return any ? kClean : kServiceFailed;
}

}  // namespace

void add_explain(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "explain",
                                  "Tell whom a change of a path would reload, and which rule says so",
                                  "  runmain explain src/main.py\n  runmain explain build/ notes.md\n"
                                  "Exit status 1: nobody is reloaded.",
                                  run_explain);
  command->add_option("PATH", options.paths, "files or folders, which need not exist")
      ->required()
      ->type_name("");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli

// What a runner is called, and the line that is told of it.
#include <algorithm>

#include "config/runner_table.hpp"
#include "config/runner_watchers.hpp"
#include "config/runner_words.hpp"
#include "config/runners.hpp"
#include "config/service_reader.hpp"

namespace runmain::config {

namespace {

constexpr std::string_view kInterpreters = "sh bash dash zsh ruby perl lua php Rscript";

// The script of an interpreter that the table does not know, as in `sh -x ./serve.sh`; empty for `sh -c`.
std::string interpreted(const Argv& argv, const Program& program) {
  for (std::size_t i = program.at + 1; i < argv.size(); ++i) {
    if (argv[i].size() > 1 && argv[i][0] == '-' && argv[i].find_first_of("ce") != std::string::npos)
      return {};
    if (argv[i].empty() || argv[i][0] != '-') return base_name(argv[i]);
  }
  return {};
}

// What a person would call it, before it is made a good name.
std::string plain_name(const Argv& given) {
  const Argv argv = watched_words(given);
  if (std::string script = package_script_of(argv); !script.empty()) return script;
  const auto program = find_program_word(argv);
  if (!program) return {};
  const Row* row = row_of(argv, *program);
  std::string script;
  if (row == nullptr && has_word(kInterpreters, program->name)) script = interpreted(argv, *program);
  if (row != nullptr && row->own_words) {
    Argv own = argv;
    drop_flags(own, program->at + 1, end_of_own_words(own, program->at + 1), row->drop);
    const std::size_t end = end_of_own_words(own, program->at + 1);
    const bool there = end > program->at + 1 && !own[end - 1].empty() && own[end - 1][0] != '-';
    if (there && row->name != "php") script = base_name(own[end - 1]);
  }
  if (!script.empty()) return script;
  return row != nullptr ? std::string(row->name) : program->name;
}

}  // namespace

std::string name_of_command(const Argv& argv) {
  std::string name = plain_name(argv);
  for (const std::string_view extension : {".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".php", ".sh"}) {
    if (name.size() > extension.size() &&
        std::string_view(name).substr(name.size() - extension.size()) == extension)
      name.resize(name.size() - extension.size());
  }
  for (char& c : name) {
    if (!is_name(std::string("a") + c)) c = '-';
  }
  name.erase(0, std::min(name.find_first_not_of(".-"), name.size()));
  name.resize(std::min(name.size(), kNameMax));
  return name.empty() ? "program" : name;
}

std::string describe(const Runner& runner, const Described& chosen) {
  const std::string who = runner.name.empty() ? chosen.service : runner.name;
  const auto& [service, listen, port, watched] = chosen;
  std::string text;
  if (!listen.empty()) {
    text = listen.size() == 1 ? "socket " : "sockets ";
    for (std::size_t i = 0; i < listen.size(); ++i) text += (i == 0 ? "" : ", ") + listen[i];
    text += (listen.size() == 1 ? " is ours (" : " are ours (") +
            (runner.how.empty() ? "LISTEN_FDS" : runner.how) + ")";
  } else if (port) {
    text = (*port == 0 ? "binds a port by itself" : "binds port " + std::to_string(*port) + " by itself");
    text += ", refused while it restarts";
  } else if (!runner.name.empty() && runner.binds) {
    text = "binds by itself, refused while it restarts";
  } else {
    text = watched ? "restarted at each change" : "has no socket of ours";
  }
  if (watched && !runner.include.empty()) {
    text = port ? "binds port " + std::to_string(*port) + " and takes changes by itself"
                : "takes changes by itself";
    text += ", restarted for";
    for (const std::string& glob : runner.include) text += " " + glob;
  }
  return who + ": " + text + (runner.promise.empty() ? "" : ", " + runner.promise);
}

}  // namespace runmain::config

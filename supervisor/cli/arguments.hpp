// Arguments that several commands share. Included by the commands' .cpp files only, for CLI11 is large.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/options.hpp"

namespace runmain::cli {

// A command with its examples ("  runmain up -d\n  …"); chosen, it sets options.command and options.run.
inline CLI::App* add_command(CLI::App& app, Options& options, const std::string& name,
                             const std::string& about, const std::string& examples,
                             int (*run)(const Options&, Terminal&)) {
  CLI::App* command = app.add_subcommand(name, about);
  command->footer("Examples:\n" + examples);
  command->callback([&options, name, run] {
    options.command = name;
    options.run = run;
  });
  return command;
}

inline void add_folders(CLI::App* command, Options& options) {
  command->add_option("--runtime-dir", options.runtime_dir, "folder of sockets and lock")->type_name("DIR");
  command->add_option("--state-dir", options.state_dir, "folder of logs and spill")->type_name("DIR");
}

// -c, --runtime-dir, --state-dir: which runmain is meant.
inline void add_place(CLI::App* command, Options& options) {
  command->add_option("-c,--config", options.file, "the configuration (default: supervisor.toml here)")
      ->each([&options](const std::string&) { options.file_given = true; })
      ->type_name("FILE");
  add_folders(command, options);
}

inline void add_json(CLI::App* command, Options& options) {
  command->add_flag("--json", options.json, "for programs: JSON");
}

inline void add_timeout(CLI::App* command, Options& options, const std::string& about) {
  const auto set = [&options](const std::string& text) {
    if (!read_seconds(text, options.timeout_s))
      throw CLI::ValidationError("--timeout", "\"" + text + "\" is not a time such as 500ms, 10s or 5m");
  };
  command->add_option_function<std::string>("--timeout", set, about)->type_name("TIME");
}

}  // namespace runmain::cli

// The commands: each adds its arguments to the parser and sets Options::run when it is chosen.
// Every run function returns the exit status and writes nothing but to the Terminal it is given.
#pragma once

#include "cli/options.hpp"

namespace CLI {
class App;
}

namespace runmain::cli {

void add_up(CLI::App& app, Options& options);
void add_dev(CLI::App& app, Options& options);
void add_serve(CLI::App& app, Options& options);
void add_down(CLI::App& app, Options& options);
void add_status(CLI::App& app, Options& options);
void add_start(CLI::App& app, Options& options);
void add_stop(CLI::App& app, Options& options);
void add_restart(CLI::App& app, Options& options);
void add_reload(CLI::App& app, Options& options);
void add_scale(CLI::App& app, Options& options);
void add_upgrade(CLI::App& app, Options& options);
void add_signal(CLI::App& app, Options& options);
void add_logs(CLI::App& app, Options& options);
void add_events(CLI::App& app, Options& options);
void add_traces(CLI::App& app, Options& options);
void add_why(CLI::App& app, Options& options);
void add_explain(CLI::App& app, Options& options);
void add_check(CLI::App& app, Options& options);
void add_check_graceful(CLI::App& app, Options& options);
void add_doctor(CLI::App& app, Options& options);
void add_replay(CLI::App& app, Options& options);
void add_version(CLI::App& app, Options& options);

}  // namespace runmain::cli

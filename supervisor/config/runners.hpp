// What is known of programs that serve: where they listen, how they take a socket that is open already, and
// how their own reloader is turned off. Pure: argv and facts in, a choice out.
//
// Invariant: a program that is not known keeps its argv as it is. What a row says was seen with a real
// program, or the row says that it was not. Non-goal: reading files; the caller brings the facts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runmain::config {

using Variables = std::vector<std::pair<std::string, std::string>>;

// What cannot be seen in argv.
struct RunnerFacts {
  Variables env;                         // of this process; only some are looked at
  std::string script;                    // text of script_of(argv), or empty
  std::string program;                   // where console_script_of(argv) was found
  std::vector<std::string> interpreter;  // that runs it; empty: not known
  bool has_nodemon_file = false;         // nodemon.json or its like says what nodemon does
  bool is_shim = false;  // `program` only finds the script, as pyenv's do; `interpreter` is a shim beside it
  std::string settings;  // text of settings_of(argv), or empty
  std::string package_script;  // the line of package_script_of(argv) in package.json, or empty
};

// What the user said about addresses.
struct RunnerAsked {
  bool listen = false;                // --listen
  bool adopt = false;                 // --adopt: it binds by itself, and gets the socket for it
  std::optional<std::uint16_t> port;  // --port; 0: "auto"
};

struct Runner {
  std::string name;                   // "uvicorn"; empty: not known
  std::vector<std::string> argv;      // what to execute, with {fd} or {port}
  Variables env;                      // for it
  bool takes_socket = false;          // it serves on a socket that it is given
  std::string listen;                 // the address that it would bind: to be held for it; empty: none
  std::optional<std::uint16_t> port;  // it binds this by itself; 0: "auto"
  std::vector<std::string> ignore;    // what it writes itself
  std::vector<std::string> include;   // it sees changes by itself; only these need a restart
  std::string how;                    // "--fd 3"
  std::string own_workers;            // "--workers 4": it makes several processes of itself
  bool binds = true;                  // false: it serves on no socket
  bool stop_main = false;             // the signal to stop is for its main process only
  std::string promise;                // the rest of the line that is told
};

// The file whose text tells what argv alone does not (python app.py), or empty.
std::string script_of(const std::vector<std::string>& argv);
// The word that names a console script which is better run by its interpreter, or empty.
std::string console_script_of(const std::vector<std::string>& argv);
// The Python that the first lines of a script name, with its flags; empty: another program's, or none.
std::vector<std::string> interpreter_of(std::string_view text);
// The file of settings that gunicorn would read (gunicorn.conf.py, or what -c says); empty: none.
std::string settings_of(const std::vector<std::string>& argv);
// The name of the script that npm, pnpm or yarn would run, or empty.
std::string package_script_of(const std::vector<std::string>& argv);

// Any argv, also an empty one.
Runner choose_runner(const std::vector<std::string>& argv, const RunnerFacts& facts,
                     const RunnerAsked& asked);

// "flask", "server" for ./server.py; a good service name, whatever the command is.
std::string name_of_command(const std::vector<std::string>& argv);

// What is chosen beside the runner, for describe().
struct Described {
  std::string service;
  std::vector<std::string> listen;    // the addresses that are held
  std::optional<std::uint16_t> port;  // the one that the program binds by itself
  bool watched = true;                // `dev`: it is restarted at a change
};

// One line for a person, such as "uvicorn: socket 127.0.0.1:8000 is ours (--fd 3), its own --reload is off".
std::string describe(const Runner& runner, const Described& chosen);

}  // namespace runmain::config

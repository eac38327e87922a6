// The table of runners: one row a program. Lists of flags are words between blanks.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "config/runner_words.hpp"

namespace runmain::config {

// How it takes a socket that is open already.
enum class Way : std::uint8_t {
  own,         // not at all: it binds by itself
  fd_flag,     // --fd N
  bind_fd,     // --bind fd://N
  uwsgi,       // --http-socket fd://N, or --socket, whichever it was told
  werkzeug,    // WERKZEUG_SERVER_FD, read where WERKZEUG_RUN_MAIN is "true"
  listen_fds,  // LISTEN_FDS and LISTEN_PID, sd_listen_fds(3)
  launcher,    // not by itself, but by its launcher
};

// The lines that run it (runner_launch.hpp).
enum class Launcher : std::uint8_t { none, werkzeug, uvicorn, uvicorn_socket };

struct Row {
  std::string_view name;
  std::string_view sub{};  // words one of which must follow the program, such as "run"
  Way way = Way::own;
  Launcher launcher = Launcher::none;
  std::string_view host{};  // where it listens if nothing else is said
  std::uint16_t port = 0;   // 0: that cannot be known
  std::string_view host_flags{};
  std::string_view port_flags{};
  std::string_view bind_flags{};  // HOST:PORT in one
  std::string_view host_env{};
  std::string_view port_env{};
  std::string_view drop{};          // turn its own reloader on; taken out
  std::string_view drop_valued{};   // the same with a value
  std::string_view worker_flags{};  // how many processes it makes of itself
  std::string_view worker_env{};
  std::string_view add{};                  // turns it off; appended
  std::string_view env{};                  // "NAME=value" between blanks
  std::string_view off{};                  // its reloader as a person knows it: "its own OFF is off"
  std::string_view note{};                 // what else is promised where it binds by itself
  std::vector<std::string_view> always{};  // appended: without them it could not be stopped well
  bool binds = true;                       // it serves on a socket at all
  bool stop_main = false;                  // a signal to all its processes would cut what they are at
  bool own_words = false;                  // its flags end at its first other word, the rest is the script's
  std::string_view ignore{};               // what it writes itself, globs as in .gitignore
  std::string_view include{};  // only a change of these needs a restart: the rest it sees by itself
};

// In the order of matching.
const std::vector<Row>& runner_rows();
// The row of this program, nullptr if there is none.
const Row* row_of(const Argv& argv, const Program& program);

}  // namespace runmain::config

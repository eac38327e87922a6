// The flags of `runmain dev` to a core::Desired with one service, or every fault of them at once.
//
// Invariant: what comes out keeps what core/spec.hpp promises, by the same value parsers as the file's. Each
// fault names its flag and, where there is something to do, a hint. Non-goal: looking at programs;
// runners.hpp.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "config/runners.hpp"
#include "core/spec.hpp"

namespace runmain::config {

// As they were written; empty: not given.
struct DevOptions {
  std::string folder;  // absolute: the current one
  std::vector<std::string> command;
  std::vector<std::string> watch;   // --watch PATH
  std::vector<std::string> ignore;  // --ignore GLOB
  std::string ext;                  // --ext "py,html"
  std::vector<std::string> listen;  // --listen ADDRESS
  std::string port;                 // --port N, or "auto"
  std::string workers;
  std::string build;  // --build CMD, words without a shell
  std::string settle;
  std::string signal;
  std::string stop_timeout;
  std::string ready;  // http:/path, tcp, tcp:ADDRESS, notify, after:T
  std::vector<std::string> env_file;
  std::string on_change;  // restart, queue, ignore, or a signal
  std::string name;
  bool no_overlap = false;
  bool poll = false;
  bool clear = false;
  bool exit_on_error = false;
  bool no_runner = false;
  bool browser = false;
  bool terminal = false;  // stdin and stdout are one
};

struct Dev {
  core::Desired desired;
  std::string line;  // what was chosen, for a person
};

using DevOutcome = std::variant<Dev, std::vector<Error>>;

// What --listen and --port say, for choose_runner(); a port that is none is told by make_dev().
RunnerAsked asked_of(const DevOptions& options);

// Looks at folders and env files. Any thread.
DevOutcome make_dev(const DevOptions& options, const Runner& runner);

}  // namespace runmain::config

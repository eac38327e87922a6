// The flags of `runmain dev` and `runmain serve` to a core::Desired with one service, or every fault of them
// at once. One reader of flags; what stands where a flag is not given is another for each.
//
// Invariant: what comes out keeps what core/spec.hpp promises, by the same value parsers as the file's. Each
// fault names its flag and, where there is something to do, a hint. Non-goal: looking at programs;
// runners.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "config/runners.hpp"
#include "core/spec.hpp"

namespace runmain::config {

// dev: at work on the program, restarted at every save. serve: in production, nothing is watched.
enum class Purpose : std::uint8_t { dev, serve };

// As they were written; empty: not given.
struct Flags {
  Purpose purpose = Purpose::dev;
  std::string folder;  // absolute: the current one
  std::vector<std::string> command;
  std::vector<std::string> watch;   // --watch PATH
  std::vector<std::string> ignore;  // --ignore GLOB
  std::string ext;                  // --ext "py,html"
  std::vector<std::string> listen;  // --listen ADDRESS
  std::string port;                 // --port N, or "auto"
  std::string workers;              // N; serve: also "auto" and "MIN-MAX"
  std::string build;                // --build CMD, words without a shell
  std::string settle;
  std::string signal;
  std::string stop_timeout;
  std::string ready;  // http:/path, tcp, tcp:ADDRESS, notify, after:T
  std::vector<std::string> env_file;
  std::string on_change;  // restart, queue, ignore, or a signal
  std::string name;
  std::string health;        // --health /path, or tcp
  std::string balance;       // shared, reuseport
  std::string roll;          // gradual, at-once
  std::string order;         // new-first, old-first
  std::string batch;         // N, or "25%"
  std::string canary;        // N
  std::string max_requests;  // recycling
  std::string max_lifetime;
  std::string max_memory;
  bool no_overlap = false;
  bool poll = false;
  bool clear = false;
  bool exit_on_error = false;
  bool no_runner = false;
  bool browser = false;
  bool adopt = false;
  bool automatic = false;  // --auto
  bool terminal = false;   // stdin and stdout are one
};

struct FromFlags {
  core::Desired desired;
  std::string line;  // what was chosen, for a person
};

using FlagOutcome = std::variant<FromFlags, std::vector<Error>>;

// What --listen and --port say, for choose_runner(); a port that is none is told by from_flags().
RunnerAsked asked_of(const Flags& options);

// Looks at folders and env files. Any thread.
FlagOutcome from_flags(const Flags& options, const Runner& runner);

}  // namespace runmain::config

// What the command line asks for, as plain data, and the exit statuses of runmain.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "cli/terminal.hpp"
#include "config/flags.hpp"

namespace runmain::cli {

inline constexpr int kClean = 0;
inline constexpr int kServiceFailed = 1;
inline constexpr int kUsage = 2;  // or configuration
inline constexpr int kNothingRuns = 3;
inline constexpr int kTimedOut = 4;
inline constexpr int kSignalled = 128;  // plus the signal's number

struct Options {
  std::string command;
  std::string file = "supervisor.toml";
  bool file_given = false;  // by -c
  std::string runtime_dir;
  std::string state_dir;
  bool json = false;
  std::string service;                // signal, why, traces
  std::vector<std::string> services;  // the others
  bool all = false;                   // start, stop, restart, reload: every service
  std::vector<std::string> paths;     // explain
  bool check = false;                 // status: silent, by the exit status
  bool wait = false;                  // reload: the default
  bool no_wait = false;
  std::uint32_t canary = 0;  // reload
  std::string signal;
  bool follow = false;
  std::size_t lines = 100;
  std::size_t traces = 20;       // traces
  std::uint32_t generation = 0;  // traces; 0: all
  bool duplicates = false;       // traces
  bool probe = false;            // doctor
  std::string request;           // doctor: a path or URL; check-graceful: a path; empty: "/"
  std::string slow;              // check-graceful: a path that takes long
  std::uint32_t reloads = 0;     // check-graceful: under load; 0: its default
  bool detach = false;
  std::string journal;   // up: to write; replay: to read
  double timeout_s = 0;  // 0: no limit
  config::Flags flags;   // dev, serve

  std::function<int(const Options&, Terminal&)> run;

  // The limit as a point in time from now, kNever without one.
  Time deadline() const;
};

// "500ms", "10s", "5m", "1h" or "10" (seconds) to seconds above 0. False for what is none.
bool read_seconds(const std::string& text, double& seconds);

}  // namespace runmain::cli

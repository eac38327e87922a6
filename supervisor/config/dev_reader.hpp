// The flags of `runmain dev` to one ServiceSpec, a group of flags a file: dev.cpp (the program and its line),
// dev_sockets.cpp, dev_watch.cpp, dev_life.cpp.
//
// Invariant: every fault is gathered, none ends the reading. Non-goal: the door; dev.hpp.
#pragma once

#include <string>
#include <vector>

#include "config/dev.hpp"

namespace runmain::config {

class DevReader {
 public:
  // Keeps both references.
  DevReader(const DevOptions& options, const Runner& runner) : options_(options), runner_(runner) {}
  // Once.
  DevOutcome read();

 private:
  void defaults();
  void read_command();
  std::string line() const;

  void read_sockets();
  void read_port();
  void add_listener(const std::string& flag, const std::string& text);
  void read_workers();
  void check_placeholders();

  void read_watch();
  void read_extensions();
  void read_on_change();
  void read_build();

  void read_stop();
  void read_ready();
  void read_probe(const std::string& text);
  void read_env_files();

  void read_duration(const std::string& flag, const std::string& text, Duration& into);
  void fault(const std::string& flag, const std::string& message, std::string hint = {});
  void fault(const std::string& flag, const Error& error) { fault(flag, error.message, error.hint); }

  const DevOptions& options_;
  const Runner& runner_;
  core::ServiceSpec spec_;
  std::vector<Error> faults_;
};

// `path` as seen from `folder`, without an end slash.
std::string absolute_path(const std::string& folder, const std::string& path);
bool is_there(const std::string& path);

}  // namespace runmain::config

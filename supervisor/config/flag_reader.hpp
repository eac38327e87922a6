// The flags of `runmain dev` and `serve` to one ServiceSpec, a group of flags a file: flags.cpp (the
// defaults, the program and its line), flag_sockets.cpp, flag_watch.cpp, flag_life.cpp, flag_pool.cpp.
//
// Invariant: every fault is gathered, none ends the reading. Non-goal: the door; flags.hpp.
#pragma once

#include <string>
#include <vector>

#include "config/flags.hpp"

namespace runmain::config {

class FlagReader {
 public:
  // Keeps both references.
  FlagReader(const Flags& options, const Runner& runner) : options_(options), runner_(runner) {}
  // Once.
  FlagOutcome read();

 private:
  bool serves() const { return options_.purpose == Purpose::serve; }
  void defaults();
  void defaults_of_dev();
  void defaults_of_serve();
  void read_command();
  std::string line() const;

  void read_sockets();
  void read_port();
  void read_adopt();
  void add_listener(const std::string& flag, const std::string& text);
  void check_placeholders();

  void read_workers();
  void default_workers();
  void check_port_of_many();
  void read_balance();
  void read_roll();
  void read_recycle();
  std::uint32_t read_number(const std::string& flag, const std::string& text, std::uint32_t most);
  bool read_one_of(const std::string& flag, const std::string& text, const std::vector<std::string>& words,
                   std::size_t& index);

  void read_watch();
  void read_extensions();
  void read_on_change();
  void read_build();

  void read_stop();
  void read_ready();
  void read_health();
  void check_probed(const std::string& flag);
  void read_probe(const std::string& text);
  void read_env_files();

  void read_duration(const std::string& flag, const std::string& text, Duration& into);
  void fault(const std::string& flag, const std::string& message, std::string hint = {});
  void fault(const std::string& flag, const Error& error) { fault(flag, error.message, error.hint); }

  const Flags& options_;
  const Runner& runner_;
  core::ServiceSpec spec_;
  std::vector<Error> faults_;
};

// `path` as seen from `folder`, without an end slash.
std::string absolute_path(const std::string& folder, const std::string& path);
bool is_there(const std::string& path);

}  // namespace runmain::config

// One [service.NAME] table to a ServiceSpec.
// Invariant: a service with faults is not used, but what could be read is there, so that checks across
// services see it. Non-goal: what other services say; checks.hpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/node.hpp"
#include "config/report.hpp"
#include "config/table.hpp"
#include "core/spec.hpp"

namespace runmain::config {

inline constexpr std::size_t kNameMax = 64;    // characters of a service's or listener's name
inline constexpr std::size_t kListenMax = 48;  // addresses of a service; as many fds as a child is given
inline constexpr std::size_t kArgumentMax =
    131071;  // bytes of one argument or NAME=value: MAX_ARG_STRLEN, execve(2)
inline constexpr std::size_t kEnvMax = 10000;  // variables of a service
inline constexpr std::uint32_t kLogKeepMax = 1000;
inline constexpr std::uint64_t kLogSizeMin = 1024;             // bytes
inline constexpr std::uint64_t kRecycleMemoryMin = 1U << 20U;  // bytes; less is a unit that was forgotten
inline constexpr std::uint32_t kLingeringDefault = 4;
inline constexpr std::int32_t kSignalEnd =
    1000;  // ServiceSpec.success: so much more than the signal's number

// What a file is read with.
struct Reading {
  Report& report;
  std::string folder;  // absolute: relative paths of the file start here
  core::Mode mode = core::Mode::dev;
  bool check_host = true;           // folders, env files, users and groups must exist
  core::TelemetrySpec telemetry{};  // of [telemetry]
  Place telemetry_place{};          // of its `direct`, else of its `auto`; 0:0: it has neither
};

// A service and the places that checks across services tell.
struct Draft {
  core::ServiceSpec spec;
  Place place;
  Place port_place;
  Place telemetry_place;  // as Reading's, of the service's own table
  std::vector<Place> listen_places;
  std::vector<Place> depends_places;
};

// Letters, digits, _ . - and not one of the last two in front.
bool is_name(const std::string& text);

class ServiceReader {
 public:
  // Requires a table node. Keeps references.
  ServiceReader(const Reading& reading, const Node& node);
  // Once. Every fault goes to the report.
  Draft read();

 private:
  void read_command();
  void read_listen();
  void read_listener(const Node& node);
  void name_listeners();
  void read_port();
  void read_adopt();
  void check_placeholders();
  void check_placeholder(const Node& node, std::size_t offset, const std::string& word);
  void read_cwd();
  void read_watch();
  void read_watch_table(const Node& node, core::WatchSpec& watch);
  void read_on_change(const Node& node, core::WatchSpec& watch);
  void read_signal(const Node& node, const std::string& name, int& number);
  void add_watch_path(const std::string& path, Place place, core::WatchSpec& watch);
  void read_workers();
  void read_workers_range(const Node& node);
  void read_balance();
  void read_roll();
  void read_roll_table(const Node& node);
  void read_share(const Node& node, const std::string& name, core::Share& share);
  void read_recycle();
  void read_health();
  void read_health_kind(Table& table, const Node& node);
  void read_hang();
  // A command that helps a service: a string, an array or { command, shell }. `known`: the placeholders that
  // it may have, in words; empty: not checked.
  std::optional<core::CommandSpec> read_helper(const Node& node, const std::string& name, bool shell,
                                               const std::string& known);
  void read_ready();
  void read_ready_kind(Table& table, const Node& node);
  void read_http_path(const Node& node, const std::string& name, std::string& path);
  void read_tcp_probe(const Node& node, const std::string& name, std::string& address);
  void check_probed(const std::string& key, const Node& node);
  std::string probe_address(const Node& node, const std::string& name);
  void read_stop();
  void read_stop_steps(const Node& node);
  void read_restart();
  void read_ends(const Node& node, const std::string& name, std::vector<std::int32_t>& ends);
  void read_policy(const Node& node, const std::string& name);
  void read_depends_on();
  void read_env();
  void read_env_file();
  void read_log();
  void read_identity();
  void read_limits();
  void read_limit(const Node& node, const std::string& name, int resource, bool bytes);
  bool read_limit_value(const Node& node, const std::string& name, bool bytes, std::uint64_t& out);
  bool read_size(const Node& node, const std::string& name, std::uint64_t& out);
  void read_modes();
  void read_telemetry_of_service();

  std::string absolute(const std::string& base, const std::string& path) const;
  Report& report() { return reading_.report; }
  core::ServiceSpec& spec() { return draft_.spec; }

  const Reading& reading_;
  const Node& node_;
  Table table_;
  Draft draft_;
  const Node* command_node_ = nullptr;
  const Node* listen_node_ = nullptr;
  const Node* port_node_ = nullptr;
  bool sockets_known_ = true;  // listen and port were read without a fault
  bool cwd_known_ = true;
};

// A command as `command` and `build` take it: a string by word rules, or whole with `shell`; or an array of
// strings.
std::optional<core::CommandSpec> read_command_value(Report& report, const Node& node, const std::string& name,
                                                    bool shell);

}  // namespace runmain::config

// From the configuration file to what the head works with: the validated Desired, and every socket open.
// Invariant: all or nothing. If one address cannot be bound, those that were newly bound are closed again and
// the running configuration stays.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/options.hpp"
#include "core/spec.hpp"
#include "drive/keeper_client.hpp"
#include "drive/service_table.hpp"

namespace runmain::app {

struct Sockets {
  std::vector<drive::LaunchListener> listeners;
  std::vector<std::uint64_t> inodes;
  std::vector<os::UniqueFd> for_stand_in;  // TCP sockets, of a service that waits for changes
};

struct Configuration {
  core::Desired desired;
  std::map<std::string, Sockets> sockets;  // by service name
};

// Reads and validates the file. On failure every fault of it, one a line, as a person wants to read it.
Result<core::Desired> read_configuration(const HeadOptions& options);

// `workers = "auto"` becomes a number. What the core gets is settled, so that a takeover does not count anew.
void resolve_workers(core::Desired& desired, std::uint32_t cpus);

// Opens the listening sockets of all services; those that the keeper has already are found. On failure the
// first fault, with the address's place in the file.
Result<Configuration> open_sockets(core::Desired desired, drive::KeeperClient& keeper,
                                   const drive::ServiceTable& running);

}  // namespace runmain::app

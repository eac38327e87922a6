// What drive knows of each service beside the core's state: its specification, its sockets, its port, what
// changed. Invariant: an entry is there from the Configured that names the service until CloseService.
// Thread: the loop's.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/snapshot.hpp"
#include "core/spec.hpp"
#include "drive/launch.hpp"

namespace runmain::drive {

struct ServiceEntry {
  core::ServiceSpec spec;
  std::vector<LaunchListener> listeners;  // in the order of spec.listen
  std::vector<std::uint64_t> inodes;      // of the same
  std::uint16_t auto_port = 0;
  std::vector<std::string>
      changed;  // what is new in the generation that is being started, for RUNMAIN_CHANGED
};

// The keeper's name for a socket: its address, so that a service that is renamed, or two that swap addresses,
// find the sockets as they are. Where the kernel chooses the port, each service has its own.
inline std::string listener_id(const std::string& service, const core::ListenSpec& listen) {
  const bool chosen = listen.path.empty() && listen.port == 0;
  const std::string kind = std::to_string(static_cast<int>(listen.kind));
  return chosen ? service + "|" + listen.text
                : kind + "|" + listen.host + "|" + std::to_string(listen.port) + "|" + listen.path;
}

class ServiceTable {
 public:
  ServiceEntry* find(ServiceId id) {
    const auto found = entries_.find(id);
    return found == entries_.end() ? nullptr : &found->second;
  }
  const ServiceEntry* find(ServiceId id) const { return const_cast<ServiceTable*>(this)->find(id); }
  std::string name(ServiceId id) const {
    const ServiceEntry* entry = find(id);
    return entry == nullptr ? std::string() : entry->spec.name;
  }
  // Whether a service has the socket of this id (listener_id()).
  bool uses(const std::string& id) const {
    return std::any_of(entries_.begin(), entries_.end(), [&id](const auto& entry) {
      const auto& all = entry.second.listeners;
      return std::any_of(all.begin(), all.end(), [&id](const LaunchListener& l) { return l.id == id; });
    });
  }
  ServiceEntry& at(ServiceId id) { return entries_[id]; }
  void erase(ServiceId id) { entries_.erase(id); }
  const std::map<ServiceId, ServiceEntry>& all() const { return entries_; }

 private:
  std::map<ServiceId, ServiceEntry> entries_;
};

}  // namespace runmain::drive

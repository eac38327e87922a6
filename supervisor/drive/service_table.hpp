// What drive knows of each service beside the core's state: its specification, its sockets, its port, what
// changed. Invariant: an entry is there from the Configured that names the service until CloseService.
// Thread: the loop's.
#pragma once

#include <algorithm>
#include <cstdlib>
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
  bool by_observer = false;  // what its programs export goes to the observer
  std::string doctor;        // its next workers' probes write to this folder; empty: they get none
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

// Whether each slot has a socket of its own. A service that waits for a change has a stand-in meanwhile,
// which answers on the one that all share.
inline bool is_per_slot(const core::ServiceSpec& spec, const core::ListenSpec& listen) {
  return spec.balance == core::Balance::reuseport && listen.kind == core::AddressKind::tcp &&
         !spec.await_change;
}

// The sockets of a worker in this slot, in their order.
inline std::vector<LaunchListener> listeners_of(const ServiceEntry& entry, std::uint32_t slot) {
  std::vector<LaunchListener> all = entry.listeners;
  for (LaunchListener& l : all) {
    if (l.per_slot) l.id = keeper::slot_listener(l.id, slot);
  }
  return all;
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
  // Whose socket it is that the keeper knows by this id. slot: kNoSlot for one that all share.
  struct Owner {
    ServiceId service = kNoService;
    std::uint32_t slot = kNoSlot;
    std::string bound;
  };
  Owner owner_of(const std::string& id) const {
    for (const auto& [service, entry] : entries_) {
      for (const LaunchListener& l : entry.listeners) {
        if (!l.per_slot && l.id == id) return {service, kNoSlot, l.bound};
        if (!l.per_slot || id.compare(0, l.id.size() + 1, l.id + "#") != 0) continue;
        return {service, static_cast<std::uint32_t>(std::atoi(id.c_str() + l.id.size() + 1)), l.bound};
      }
    }
    return {};
  }
  ServiceEntry& at(ServiceId id) { return entries_[id]; }
  void erase(ServiceId id) { entries_.erase(id); }
  const std::map<ServiceId, ServiceEntry>& all() const { return entries_; }

 private:
  std::map<ServiceId, ServiceEntry> entries_;
};

}  // namespace runmain::drive

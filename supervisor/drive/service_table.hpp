// What drive knows of each service beside the core's state: its specification, its sockets, its port, what
// changed. Invariant: an entry is there from the Configured that names the service until CloseService.
// Thread: the loop's.
#pragma once

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

// The keeper's name for one socket of one service.
inline std::string listener_id(const std::string& service, const core::ListenSpec& listen) {
  return service + "|" + listen.text;
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
  ServiceEntry& at(ServiceId id) { return entries_[id]; }
  void erase(ServiceId id) { entries_.erase(id); }
  const std::map<ServiceId, ServiceEntry>& all() const { return entries_; }

 private:
  std::map<ServiceId, ServiceEntry> entries_;
};

}  // namespace runmain::drive

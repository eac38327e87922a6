// Events that are about no child: listening sockets, and runmain's own programs. A part of event.hpp.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.hpp"

namespace runmain::core {

// A listener was shut down by a process that has it (shutdown(2)), and listens again, or cannot (`error`, an
// errno). slot: whose socket it is; kNoSlot for a shared one.
struct ListenerShut {
  static constexpr const char* kType = "listener.shut";
  ServiceId service{};
  std::uint32_t slot = kNoSlot;
  std::string address;
  std::int32_t error = 0;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("slot", slot);
    a("address", address);
    a("error", error);
  }
};

// The answer to CloseSlots: so many connections waited in the queue of a slot's own socket, and were reset.
struct SlotClosed {
  static constexpr const char* kType = "slot.closed";
  ServiceId service{};
  std::uint32_t slot = 0;
  std::string address;
  std::uint32_t waiting = 0;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("slot", slot);
    a("address", address);
    a("waiting", waiting);
  }
};

// The answer to Upgrade. error empty: the programs that run are the new ones; else nothing has changed.
struct UpgradeEnded {
  static constexpr const char* kType = "upgrade.ended";
  std::string error;
  bool keeper_too = false;
  std::string version;  // of the head that tells it
  template <class A>
  void fields(A& a) {
    a("error", error);
    a("keeper_too", keeper_too);
    a("version", version);
  }
};

}  // namespace runmain::core

// The load of services whose number of workers follows it: who waits to be accepted, and how much CPU the
// workers use, once a second.
//
// Invariant: told when somebody waits, when the use of CPU has changed by kLoadStep or more, and else every
// kLoadQuiet; nothing runs while there is no such service. Non-goal: deciding how many workers there shall
// be. Thread: the loop's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"
#include "core/event.hpp"
#include "drive/child_infos.hpp"
#include "drive/readiness_tree.hpp"
#include "drive/service_table.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr Duration kLoadEvery = std::chrono::seconds(1);
inline constexpr Duration kLoadQuiet = std::chrono::seconds(10);
inline constexpr std::uint32_t kLoadStep = 5;  // percent of a CPU

class Load {
 public:
  // `services` and `children` are the caller's and outlive this; `tell` is called from the loop.
  Load(os::Loop& loop, const ServiceTable& services, const ChildInfos& children,
       std::function<void(const core::Load&)> tell);

  // The services may be others now: begins to look if there is one whose workers follow the load.
  void refresh();

 private:
  struct Seen {
    std::unordered_map<pid_t, std::uint64_t> cpu;  // nanoseconds that each process had used
    Time at{};
    std::uint32_t told_percent = 0;
    Time told_at{};
    bool told = false;
  };
  void on_timer();
  void look(ServiceId id, const ServiceEntry& entry, Time now);

  const ServiceTable& services_;
  const ChildInfos& children_;
  std::function<void(const core::Load&)> tell_;
  std::unique_ptr<os::Timer> timer_;
  bool running_ = false;
  std::map<ServiceId, Seen> seen_;
  TreeIndex trees_;
};

}  // namespace runmain::drive

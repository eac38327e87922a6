// Who of the suspected services cannot have written a file: all its processes are looked at from time to time
// after a start, and at a change. If they are the same ones and none has called write(2) since, somebody else
// did.
//
// Invariant: a look counts only while no change is on its way, so that what is told later was written later.
// Nothing is looked at while nobody is suspected. Known gap: writing by mmap or io_uring, or by a process
// outside of the service's trees, is taken for somebody else's; the core bounds how often. Thread: the
// loop's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {

inline constexpr Duration kSuspectFirst = std::chrono::microseconds(250);    // after a start; doubled …
inline constexpr Duration kSuspectSlowest = std::chrono::milliseconds(500);  // … up to this, while suspected

class Suspects {
 public:
  struct Asks {
    std::function<bool(ServiceId)> suspected;
    std::function<bool()> files_at_rest;
    std::function<std::vector<std::uint64_t>(ServiceId)> tags;  // of its children's trees
  };
  Suspects(os::Loop& loop, Asks asks);

  // A child of the service was started, or got ready.
  void started(ServiceId service);
  // Whether none of its processes has written since the last look. False if nobody has looked.
  bool cleared(ServiceId service) const;

 private:
  using Writes = std::map<pid_t, std::uint64_t>;
  struct Watched {
    Time next{};
    Duration pause{};
    std::optional<Writes> writes;
  };
  std::optional<Writes> look(ServiceId service) const;
  void on_timer();
  void arm();

  Asks asks_;
  std::unique_ptr<os::Timer> timer_;
  std::map<ServiceId, Watched> watched_;  // those that are suspected
};

}  // namespace runmain::app

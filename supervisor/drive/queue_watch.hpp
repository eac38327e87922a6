// Finds out when nobody waits in a child's own sockets any more (os/linux/listen_queue.hpp), so that a slot
// that gets no new connections can be left without losing one.
//
// Invariant: one answer a start(), from the loop, never from inside start(); none after stop(). A queue
// counts as empty when it has been for so long as start() says: a handshake that was begun before the slot
// was taken out ends in it. What cannot be looked at is empty. No work while nothing is waited for. Thread:
// the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr Duration kQueueLook = std::chrono::milliseconds(5);

class QueueWatch {
 public:
  QueueWatch(os::Loop& loop, std::function<void(const ChildKey&)> empty);

  // `inodes`: of its own sockets. None: there is nothing to wait for.
  void start(const ChildKey& key, std::vector<std::uint64_t> inodes, Duration quiet);
  void stop(const ChildKey& key) { jobs_.erase(key); }
  std::size_t jobs() const { return jobs_.size(); }

 private:
  struct Job {
    std::vector<std::uint64_t> inodes;
    Duration quiet{};
    Time quiet_since = kNever;
  };
  void on_timer();

  std::function<void(const ChildKey&)> empty_;
  std::unique_ptr<os::Timer> timer_;
  std::map<ChildKey, Job> jobs_;
};

}  // namespace runmain::drive

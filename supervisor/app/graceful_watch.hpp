// What the private runmain tells of its workers, as it happens, and in which order the processes of a worker
// end.
//
// Invariant: follows `events` of the control socket in a thread of its own, until that connection ends. A
// drain's begin is the moment in which the slot's next worker was ready, or the shutdown was asked for. The
// order of ends is the kernel's: pidfds in one epoll set, which hands on in the order in which they became
// readable. Thread: any, but those that say "one".
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "control/client.hpp"
#include "graceful/observation.hpp"
#include "os/linux/fd.hpp"

namespace runmain::app {

class GracefulWatch {
 public:
  GracefulWatch() = default;
  ~GracefulWatch();
  GracefulWatch(const GracefulWatch&) = delete;
  GracefulWatch& operator=(const GracefulWatch&) = delete;

  // Begins to follow. On failure the control socket cannot be connected to (yet). The connection ends with
  // the instance; so the instance is stopped before this is destroyed.
  Result<void> follow(const std::string& runtime);

  // From now on what ends, ends in this trial. One thread: see arm() and collect_order().
  void set_trial(graceful::Trial trial);
  // Waits for what has not been seen yet; `enough` is asked with the lock held. False: not by then.
  bool wait_until(Time deadline, const std::function<bool(const std::vector<graceful::Worker>&)>& enough);

  std::vector<graceful::Worker> workers();
  std::vector<graceful::Trial> shut();
  std::string last_failure();  // of the service or a reload; empty: none
  std::string service();       // its name, as soon as it is known
  // When the drain of this worker began, 0: not yet.
  graceful::Nanoseconds drain_of(pid_t main);
  // The latest one of all.
  graceful::Nanoseconds latest_drain() const { return latest_drain_; }

  // Looks at the processes of all workers that live, and at the order of their ends from now on.
  void arm();
  // Puts what was left behind into the workers that have ended since.
  void collect_order();

 private:
  struct Watched {
    os::UniqueFd pidfd;
    pid_t pid = 0;
    pid_t main = 0;
    std::string name;  // "pid 12 (sleep)"
  };

  bool take(const control::Json& item);
  graceful::Worker* worker_of(const control::Json& item);
  void begin_drain(graceful::Worker& worker, graceful::Nanoseconds time);

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  graceful::Trial trial_ = graceful::Trial::start;
  std::vector<graceful::Worker> workers_;
  std::vector<graceful::Trial> shut_;
  std::string last_failure_;
  std::string service_;
  std::atomic<graceful::Nanoseconds> latest_drain_{0};

  os::UniqueFd order_;  // epoll
  std::vector<Watched> watched_;
};

}  // namespace runmain::app

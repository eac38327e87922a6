// A private `runmain serve` of the program that is checked.
//
// Invariant: it has folders of its own, which go with it; whatever happens, after stop() or the destructor no
// process of it lives: whoever is orphaned comes to us (PR_SET_CHILD_SUBREAPER), and is killed until nobody
// is left. Its stdin is empty; of what it and its workers write the last lines are kept. Should we be killed,
// it is asked to end (PDEATHSIG). Thread: that which made it; last_lines() and says() any.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/temporary_folder.hpp"

namespace runmain::app {

class GracefulInstance {
 public:
  GracefulInstance() = default;
  ~GracefulInstance();
  GracefulInstance(const GracefulInstance&) = delete;
  GracefulInstance& operator=(const GracefulInstance&) = delete;

  // Starts `runmain` with "serve", the folders and `args`. Requires that this process has one thread. On
  // failure says what could not be made or started.
  Result<void> start(const std::string& runmain, const std::vector<std::string>& args);

  std::string runtime() const { return folder_.path() + "/run"; }
  // Reaps; whether it lives.
  bool lives();
  // SIGTERM, and SIGKILL for what is left after `limit`. True: nothing had to be killed.
  bool stop(Duration limit);

  std::vector<std::string> last_lines();
  // It has written that an address is in use.
  bool says_in_use() const { return says_in_use_; }

 private:
  void read_output();
  void take_line(std::string line);
  static bool kill_orphans();

  os::TemporaryFolder folder_;
  pid_t pid_ = 0;
  bool ended_ = false;
  os::UniqueFd output_;
  std::thread reader_;
  std::mutex mutex_;
  std::deque<std::string> lines_;
  std::atomic<bool> says_in_use_{false};
};

}  // namespace runmain::app

// The trials of `runmain check-graceful`, one after the other, each bounded in time.
//
// Invariant: whatever happens, at the end nothing of the program or of the private runmain lives. Non-goal:
// judging. Thread: one, beside those of instance, watch and a reload.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "app/graceful_instance.hpp"
#include "app/graceful_load.hpp"
#include "app/graceful_watch.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "graceful/observation.hpp"

namespace runmain::app {

struct GracefulRequest {
  std::string runmain;               // the executable
  std::vector<std::string> command;  // not empty
  std::vector<std::string> serve;    // further arguments of serve
  std::string workers = "2";
  std::string listen = "127.0.0.1:0";
  std::string path = "/";
  std::string slow;         // a path that takes long; empty: none
  std::size_t reloads = 3;  // under load
  Duration stop_timeout = std::chrono::seconds(10);
  Duration patience = std::chrono::seconds(30);  // until it serves
  const std::atomic<bool>* interrupted = nullptr;
  std::function<void(const std::string&)> progress;  // of what is tried now
};

class GracefulRun {
 public:
  explicit GracefulRun(GracefulRequest request);

  // On failure it never served (ETIMEDOUT, ECHILD), was interrupted (EINTR), or could not be started;
  // observation() is what there is.
  Result<void> run();
  graceful::Observation observation();
  std::vector<std::string> last_lines() { return instance_.last_lines(); }

 private:
  using Trial = graceful::Trial;

  Result<void> start();
  Result<void> wait_for_service();
  Result<void> never_served();
  bool ask_until_good(graceful::Seen& seen);
  void plain();
  void look_for_idle_workers(GracefulLoad& load);
  bool answers_alone(const graceful::Worker& worker, const std::vector<graceful::Worker>& all);
  void quiet();
  void idle();
  void silent();
  void half();
  void in_flight();
  void slow();
  void load();
  void end();

  graceful::Seen& begin(Trial trial, const std::string& what);
  void close(graceful::Seen& seen, GracefulLoad& load);
  // Reloads while `load` runs, until the old workers are gone.
  void reload(graceful::Seen& seen, GracefulLoad& load);
  void settle_clients(GracefulLoad& load);
  void look_at_socket();
  void look_for_own_listeners();
  bool is_interrupted() const { return request_.interrupted != nullptr && request_.interrupted->load(); }
  bool goes_on();

  GracefulRequest request_;
  GracefulTarget target_;
  // The watch outlives nothing that it follows: see GracefulWatch::follow().
  GracefulWatch watch_;
  GracefulInstance instance_;
  graceful::Observation seen_;
  std::uint64_t socket_inode_ = 0;  // of a unix path
  std::vector<pid_t> stopped_;      // workers that we have stopped for a moment
};

}  // namespace runmain::app

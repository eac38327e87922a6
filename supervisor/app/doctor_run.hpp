// Runs a program to look at it: starts it as it is with the probes in it, drives requests through it, stops
// it as its user would, and gathers the evidence.
//
// Invariant: whatever happens, SIGKILL included, at the end no process of it lives and no file of ours is
// left. Its output goes to our standard error, its input is empty. What its environment says of a collector
// is kept aside: its spans come to us, and the collector is only asked whether it is there. Thread: one,
// beside the receiver's. Non-goal: judging.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/doctor_guard.hpp"
#include "app/doctor_processes.hpp"
#include "app/doctor_receiver.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "doctor/evidence.hpp"
#include "os/linux/process_tree.hpp"
#include "os/linux/spawn.hpp"
#include "os/linux/temporary_folder.hpp"

namespace runmain::app {

struct DoctorPlan {
  std::vector<std::string> command;  // not empty
  std::string path = "/";
  std::uint16_t port = 0;                          // 0: the one that it listens on
  Duration patience = std::chrono::seconds(30);    // until it answers
  std::string share;                               // where the probes are
  const std::atomic<bool>* interrupted = nullptr;  // by a person: ends soon
};

class DoctorRun {
 public:
  explicit DoctorRun(DoctorPlan plan);
  ~DoctorRun();
  DoctorRun(const DoctorRun&) = delete;
  DoctorRun& operator=(const DoctorRun&) = delete;

  // On failure the command could not be started, or nothing of it ever answered; evidence() is what there is.
  Result<void> run();
  doctor::Evidence evidence();

 private:
  Result<void> start();
  std::vector<std::string> environment() const;
  Result<void> wait_for_answer();
  bool choose_port(bool takes_any);
  bool began_span(const doctor::Request& request);
  void look_for_other_ports();
  Error ended_early() const;
  void settle();
  void look_at_collectors();
  void stop();
  void watch_the_end(Time begin);
  void look_whether_it_serves(Time& limit);
  void kill_all();

  doctor::Request ask_once(Duration limit);
  void note(const doctor::Request& request);
  bool is_waiting_for_spans();
  void reap();
  void pause(Duration time);
  bool interrupted() const { return plan_.interrupted != nullptr && plan_.interrupted->load(); }
  void name_endpoints(doctor::Evidence& evidence) const;

  DoctorPlan plan_;
  os::TemporaryFolder folder_;
  DoctorGuard guard_;
  std::string secret_;
  std::uint64_t tag_ = 0;
  std::uint16_t receiver_port_ = 0;
  std::map<std::string, std::string> environment_;  // the user's
  std::unique_ptr<DoctorProcesses> processes_;
  std::unique_ptr<DoctorReceiver> receiver_;
  pid_t main_ = 0;
  bool main_ended_ = false;
  int main_status_ = 0;
  std::uint16_t port_ = 0;
  doctor::Evidence gathered_;  // requests, collectors, stop
};

}  // namespace runmain::app

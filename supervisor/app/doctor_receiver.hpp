// The doctor's own collector: takes what the program's processes send, and knows which process sent it.
//
// Invariant: a thread of its own with a loop of its own; what is taken is read from outside under a lock, and
// bounded (kSpansMax, counted beyond). The pid is looked up while its owner waits for the answer, so that it
// is still there. Non-goal: keeping anything; metrics and logs are taken and forgotten.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "doctor/evidence.hpp"
#include "os/linux/fd.hpp"
#include "telemetry/receiver.hpp"

namespace runmain::app {

class DoctorReceiver {
 public:
  static constexpr std::size_t kSpansMax = 20'000;

  // Listens on a free port of loopback. On failure the errno.
  static Result<os::UniqueFd> listen(std::uint16_t& port);

  // `sender` says who is at this port, the other end of one of our connections; called in our thread.
  DoctorReceiver(os::UniqueFd listener, std::string secret, std::function<pid_t(std::uint16_t port)> sender);
  ~DoctorReceiver();
  DoctorReceiver(const DoctorReceiver&) = delete;
  DoctorReceiver& operator=(const DoctorReceiver&) = delete;

  // From now on as dead as a collector can be: it refuses connections, or never answers.
  void die(doctor::Reach how);
  std::vector<doctor::WireSpan> spans() const;
  std::uint64_t lost() const { return lost_; }

 private:
  void work(os::UniqueFd listener);
  telemetry::Taken take(const telemetry::Received& received, const std::function<void()>& saved);

  std::string secret_;
  std::function<pid_t(std::uint16_t)> sender_;
  mutable std::mutex mutex_;
  std::vector<doctor::WireSpan> spans_;
  std::atomic<std::uint64_t> lost_{0};
  std::atomic<doctor::Reach> reach_{doctor::Reach::answers};
  std::atomic<bool> ends_{false};
  std::thread thread_;
};

}  // namespace runmain::app

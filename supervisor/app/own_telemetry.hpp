// The supervisor's own telemetry: what happens to services as traces (telemetry/lifecycle.hpp) and metrics,
// and what they print as logs where they ask for it, all written to a mailbox of our own that outlives this
// head.
//
// Invariant: nothing here waits or decides; without a mailbox, or before begin(), nothing is written. Where
// our SDK is disabled (OTEL_SDK_DISABLED) no span and no metric of ours begins; what services print is
// theirs, and is written. What a head had not told when it died is lost. Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/time.hpp"
#include "core/event.hpp"
#include "drive/output_format.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/lane_writer.hpp"
#include "telemetry/lifecycle.hpp"
#include "telemetry/own_metrics.hpp"

namespace runmain::app {

inline constexpr Duration kOwnMetricsInterval = std::chrono::seconds(60);  // in dev a tenth of it

class OwnTelemetry {
 public:
  // `disabled`: as our environment says.
  OwnTelemetry(os::Loop& loop, std::string secret, std::function<std::string(ServiceId)> name_of,
               bool disabled);

  // Takes a lane of the mailbox, once. On failure why there is none, and nothing will be written.
  Result<void> begin(os::UniqueFd mailbox, os::UniqueFd wake, const std::string& instance_id, bool dev);
  bool begun() const { return writer_ != nullptr; }

  void on_change(const core::Changed& changed, Time now);
  void on_fact(const core::Fact& fact);
  // Spans of the lifecycle that had no room to be in progress, and logs and metrics that the mailbox had none
  // for.
  std::uint64_t spans_dropped() const { return lifecycle_.dropped(); }
  std::uint64_t others_lost() const { return writer_ == nullptr ? 0 : writer_->others_lost(); }

  // A line of a service that wants its output told.
  void on_line(const drive::OutputLine& line);

 private:
  void tell_metrics();

  std::function<std::string(ServiceId)> name_of_;
  bool disabled_;
  telemetry::Lifecycle lifecycle_;
  telemetry::ServiceCounts counts_;
  std::unique_ptr<telemetry::LaneWriter> writer_;
  std::unique_ptr<os::Timer> metrics_timer_;
  bool metrics_due_ = false;
  Duration interval_ = kOwnMetricsInterval;
  std::int64_t begin_wall_ = 0;
};

}  // namespace runmain::app

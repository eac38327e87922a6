// The JSON that users and tools rely on: status, events, log lines. Only additive changes; golden files test
// it. Invariant: no value of an environment variable and no command line is ever in it. Durations are
// milliseconds and named so; wall times are RFC 3339 in UTC with nanoseconds.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.hpp"
#include "control/backend.hpp"
#include "control/protocol.hpp"
#include "core/effect.hpp"
#include "core/snapshot.hpp"

namespace runmain::control {

// A Fact as `events` tells it: numbered by the head that tells it, with the service's name and the wall time.
struct FactLine {
  std::uint64_t seq = 0;     // 0: not numbered (`why`), null in JSON
  std::int64_t time_ns = 0;  // wall clock, since 1970
  std::string service;       // empty: none
  core::Fact fact;
};

// The wall time of a monotonic one, by both clocks now.
std::int64_t wall_of(Time time, Time now, std::int64_t wall_now_ns);

// {"version","mode","shutting_down","own_telemetry_lost":{…},"services":[…]}
Json status_json(const core::Snapshot& snapshot, Backend& backend, Time now);
Json service_json(const core::ServiceView& service, const Queues& queues, Backend& backend, Time now);

// {"v","seq","time","mono_ns","type","service","slot","generation","pid","cause","data"}; what does not apply
// is null.
Json event_json(const FactLine& line);

// {"time","service","label","slot","generation","build","continues","text"}; the label is "web", "web.1" or
// "web build".
// `numbered`: the service has several workers, so the label names the slot, as `up` shows it.
Json log_json(const LogLine& line, bool numbered);

}  // namespace runmain::control

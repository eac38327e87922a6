// Looks at a service that runmain runs: its processes, requests to its address, and the spans that came to
// the observer meanwhile. Without probes nothing is restarted, and nothing is put into its processes. With
// them it is reloaded, so that its workers have probes, and once more when it was looked at.
//
// Invariant: whatever happens, the reload that takes the probes away is asked for. Thread: one. Non-goal: how
// it ends.
#pragma once

#include <functional>
#include <string>

#include "base/result.hpp"
#include "base/time.hpp"
#include "doctor/evidence.hpp"

namespace runmain::app {

struct LivingPlan {
  std::string service;
  std::string runtime;  // the folder of the runmain that runs it
  std::string path = "/";
  std::uint16_t port = 0;  // 0: the one that it listens on
  bool probes = false;
};

// On failure nothing of it could be looked at: it is not known, does not run, or answers no request of HTTP.
// `go_on`: false once a person has interrupted.
Result<void> look_at_living(const LivingPlan& plan, doctor::Evidence& evidence,
                            const std::function<bool()>& go_on);

}  // namespace runmain::app

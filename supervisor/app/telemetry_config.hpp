// Where each service's telemetry goes: from the configuration and the environment to what the observer is
// told.
//
// What counts, strongest first: the file's [telemetry] tables, the service's `env`, its env files, runmain's
// own environment; names and values of the latter are those of the OpenTelemetry specification
// (OTEL_EXPORTER_OTLP_…, OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER and its like). Services for which the same
// counts share a destination. Invariant: a pure function. Without an endpoint there is no destination:
// nobody's spans go to a default address. Non-goal: reading the endpoint's parts (telemetry/endpoint.hpp does
// that in the observer).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "core/spec.hpp"
#include "telemetry/endpoint.hpp"
#include "telemetry/observer_config.hpp"

namespace runmain::app {

using Variables = std::vector<std::pair<std::string, std::string>>;

struct TelemetryService {
  ServiceId id{};
  std::string name;
  core::TelemetrySpec spec;
  Variables env;  // of its env files, then of `env`: a later one replaces an earlier one
};

struct TelemetryPlan {
  std::vector<telemetry::ObserverDestination> destinations;
  std::vector<telemetry::ObservedService> services;
  std::vector<std::string> warnings;  // one line each, with the services that it is about
};

// `environment`: runmain's own, "NAME=value".
TelemetryPlan plan_telemetry(const std::vector<TelemetryService>& services,
                             const std::vector<std::string>& environment);

// The variables of a service that plan_telemetry() looks at. What cannot be read is left out: the start tells
// it.
Variables telemetry_variables(const core::ServiceSpec& spec);

// OTEL_SDK_DISABLED=true, which means the SDK of who has this environment, "NAME=value"; a later one counts.
bool is_sdk_disabled(const std::vector<std::string>& environment);

using telemetry::address_of;

}  // namespace runmain::app

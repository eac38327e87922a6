// The OTLP Resource of runmain itself (opentelemetry.md, 16, 52).
#pragma once

#include <cstdint>
#include <string>

namespace runmain::telemetry {

// Its bytes: service.name "runmain", this instance, telemetry.sdk.*, process.pid.
std::string own_resource(const std::string& instance_id, std::int64_t pid);

}  // namespace runmain::telemetry

// What holds between services: dependencies name services and make no circle, no two want one address.
// Invariant: only reports, changes nothing. Non-goal: order of starting; core has it.
#pragma once

#include <vector>

#include "config/service_reader.hpp"

namespace runmain::config {

inline constexpr std::size_t kCirclesMax = 20;  // circles that are told; more share their services with these

void check_dependencies(Report& report, const std::vector<Draft>& drafts);
void check_addresses(Report& report, const std::vector<Draft>& drafts);
// Fixed ports that the programs bind by themselves: a second taker is only likely a mistake, so it is a
// warning.
void check_ports(Report& report, const std::vector<Draft>& drafts);

// `auto` beside `direct`, whichever table says either: nothing starts the SDK then, which is likely a
// mistake, so it is a warning. `place`: where [telemetry] says it, for services that say nothing.
void check_telemetry(Report& report, const std::vector<Draft>& drafts, Place place);

}  // namespace runmain::config

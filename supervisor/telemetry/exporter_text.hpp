// Sentences about destinations, for people.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.hpp"
#include "telemetry/item.hpp"

namespace runmain::telemetry {

// "1,234,567".
std::string grouped(std::uint64_t number);

// "1 span", "1,234 log records".
std::string items_text(Signal signal, std::uint64_t items);

// `said` ("X fails (traces): connection refused, retrying") with what a person asks next: "… in 1 s; nothing
// is lost, 1,234 spans wait". `next`: of the next attempt, kNever if that is not known. `in_memory`: of those
// that wait, they are not on disk.
std::string failing_text(std::string said, Time next, Time now, Signal signal, std::uint64_t waiting,
                         std::uint64_t in_memory = 0);

// "No space left on device: what waits is in memory only, and lost if the observer dies".
std::string disk_text(const std::string& fault);
// "3 spans are lost: they waited in memory only, as the disk took no more".
std::string memory_lost_text(Signal signal, std::uint64_t items);

}  // namespace runmain::telemetry

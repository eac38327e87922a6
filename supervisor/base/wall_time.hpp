// The wall clock: only for what people and files are told. Decisions use time.hpp. Not for core.
#pragma once

#include <cstdint>
#include <string>

namespace runmain {

// Nanoseconds since 1970.
std::int64_t wall_now_ns();

// RFC 3339 in UTC: "2025-11-21T02:22:03.123456789Z".
std::string rfc3339(std::int64_t wall_ns);

}  // namespace runmain

// Reads what the probes wrote (docs/doctor-records.md) into evidence.
//
// Invariant: the lines are a program's and may be anything: what is no record, has a field of another type,
// or is over a bound is counted in Evidence::records_lost, and the rest is read. No exception leaves. Pure.
// Non-goal: files.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string_view>

#include "doctor/evidence.hpp"

namespace runmain::doctor {

inline constexpr std::size_t kRecordMax = 16U << 10U;  // bytes of a line
inline constexpr std::size_t kRecordsMax = 100'000;    // of all processes
inline constexpr std::size_t kFramesMax = 12;          // of a stack
inline constexpr std::size_t kProcessesMax = 4096;

// The text of the file of process `pid`. A last line without its end is not complete, and is left alone.
void read_records(pid_t pid, std::string_view text, Evidence& evidence);

}  // namespace runmain::doctor

// What the doctor says: a cause in one process, with both sides' stacks, what speaks for it and how to mend
// it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "doctor/evidence.hpp"

namespace runmain::doctor {

// In the order in which they are told: what explains most comes first.
enum class Cause : std::uint8_t {
  double_init,
  auto_and_manual,
  exporter_twice,
  reloader_both,
  preload_fork,
  wrong_process,
  too_late,
  nothing_instrumented,
  shared_instance_id,
  refused_after_fork,
  sigterm_swallowed,
  lost_at_exit,
  dead_collector,
  never_activated,
  never_ended,
  repeated_ids,
  sdk_and_injector,
  no_telemetry,
};
inline constexpr std::size_t kCauses = 18;
const char* id_of(Cause cause);     // "double-init"
const char* title_of(Cause cause);  // "Telemetry is started twice in one process"

enum class Sure : std::uint8_t { possible, likely, sure };
const char* to_text(Sure sure);

// Which kinds of evidence saw it.
struct SeenBy {
  bool hooks = false;
  bool spans = false;
  bool proc = false;
  friend bool operator==(const SeenBy&, const SeenBy&) = default;
};

struct Side {
  pid_t pid = 0;
  std::string what;  // "first set here"
  Stack stack;       // may be empty: not known
};

struct Finding {
  Cause cause = Cause::double_init;
  pid_t pid = 0;  // where it is to be mended
  Sure sure = Sure::sure;
  SeenBy seen_by;
  std::vector<Side> sides;
  std::vector<std::string> evidence;  // sentences
  std::string fix;
};

inline constexpr std::size_t kEvidenceMax = 6;   // sentences of a finding
inline constexpr std::size_t kFindingsMax = 64;  // of a run

}  // namespace runmain::doctor

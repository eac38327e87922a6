// What check-graceful says: which part of the contract is broken, what was seen of it, and how to mend it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace runmain::graceful {

// In the order in which they are told: what explains most comes first.
enum class Cause : std::uint8_t {
  own_socket,
  ready_too_early,
  worker_idle,
  plain_fails,
  crashes,
  reload_fails,
  listener_shut,
  socket_unlinked,
  sigterm_ignored,
  exit_status,
  child_left,
  in_flight_cut,
  accepted_lost,
  refuses_draining,
  kept_lost,
  keeps_connections,
  waits_for_silent,
  waits_for_half,
  holds_others_up,
};
inline constexpr std::size_t kCauses = 19;

const char* id_of(Cause cause);        // "in-flight-cut"
const char* title_of(Cause cause);     // "What is in flight at the drain is not answered"
const char* contract_of(Cause cause);  // the contract's sentence that is broken

struct Finding {
  Cause cause = Cause::own_socket;
  std::vector<std::string> evidence;  // sentences
  std::string fix;
};

}  // namespace runmain::graceful

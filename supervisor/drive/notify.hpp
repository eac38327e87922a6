// What a child says of itself by sd_notify(3), as Events of the core.
//
// Invariant: a message that does not come from the child's own tree causes no Event. Each assignment counts
// once a message, the first of its kind. Non-goal: receiving datagrams (the keeper does), BARRIER (the keeper
// closes its fd when the message is acknowledged), the fd store. Thread: any.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/event.hpp"
#include "keeper/protocol.hpp"

namespace runmain::drive {

inline constexpr std::size_t kStatusTextMax = 512;  // bytes of a status text; cut at a character
inline constexpr std::uint64_t kNotifyUsecMax =
    1'000'000'000'000'000;  // 31 years: nothing later can overflow a Time

struct NotifyOutcome {
  std::vector<core::Event> events;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> requests;  // answered, and being answered
  std::vector<std::string> refusals;                                // for a person, each ends ", ignoring"
  std::uint32_t malformed = 0;  // assignments of ours with a value that is none
  std::uint32_t unknown = 0;    // assignments that we do not know; not a fault
};

// `carries_tag` says whether a pid belongs to this child's tree; it is asked for MAINPID only.
NotifyOutcome parse_notify(const keeper::Notified& message,
                           const std::function<bool(std::int32_t)>& carries_tag);

// At most `limit` bytes of a text, no character of UTF-8 cut in half.
std::string clip_status(std::string_view text, std::size_t limit = kStatusTextMax);

}  // namespace runmain::drive

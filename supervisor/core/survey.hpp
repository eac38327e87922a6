// What one look at a service's record tells: who is there, what is missing, when to look again. Pure
// functions of the state, so that what is cached from them can be made anew after a restore.
#pragma once

#include <cstdint>
#include <vector>

#include "core/state.hpp"

namespace runmain::core {

struct Survey {
  bool build = false;              // a build step that is not forgotten
  bool build_living = false;       // … that still runs
  bool workers = false;            // any worker that is not forgotten
  bool others = false;             // … of a generation that is not `current`
  bool current_ready = false;      // a ready worker of `current`
  std::uint32_t full = 0;          // slots that have a ready worker or are done
  std::uint32_t full_current = 0;  // … one of `current`
};

// What survey() marks for each slot.
enum SlotMark : std::uint8_t { kOccupied = 1, kNextOccupied = 2, kReadyCurrent = 4, kReadyOther = 8 };

// On return marks[slot] is valid for every slot below r.workers().
Survey survey(const ServiceRecord& r, std::vector<std::uint8_t>& marks);

inline bool up(const State& s, const ServiceRecord& r) { return r.wanted && !s.shutting_down; }

// A new generation can start beside the current one.
inline bool can_overlap(const ServiceRecord& r, const Survey& seen) {
  return r.overlaps() && seen.current_ready;
}

// The build step is to be started as soon as its retry time allows. Not while changes are held or settle:
// what it built would be out of date.
inline bool waits_for_build(const ServiceRecord& r, const Survey& seen) {
  return r.roll == Roll::build && !seen.build && !r.dirty && !r.due;
}

// Every slot serves, or the service's work is done.
inline bool is_satisfied(const ServiceRecord& r, const Survey& seen) {
  return r.wanted && (r.run == RunState::done || (r.run == RunState::running && seen.full == r.workers()));
}

// Calls use(slot, generation) for every slot that should get a child as soon as its retry_at allows. Requires
// the marks of a survey made since the last change.
template <class F>
void each_vacancy(const State& s, const ServiceRecord& r, const Survey& seen,
                  const std::vector<std::uint8_t>& marks, F&& use) {
  if (!up(s, r) || r.run != RunState::running) return;
  const bool making_room = r.roll == Roll::launch && !can_overlap(r, seen);
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    if (!making_room && !r.slots[slot].current.done && (marks[slot] & kOccupied) == 0) use(slot, r.current);
    if (r.next != 0 && !r.slots[slot].next.done && (marks[slot] & kNextOccupied) == 0) use(slot, r.next);
  }
}

// When this service wants to be looked at again. Requires fresh marks, as above.
Time deadline_of(const State& s, const ServiceRecord& r, const Survey& seen,
                 const std::vector<std::uint8_t>& marks);

ServiceState state_of(const State& s, const ServiceRecord& r, const Survey& seen,
                      const std::vector<std::uint8_t>& marks);

// It waits for a service that failed or is stopped, or for one that is blocked itself. Requires the bits of
// what it needs.
bool is_blocked(const State& s, const ServiceRecord& r);

// What it adds to the tallies. Requires the bits of what it needs.
std::uint32_t bits_of(const State& s, const ServiceRecord& r, const Survey& seen);

}  // namespace runmain::core

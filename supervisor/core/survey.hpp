// What one look at a service's record tells: who is there, what is missing, when to look again. Pure
// functions of the state, so that what is cached from them can be made anew after a restore.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/state.hpp"

namespace runmain::core {

struct Survey {
  bool build = false;              // a build step that is not forgotten
  bool build_living = false;       // … that still runs
  bool workers = false;            // any worker that is not forgotten
  bool current_ready = false;      // a ready worker of `current`
  bool any_ready = false;          // … of whatever generation
  bool serves = false;             // a slot that is wanted has a ready worker, or will not get one
  bool stays = false;              // a worker of `current` that is not leaving
  std::uint32_t others = 0;        // generations that are not `current` and have a worker
  std::uint32_t newest_other = 0;  // the newest of them
  std::uint32_t full = 0;          // slots that have a ready worker or are done
  std::uint32_t full_current = 0;  // … one of `current`
};

// What survey() marks for each slot. One that leaves does not occupy its slot, and is not ready for it but
// for those who ask whether anybody serves.
enum SlotMark : std::uint8_t {
  kOccupied = 1,
  kNextOccupied = 2,
  kReadyCurrent = 4,
  kReadyNext = 8,
  kReadyOther = 16,
  kOldLiving = 32,    // a living worker that is not of `next`
  kOtherLiving = 64,  // … and not of `current` either
};
inline constexpr std::uint8_t kServes = kReadyCurrent | kReadyNext | kReadyOther;

// On return marks[slot] is valid for every slot below r.workers().
Survey survey(const ServiceRecord& r, std::vector<std::uint8_t>& marks);

inline bool up(const State& s, const ServiceRecord& r) { return r.wanted && !s.shutting_down; }

// A new generation can take over slot by slot.
inline bool can_roll(const ServiceRecord& r, const Survey& seen) {
  return seen.any_ready && (r.spec.roll.gradual || r.canary_asked > 0);
}

// A new generation can start beside the current one, or take its slots one after the other.
inline bool can_overlap(const ServiceRecord& r, const Survey& seen) {
  return (r.overlaps() && seen.current_ready) || can_roll(r, seen);
}

// There are as many older generations as may linger: the next one waits. In a gradual roll what an earlier
// one has left serving does not count.
inline bool too_many_linger(const ServiceRecord& r, const Survey& seen) {
  return seen.others > r.spec.stop.lingering + (can_roll(r, seen) ? 1 : 0);
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

// A slot that has failed for good, where nothing is on its way that could change that. nullopt: none.
std::optional<std::uint32_t> lost_slot(const ServiceRecord& r);

// Calls use(slot, generation) for every slot that should get a child as soon as its retry_at allows. Requires
// the marks of a survey made since the last change.
template <class F>
void each_vacancy(const State& s, const ServiceRecord& r, const Survey& seen,
                  const std::vector<std::uint8_t>& marks, F&& use) {
  if (!up(s, r) || r.run != RunState::running) return;
  const bool making_room = r.roll == Roll::launch && !can_overlap(r, seen);
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    const Slot& it = r.slots[slot];
    const std::uint8_t mark = marks[slot];
    const bool in_the_way = !r.overlaps() && (mark & kOtherLiving) != 0;
    if (!making_room && !it.current.done && (mark & kOccupied) == 0 && !in_the_way && !r.had_turn(slot))
      use(slot, r.current);
    if (r.next == 0 || it.next.done || (mark & kNextOccupied) != 0 || r.waits_for_turn(slot)) continue;
    if (!r.had_turn(slot) || !r.course.old_first || (mark & kOldLiving) == 0) use(slot, r.next);
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

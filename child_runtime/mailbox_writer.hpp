// The writing half of a mailbox (mailbox.h): taking lanes, and putting records, dictionary entries and open
// spans into one.
//
// Invariants: a Lane is used by one thread at a time; writing waits for nobody, and what finds no room is
// counted in the lane. Lanes are mapped one by one, when they are taken, and stay mapped: an open span of an
// ended thread may still point into one. A forked child has none of these mappings. Non-goal: what is in a
// record.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mailbox.h"

namespace runmain::child {

inline constexpr std::uint32_t kLanesMax = 256;  // of a mailbox that we can use
inline constexpr std::uint32_t kSlotsMax = 256;  // open slots that we use of a lane
inline constexpr std::uint32_t kScopesMax = 256;
inline constexpr std::uint64_t kSlotStep = 64;  // between the states of two spans: room for 31 other names

// What this process knows of its mailbox. All zero: it has none.
struct Mailbox {
  std::atomic<runmain_mailbox*> header;
  int memfd;
  int wake_fd;
  dev_t device;  // of the memfd: its number may belong to another file by now
  ino_t inode;
  std::uint32_t lane_count;
  std::uint32_t lanes_shared;
  std::uint64_t lane_stride;
  std::uint32_t header_size;
  std::uint32_t dictionary_size;
  std::uint32_t open_slots;
  std::uint64_t ring_size;
  std::uint32_t pid;
  std::uint64_t pid_started;
  std::uint32_t process_number;                 // 0: the first one that took it up
  std::atomic<std::uint8_t*> lanes[kLanesMax];  // where they are mapped
};

// Maps the header and checks it. `pid_started`: process_start(). 0, -EALREADY, -EPROTO or another negative
// errno.
int open_mailbox(Mailbox& mailbox, int memfd, int wake_fd, std::uint64_t pid_started);

// The program that this process was before execve(2) has left its lanes taken, and nobody else closes them as
// long as the process lives. Before this one takes any.
void close_lanes_of_before(Mailbox& mailbox);

// A lane in the hands of its writer. All zero: none.
struct Lane {
  runmain_lane* lines;  // nullptr: none
  std::uint8_t* ring;
  std::uint64_t ring_size;
  std::uint64_t write;
  std::uint64_t read;    // as far as we have looked
  bool several_writers;  // one of the lanes that are shared
  std::uint32_t index;

  runmain_open_slot* slots;
  std::uint32_t slot_count;
  std::uint32_t free_count;
  std::uint64_t slot_sequence;  // the state of the last slot that was written
  std::uint64_t next_search_ns;

  std::uint8_t* dictionary;
  std::uint32_t dictionary_size;
  std::uint32_t dictionary_used;
  std::uint32_t dictionary_entries;

  std::uint16_t free_slots[kSlotsMax];
  std::uint32_t scopes[kScopesMax];  // by a tracer's number: its scope's index here; 0: not there yet
};

// Takes a free lane, one that is shared or one for a single thread, and puts the resource into its
// dictionary. False: there is none.
bool take_lane(Mailbox& mailbox, Lane& lane, bool shared, const void* resource, std::size_t resource_size);
// Tells whose it is now. For a lane that goes on with another thread.
void rename_lane(Lane& lane);
// The thread has ended. True: it was given back, `lane` is none now. False: spans of it are still open.
bool close_lane(Lane& lane);

// Adds to a counter of the lane, in one step for signal handlers of this thread.
inline void count([[maybe_unused]] const Lane& lane, std::uint64_t& counter, std::uint64_t n = 1) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  if (!lane.several_writers) [[likely]] {
    __asm__ volatile("addq %1, %0" : "+m"(counter) : "er"(n) : "cc");
    return;
  }
#endif
  __atomic_fetch_add(&counter, n, __ATOMIC_RELAXED);
}

// Appends an entry. Its index, or RUNMAIN_SCOPE_LOST (counted).
std::uint32_t add_entry(Lane& lane, std::uint16_t kind, const void* payload, std::size_t size);

// Room for a record of `size` bytes, header and padding included: a multiple of RUNMAIN_RECORD_ALIGN.
// nullptr: none.
std::uint8_t* reserve_record_slow(Lane& lane, std::size_t size);
inline std::uint8_t* reserve_record(Lane& lane, std::size_t size) {
  const std::uint64_t offset = lane.write & (lane.ring_size - 1);
  if (lane.write + size - lane.read > lane.ring_size || lane.ring_size - offset < size) [[unlikely]]
    return reserve_record_slow(lane, size);
  return lane.ring + offset;
}
// What was reserved last is there for the reader.
inline void publish_record(Lane& lane, std::size_t size) {
  lane.write += size;
  __atomic_store_n(&lane.lines->write, lane.write, __ATOMIC_RELEASE);
}
// Wakes the reader if it sleeps.
void wake_reader(Mailbox& mailbox);
inline void wake_if_asleep(Mailbox& mailbox) {
  runmain_mailbox* header = mailbox.header.load(std::memory_order_relaxed);
  if (__atomic_load_n(&header->asleep, __ATOMIC_RELAXED) != 0) [[unlikely]]
    wake_reader(mailbox);
}

// What follows must not be seen before what precedes.
inline void order_stores() {
#if !defined(__SANITIZE_THREAD__)  // which knows no fences
  __atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

inline void full_barrier() {
#if !defined(__SANITIZE_THREAD__)
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

// ---- open spans

// Looks for slots that other threads have freed, once a millisecond at most.
void find_free_slots(Lane& lane, std::uint64_t now_ns);
// A slot to fill and then publish, or nullptr (counted).
inline runmain_open_slot* take_slot(Lane& lane, std::uint64_t now_ns) {
  if (lane.free_count == 0) [[unlikely]] {
    find_free_slots(lane, now_ns);
    if (lane.free_count == 0) {
      count(lane, lane.lines->open_full);
      return nullptr;
    }
  }
  return lane.slots + lane.free_slots[--lane.free_count];
}
// The slot's contents are there. Returns the state that says so.
inline std::uint64_t publish_slot(Lane& lane, runmain_open_slot* slot) {
  lane.slot_sequence += kSlotStep;
  __atomic_store_n(&slot->state, lane.slot_sequence, __ATOMIC_RELEASE);
  return lane.slot_sequence;
}
// `lane`: the one in the caller's hands, or nullptr; the slot may be another's.
inline void free_slot(Lane* lane, runmain_open_slot* slot, std::uint64_t state) {
  if (lane != nullptr && slot >= lane->slots && slot < lane->slots + lane->slot_count) [[likely]] {
    __atomic_store_n(&slot->state, 0, __ATOMIC_RELEASE);
    order_stores();  // who fills it next does so after this
    lane->free_slots[lane->free_count++] = static_cast<std::uint16_t>(slot - lane->slots);
    return;
  }
  __atomic_compare_exchange_n(&slot->state, &state, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
// The span in it has another name. What the reader sees is the first name if it changes too often.
void rename_slot(runmain_open_slot* slot, std::uint64_t& state, const char* name, std::size_t size);

}  // namespace runmain::child

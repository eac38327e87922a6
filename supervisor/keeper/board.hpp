// The memory that keeper and head share for output: one memfd, mapped by both. It outlives every head.
//
// A child's stdout and stderr are one pipe; the keeper moves its bytes into the child's ring, a fixed region
// of one sparse memfd (ring i at i * kRingBytes, byte n of the stream at n % kRingBytes). The board has a
// line of 64 bytes a ring. The keeper alone writes `written`, the head alone writes `consumed`; free room is
// kRingBytes - (written - consumed). A ring is freed by the keeper when the stream has ended and is consumed.
// Invariant: every field is a lock-free atomic, so a process that dies leaves no lock behind.
// Non-goal: hostile writers; no child gets these fds.
#pragma once

#include <atomic>
#include <cstdint>

namespace runmain::keeper {

inline constexpr std::uint32_t kBoardLayout =
    1;  // to be raised when anything below changes, or what the history is like
inline constexpr std::uint32_t kRings = 4096;  // children with output not yet consumed
inline constexpr std::uint64_t kRingBytes = 256U << 10U;
inline constexpr std::uint32_t kNoRing = 0xffffffffU;
inline constexpr std::uint32_t kDirtyWords = kRings / 64;

struct alignas(64) RingLine {
  std::atomic<std::uint64_t> written;   // bytes ever moved in; the keeper's
  std::atomic<std::uint64_t> consumed;  // bytes ever taken out; the head's
  std::atomic<std::uint32_t> used;      // 1: allocated
  std::atomic<std::uint32_t> ended;     // 1: no byte will follow
  std::atomic<std::uint32_t> blocked;   // 1: the keeper waits for room: tell space_event after consuming
  std::atomic<std::uint32_t> service;   // the child's key
  std::atomic<std::uint32_t> slot;
  std::atomic<std::uint32_t> generation;
  std::atomic<std::uint32_t> attempt;
  std::atomic<std::uint32_t> pid;
  std::atomic<std::uint32_t> in_line;  // the head's: 1 if `consumed` stands inside a line that was split
  std::atomic<std::uint32_t> pty;      // 1: the bytes come from a terminal, with "\r\n" at the ends of lines
};
static_assert(sizeof(RingLine) == 64);

// What the head is writing to a log right now. valid 1: bytes of `ring` from `cursor` on may be in the file
// from `offset` on; if the ring still belongs to this child and its `consumed` is still `cursor`, a new head
// truncates the file there and redoes it. device and inode 0: not a file but the history of `service`. The
// head's alone.
struct alignas(64) WriteRecord {
  std::atomic<std::uint32_t> valid;
  std::atomic<std::uint32_t> ring;
  std::atomic<std::uint64_t> cursor;
  std::atomic<std::uint64_t> device;
  std::atomic<std::uint64_t> inode;
  std::atomic<std::uint64_t> offset;
  std::atomic<std::uint32_t> service;  // the child's key: the ring may be another child's by then
  std::atomic<std::uint32_t> slot;
  std::atomic<std::uint32_t> generation;
  std::atomic<std::uint32_t> attempt;
  std::atomic<std::uint32_t> in_line;  // the ring's `in_line` before this batch
};
static_assert(sizeof(WriteRecord) == 64);

// What the keeper is moving out of a pipe right now: into ring `ring` - 1 (0: nothing), of which so much was
// `written` before. The position of the rings' cursor (WelcomeFd::ring_cursor) stands behind what was moved,
// also when the keeper was killed before it could say so. The keeper's alone.
struct MoveRecord {
  std::atomic<std::uint64_t> ring;
  std::atomic<std::uint64_t> written;
};

struct Board {
  std::atomic<std::uint32_t> head_asleep;                     // 1: the head wants output_event
  alignas(64) std::atomic<std::uint64_t> dirty[kDirtyWords];  // rings with something new (bytes or end); by
                                                              // the keeper
  alignas(
      64) std::atomic<std::uint64_t> room[kDirtyWords];  // rings that were blocked and have room; by the head
  WriteRecord record;
  RingLine rings[kRings];
  MoveRecord move;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace runmain::keeper

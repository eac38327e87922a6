#include "drive/output_record.hpp"

namespace runmain::drive {

void OutputRecord::begin(const OutputStream& stream, const OutputPlace& place) {
  keeper::WriteRecord& r = board_->record;
  // A killed process has done its stores in the order of its instructions: only the compiler must not move
  // these before the `valid = 0` of the batch before.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  r.ring.store(stream.ring, std::memory_order_relaxed);
  r.service.store(stream.key.service.value, std::memory_order_relaxed);
  r.slot.store(stream.key.slot, std::memory_order_relaxed);
  r.generation.store(stream.key.generation, std::memory_order_relaxed);
  r.attempt.store(stream.key.attempt, std::memory_order_relaxed);
  r.in_line.store(stream.in_line ? 1 : 0, std::memory_order_relaxed);
  r.cursor.store(stream.consumed, std::memory_order_relaxed);
  r.device.store(place.device, std::memory_order_relaxed);
  r.inode.store(place.inode, std::memory_order_relaxed);
  r.offset.store(place.offset, std::memory_order_relaxed);
  r.valid.store(1);
}

// `in_line` goes first: as soon as the last byte is consumed, the ring may belong to another child. A death
// in between is mended from the record.
void OutputRecord::commit(const OutputStream& stream, std::uint64_t consumed, bool in_line) {
  keeper::RingLine& line = board_->rings[stream.ring];
  line.in_line.store(in_line ? 1 : 0, std::memory_order_relaxed);
  line.consumed.store(consumed);
  board_->record.valid.store(0, std::memory_order_release);
}

void OutputRecord::abandon() { board_->record.valid.store(0, std::memory_order_release); }

std::optional<OutputRecord::Unfinished> OutputRecord::recover() {
  const keeper::WriteRecord& r = board_->record;
  if (r.valid.load(std::memory_order_acquire) == 0 || r.ring.load() >= keeper::kRings) return std::nullopt;
  keeper::RingLine& line = board_->rings[r.ring.load()];
  const bool same_child =
      line.used.load() != 0 && line.service.load() == r.service.load() && line.slot.load() == r.slot.load() &&
      line.generation.load() == r.generation.load() && line.attempt.load() == r.attempt.load();
  if (!same_child || line.consumed.load() != r.cursor.load()) return std::nullopt;
  line.in_line.store(r.in_line.load());
  return Unfinished{{r.device.load(), r.inode.load(), r.offset.load()}, ServiceId{r.service.load()}};
}

}  // namespace runmain::drive

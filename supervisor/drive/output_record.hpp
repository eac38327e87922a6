// The write record of board.hpp: what makes a head's death at any instruction harmless for a log.
//
//   begin (valid 1) ─► write(2) the whole batch ─► consumed moves ─► end (valid 0)
//
// A new head that finds a valid record takes the batch out of its place again if the stream's `consumed` has
// not moved. The ring is known by its child's key: it may belong to another child by then. Invariant: at most
// one batch is under way. Non-goal: surviving the machine's death; nothing is synced.
#pragma once

#include <cstdint>
#include <optional>

#include "drive/output_reader.hpp"
#include "keeper/board.hpp"

namespace runmain::drive {

// Where a batch goes: a file by device and inode, or (both 0) the history of the stream's service; from
// `offset` on.
struct OutputPlace {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  bool in_history() const { return inode == 0; }
};

class OutputRecord {
 public:
  // The board stays the caller's and outlives this.
  explicit OutputRecord(keeper::Board* board) : board_(board) {}

  void begin(const OutputStream& stream, const OutputPlace& place);
  // The batch is in its place: the stream stands at `consumed` from now on, which frees the room in the ring.
  void commit(const OutputStream& stream, std::uint64_t consumed, bool in_line);
  // The batch is not in its place and the place is as before.
  void abandon();

  // What a dead head left: the place of a batch to take out and the service it was of. Nothing if it came to
  // its commit. The record stays valid until abandon(), so that a second death changes nothing.
  struct Unfinished {
    OutputPlace place;
    ServiceId service;
  };
  std::optional<Unfinished> recover();

 private:
  keeper::Board* board_;
};

}  // namespace runmain::drive

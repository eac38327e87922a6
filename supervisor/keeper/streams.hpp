// The children's output: bytes from pipes into rings (board.hpp). Lives apart from the children, because a
// stream goes on as long as anybody holds the pipe, and its ring until the head has taken the last byte.
// Invariant: a full ring stops the reading of its own pipe only. Bound: kRings streams, kRingBytes each.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "keeper/board.hpp"
#include "keeper/poller.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"

namespace runmain::keeper {

class Streams {
 public:
  // The memfds and eventfds, made here and owned for the keeper's life.
  static Result<std::unique_ptr<Streams>> make(Poller& poller);
  ~Streams();
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  int board_fd() const { return board_fd_.get(); }
  int rings_fd() const { return rings_fd_.get(); }
  int output_event() const { return output_event_.get(); }
  int room_event() const { return room_event_.get(); }

  // A pipe and a ring for a child. The write end is the caller's, to be closed after the spawn. On failure
  // EMFILE and the like; ENOBUFS: all rings are in use.
  struct Opened {
    std::uint32_t serial = 0;
    os::UniqueFd write_end;
  };
  Result<Opened> open(const ChildKey& key);
  // The child was started with this pid, or was not (pid 0: the ring is given back).
  void started(std::uint32_t serial, std::int32_t pid);

  // The pipe of this stream has something. Moves at most kPumpMax bytes.
  void on_pipe(std::uint32_t serial);
  // Takes everything that is in the pipe now, as far as the ring has room: before a death is told.
  void drain(std::uint32_t serial);
  // The head has made room in some rings.
  void on_room();
  // Frees the rings that ended and are consumed.
  void reclaim();

 private:
  struct Stream {
    os::UniqueFd pipe;
    std::uint32_t ring = kNoRing;
    bool polled = false;
  };
  explicit Streams(Poller& poller) : poller_(poller) {}
  enum class Moved { some, nothing_there, no_room, ended };
  Moved move_some(Stream& stream);
  void end(std::uint32_t serial, Stream& stream);
  void tell_head(std::uint32_t ring);
  void poll(std::uint32_t serial, Stream& stream, bool on);

  Poller& poller_;
  os::UniqueFd board_fd_;
  os::UniqueFd rings_fd_;
  os::UniqueFd output_event_;
  os::UniqueFd room_event_;
  Board* board_ = nullptr;
  std::unordered_map<std::uint32_t, Stream> streams_;  // by serial
  std::vector<std::uint32_t> stream_of_ring_;          // serial, 0: none
  std::vector<std::uint32_t> free_rings_;
  std::vector<std::uint32_t> ended_rings_;
  std::uint32_t last_serial_ = 0;
};

}  // namespace runmain::keeper

// The children's output: bytes from pipes and ptys into rings (board.hpp). Lives apart from the children,
// because a stream goes on as long as anybody holds the pipe, and its ring until the head has taken the last
// byte. Invariant: a full ring stops the reading of its own pipe only. Bound: kRings streams, kRingBytes
// each, and kInputMax bytes that a child on a pty has not read yet.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "keeper/adoption.hpp"
#include "keeper/board.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/poller.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/pty.hpp"

namespace runmain::keeper {

inline constexpr std::size_t kInputMax = 64U << 10U;
// Of pipes that outlive us, so that their children have more time before a write waits. The kernel counts
// what all processes of a user have in pipes (pipe(7), pipe-user-pages-soft), so only the first ones get it.
inline constexpr int kWidePipeBytes = 1 << 20;
inline constexpr std::size_t kWidePipesMax = 16;

class Streams {
 public:
  // The memfds and eventfds, made here and owned for the keeper's life.
  static Result<std::unique_ptr<Streams>> make(Poller& poller);
  // For an upgrade: save() is a map of what there is, resume() goes on with it in the same process.
  StreamsState save() const;
  static Result<std::unique_ptr<Streams>> resume(Poller& poller, const StreamsState& state);
  ~Streams();
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  int board_fd() const { return board_fd_.get(); }
  int rings_fd() const { return rings_fd_.get(); }
  int cursor_fd() const { return cursor_fd_.get(); }
  int output_event() const { return output_event_.get(); }
  int room_event() const { return room_event_.get(); }

  // A pipe, or a pty if there is a shape for it, and a ring for a child. The write end (the pty's slave) is
  // the caller's, to be closed after the spawn. On failure EMFILE and the like; ENOBUFS: all rings are in
  // use.
  // `lasting`: the write end can be read, too, so that nobody who has it gets SIGPIPE when we are gone.
  struct Opened {
    std::uint32_t serial = 0;
    os::UniqueFd write_end;
  };
  Result<Opened> open(const ChildKey& key, const os::TerminalShape* pty = nullptr, bool lasting = false);
  // Goes on with a pipe of a keeper that is gone, behind `unread`, which that one had taken out of it. Its
  // serial; to be started().
  Result<std::uint32_t> adopt(const ChildKey& key, os::UniqueFd read_end, const Unread& unread);
  // Of a stream's pipe; 0 if it is none.
  std::uint64_t pipe_inode(std::uint32_t serial) const;
  // While no head is at work, what outlives us (`lasting`, adopted) stays in its pipe, where it is safe if we
  // are killed as well. Off: all of it is taken. On at first.
  void hold(bool on);
  // The child was started with this pid, or was not (pid 0: the ring is given back).
  void started(std::uint32_t serial, std::int32_t pid);

  // The pipe of this stream has something (moves at most kPumpMax bytes), or takes something.
  void on_pipe(std::uint32_t serial, std::uint32_t events);
  // Takes everything that is in the pipe now, as far as the ring has room: before a death is told.
  void drain(std::uint32_t serial);
  // The head has made room in some rings.
  void on_room();
  // Frees the rings that ended and are consumed.
  void reclaim();

  // The master of this stream's pty; -1 if it has none.
  int master(std::uint32_t serial) const;
  // Typed into this stream's pty. What is more than kInputMax is dropped: nobody reads there.
  void type(std::uint32_t serial, std::string_view bytes);
  // Every pty gets this size; the kernel tells its foreground group by SIGWINCH.
  void resize(const winsize& size);
  // The same signal without another size: programs that draw the whole screen do it again.
  void redraw();

 private:
  struct Stream {
    os::UniqueFd pipe;  // or the master of a pty
    std::uint32_t ring = kNoRing;
    bool pty = false;
    bool wide = false;     // its pipe is larger than others
    bool lasting = false;  // it outlives us
    bool reads = false;    // started, and its ring has room
    std::uint32_t polled = 0;
    std::string input;  // typed, not yet taken by the pty
  };
  explicit Streams(Poller& poller) : poller_(poller) {}
  Result<void> map();
  enum class Moved { some, nothing_there, no_room, ended };
  Moved move_some(Stream& stream);
  ssize_t move_bytes(Stream& stream, std::size_t size, loff_t offset);
  Result<os::UniqueFd> open_ends(Stream& stream, const os::TerminalShape* pty);
  os::UniqueFd make_lasting(Stream& stream, os::UniqueFd write_end);
  std::uint32_t begin(const ChildKey& key, Stream opened);
  void flush_input(Stream& stream);
  void end(std::uint32_t serial, Stream& stream);
  void tell_head(std::uint32_t ring);
  void poll(std::uint32_t serial, Stream& stream);
  void read_on(std::uint32_t serial, Stream& stream, bool on);

  Poller& poller_;
  os::UniqueFd board_fd_;
  os::UniqueFd rings_fd_;
  os::UniqueFd cursor_fd_;  // the rings' memory once more, with a position of its own
  os::UniqueFd output_event_;
  os::UniqueFd room_event_;
  Board* board_ = nullptr;
  std::string scratch_;                                // of a pty: splice(2) is for pipes
  std::unordered_map<std::uint32_t, Stream> streams_;  // by serial
  std::vector<std::uint32_t> stream_of_ring_;          // serial, 0: none
  std::vector<std::uint32_t> free_rings_;
  std::vector<std::uint32_t> ended_rings_;
  std::uint32_t last_serial_ = 0;
  std::size_t wide_ = 0;  // streams
  bool held_ = true;
};

}  // namespace runmain::keeper

// The head's stdout: whole lines, never waiting.
//
// On a terminal that is stopped (Ctrl-S) lines beyond the buffer are dropped and counted: "… 12 lines not
// shown". A pipe or socket is for another program: there nothing is dropped, `room()` gets 0 and the rings
// wait. What a full disk does not take of a file is dropped and counted. A reader that went away (EPIPE, EIO)
// ends it; the rest goes on. Invariant: a line is never interleaved with another of ours; the flags of the
// shared file description stay as they are (our own description is opened, or MSG_DONTWAIT, or poll(2)
// first). Requires SIGPIPE and SIGTTOU ignored. Thread: the loop's. Non-goal: knowing the width of the
// terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "base/time.hpp"
#include "drive/output_buffer.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr std::size_t kTerminalBufferMax = 1U << 20U;  // bytes of output that wait
inline constexpr std::size_t kTerminalReserve = 128U << 10U;  // more, for the supervisor's own lines

class OutputTerminal {
 public:
  // `fd` stays the caller's and outlives this; -1: nobody looks. Colour only on a terminal, and not where
  // NO_COLOR is set (no-color.org) or TERM is "dumb".
  OutputTerminal(os::Loop& loop, int fd);
  ~OutputTerminal();

  // False when nobody looks (any more).
  bool active() const { return kind_ != Kind::none; }
  bool colour() const { return colour_; }
  // True if the rings shall wait for the reader; lines are dropped otherwise.
  bool lossless() const { return kind_ == Kind::pipe; }

  // One line of the supervisor itself, without its newline; shown as it is, so the caller makes it printable.
  void print(std::string_view line);

  // Wipes a terminal and what can be scrolled back to; nothing elsewhere.
  void clear();

  // Whole lines with their newlines. Requires, if lossless(), that they fit into room().
  void show(std::string_view lines);
  std::size_t room() const;

  // Bytes ever taken, and ever written out or given up. What was taken at `accepted()` is out when written()
  // is there.
  std::uint64_t accepted() const { return accepted_; }
  std::uint64_t written() const { return accepted_ - buffer_.size(); }
  std::uint64_t lines_dropped() const { return dropped_ever_; }

  // Called when bytes went out or the reader went away.
  void on_room(std::function<void()> callback) { on_room_ = std::move(callback); }

  // Waits until all is out, at most so long. True if it is.
  bool flush(Duration at_most);
  // Idle: gives memory back.
  void release() { buffer_.release(); }

 private:
  enum class Kind { none, tty, pipe, file };
  enum class Way { write, send, careful };  // careful: poll(2), then a piece that the kernel is sure to take
  void open_own(int fd);
  void watch();
  void pump();
  void on_writable();
  long write_some();
  void give_up(int error);
  void drop(std::string_view lines);
  void note_dropped();
  void put(std::string_view bytes);

  os::Loop& loop_;
  Kind kind_ = Kind::none;
  Way way_ = Way::write;
  int fd_ = -1;
  os::UniqueFd own_;    // our own description of the same file
  os::UniqueFd epoll_;  // watches fd_; libuv would change the flags of what it watches
  bool colour_ = false;
  bool waiting_ = false;
  OutputBuffer buffer_{kTerminalBufferMax + kTerminalReserve};
  std::uint64_t accepted_ = 0;
  std::uint64_t dropped_ = 0;  // not yet told
  std::uint64_t noted_ = 0;    // told by a note that is still in the buffer
  std::uint64_t dropped_ever_ = 0;
  std::function<void()> on_room_;
  std::unique_ptr<os::Poll> poll_;
};

}  // namespace runmain::drive

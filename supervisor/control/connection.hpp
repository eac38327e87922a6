// One client of the control socket: bytes in and out, and their bounds. Knows lines, not what they mean.
//
// Invariant: never blocks; holds at most kRequestMax bytes in and, of a stream, kPendingMax bytes out. A
// client that breaks a bound is marked dead with a reason; the server takes it away. Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.hpp"
#include "control/protocol.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"

namespace runmain::control {

// Shorter in tests.
struct Limits {
  Duration request = kRequestDeadline;
  Duration idle = kIdleMax;
  Duration stalled = kStalledMax;
  Duration accept_pause = kAcceptPause;
};

class Connection {
 public:
  // `woken` is called after bytes came or went, or the connection died; it may destroy the connection.
  Connection(os::Loop& loop, os::UniqueFd fd, const Limits& limits, std::function<void()> woken);

  // The next whole line, without its newline; nothing while an answer is still on its way out.
  std::optional<std::string> next_line();

  // Queues bytes. False, and nothing queued, if a stream's bound would be broken; answers always fit.
  void answer(std::string_view bytes);
  bool stream(std::string_view bytes);

  // Sends what the reader takes now. What became of it is told by `woken`, soon; dead() tells at once.
  void flush();

  // Dead: to be destroyed. finish(): dead as soon as everything is sent.
  void kill() { dead_ = true; }
  void finish();
  bool dead() const { return dead_; }

  // More came than a request may have, and no end of line in it.
  bool overfull() const { return in_.size() > kRequestMax && scanned_ == in_.size(); }
  bool inbox_full() const { return in_.size() > kRequestMax; }
  bool inbox_empty() const { return in_.empty(); }

  // True while bytes wait for the reader.
  bool pending() const { return !out_.empty(); }
  std::size_t room() const { return out_.size() >= kPendingMax ? 0 : kPendingMax - out_.size(); }
  // The peer has closed its sending side; it may still read.
  bool half_closed() const { return half_closed_; }
  // True if a half-closed peer is gone altogether.
  bool peer_gone() const;

  // When the client has to have done something, seen from now: complete its line, ask, or read. `busy`: a
  // request is being worked on.
  Time deadline(bool busy) const;
  void note_answered();

 private:
  void on_ready(int events);
  void read_some();
  void write_some();
  void show_interest();

  os::UniqueFd fd_;
  Limits limits_;
  std::function<void()> woken_;
  std::unique_ptr<os::Poll> poll_;
  std::string in_;
  std::size_t scanned_ = 0;  // bytes of in_ known to hold no newline
  std::string out_;
  std::size_t sent_ = 0;    // bytes of out_ that are gone
  bool streaming_ = false;  // what waits is a stream's
  bool half_closed_ = false;
  bool finishing_ = false;
  bool dead_ = false;
  bool asked_ = false;  // had a request answered
  int wanted_ = 0;
  Time line_since_{};  // when the first byte of the incomplete line came, or the connection was made
  Time idle_since_{};
  Time sent_at_{};  // when the reader last took a byte, or nothing waited
};

}  // namespace runmain::control

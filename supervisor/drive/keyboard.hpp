// The terminal that a person types at: its modes while we are there, and the bytes that come.
//
// Only a terminal whose foreground group we are in is touched; in the background nothing is read, so nothing
// stops us. Bytes come one by one and are not echoed; Ctrl-C stays a signal as long as it can, so that it is
// heard although we hang (the keeper gets it too), Ctrl-Z and Ctrl-\ are bytes. Invariant: the flags of the
// shared file description stay as they are. Requires SIGTTIN and SIGTTOU ignored. Thread: the loop's.
// Non-goal: what a byte means (keys.hpp); giving the terminal back when we are killed (that is the keeper's).
#pragma once

#include <termios.h>

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

class Keyboard {
 public:
  using OnBytes = std::function<void(std::string_view bytes)>;
  // `fd` stays the caller's. Nothing happens before enter().
  Keyboard(os::Loop& loop, int fd, OnBytes on_bytes);
  ~Keyboard() { leave(); }
  Keyboard(const Keyboard&) = delete;
  Keyboard& operator=(const Keyboard&) = delete;

  // Sets the modes and begins to read, or sets them again. `raw_output`: what is written stays as it is
  // (OPOST off). False if this is no terminal, or not ours now.
  bool enter(bool raw_output);
  // Gives the terminal back as it was found; in the background only if nobody has set it since.
  void leave();
  bool active() const { return found_.has_value(); }
  // Whether Ctrl-C is a signal (at first it is) or a byte among the others, in its place: for a program that
  // takes it as a key.
  void set_signals(bool on);
  // Hands on what has come already.
  void take() {
    if (poll_ && active()) on_readable();
  }
  // The byte that Ctrl-C would be without its signal.
  char interrupt_byte() const { return found_ ? static_cast<char>(found_->c_cc[VINTR]) : '\x03'; }

 private:
  void on_readable();
  void listen(bool on);

  os::Loop& loop_;
  int fd_;
  OnBytes on_bytes_;
  os::UniqueFd own_;    // our own description of the same terminal
  os::UniqueFd epoll_;  // watches it; libuv would change the flags of what it watches
  std::unique_ptr<os::Poll> poll_;
  std::optional<termios> found_;
  std::optional<termios> set_;
};

}  // namespace runmain::drive

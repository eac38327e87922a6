// The terminal that runmain was started at: what it was like, so that whatever a head does to it is undone.
//
// The head reads the keys and sets the modes for that; it can die at any instruction. Invariant: when a head
// is dead, at the end, and before runmain is stopped (Ctrl-Z), the terminal is as it was found, if it is ours
// to set (in the foreground) and not line by line already. Modes without lines are never taken for what was
// found. Non-goal: reading it.
#pragma once

#include "os/linux/pty.hpp"

namespace runmain::keeper {

class UserTerminal {
 public:
  UserTerminal() { remember(); }
  // At the start, and when a shell has put us into the foreground again.
  void remember();
  void restore() const;
  // For an upgrade: what was found, for the program that goes on in this process.
  std::string save() const;
  void restore(const std::string& saved);
  // What a child's terminal is to be like: ours.
  os::TerminalShape shape() const;
  std::optional<winsize> size() const;

 private:
  std::optional<termios> found_;
};

}  // namespace runmain::keeper

// The part of the protocol (protocol.hpp) that is about the children's terminals. None of these is numbered:
// who types sees what becomes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace runmain::keeper {

// What a person typed for a child, put into its terminal. At most once, and lost with the head: who types
// sees what becomes of it.
struct TypeInput {
  ChildKey key;
  std::string bytes;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("bytes", bytes);
  }
};

// Which children wait at their terminals? Answered by TerminalsSeen with the same serial. The keeper looks,
// because it is their ancestor: others may not look into a process (Yama).
struct LookAtTerminals {
  std::uint32_t serial = 0;
  template <class A>
  void fields(A& a) {
    a("serial", serial);
  }
};

// Ctrl-Z was pressed and is for runmain: the whole job stops, as the terminal would have done it.
struct SuspendJob {
  template <class A>
  void fields(A&) {}
};

// How a child stands to its terminal at this moment (os/linux/tty_wait.hpp).
struct TerminalSeen {
  ChildKey key;
  bool wants_keys = false;  // what is typed now is for it
  bool stands = false;      // it does nothing but wait for an answer
  bool signals = true;      // its Ctrl-C and Ctrl-Z are signals, not keys
  bool unknown = false;     // it may not be looked at
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("wants_keys", wants_keys);
    a("stands", stands);
    a("signals", signals);
    a("unknown", unknown);
  }
};
inline constexpr std::size_t kTerminalsMax = 64;  // that are looked at; the others rest

struct TerminalsSeen {
  std::uint32_t serial = 0;
  std::vector<TerminalSeen> terminals;
  template <class A>
  void fields(A& a) {
    a("serial", serial);
    a("terminals", terminals);
  }
};

}  // namespace runmain::keeper

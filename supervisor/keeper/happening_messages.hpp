// What the keeper has to tell: the part of protocol.hpp that is kept until it is acknowledged. Invariant and
// non-goal: as there.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.hpp"

namespace runmain::keeper {

struct Started {
  ChildKey key;
  std::int32_t pid = 0;
  std::uint8_t stage = 0;  // core::SpawnStage
  std::int32_t error = 0;
  std::string detail;
  std::uint64_t tag = 0;
  std::vector<std::uint64_t> sockets;  // inodes of its listeners, in their order
  bool kept = false;                   // it outlives the keeper
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("stage", stage);
    a("error", error);
    a("detail", detail);
    a("tag", tag);
    a("sockets", sockets);
    a("kept", kept);
  }
};
// known false: somebody else waited for it (a MAINPID that is not our child), its status cannot be had.
struct Died {
  ChildKey key;
  std::int32_t pid = 0;
  std::int32_t status = 0;
  bool known = true;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("status", status);
    a("known", known);
  }
};
struct TreeEmpty {
  ChildKey key;
  std::vector<std::string> survivors;  // "PID NAME (why)"; empty: proved
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("survivors", survivors);
  }
};
// A datagram on the child's notify socket. of_tree: the sender carried the child's tag when it was received.
// from_main: it was the main process. Fds that came along are held until this is acknowledged (BARRIER), then
// closed.
struct Notified {
  ChildKey key;
  std::int32_t sender = 0;
  bool of_tree = false;
  bool from_main = false;
  std::uint32_t fds = 0;
  std::string text;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("sender", sender);
    a("of_tree", of_tree);
    a("from_main", from_main);
    a("fds", fds);
    a("text", text);
  }
};
// A line from a channel connection, without its newline. has_key: the peer carries the tag of `key`, or the
// connection is bound to it.
struct Line {
  std::uint64_t conn = 0;
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  bool has_key = false;
  bool bound = false;
  ChildKey key;
  std::string text;
  template <class A>
  void fields(A& a) {
    a("conn", conn);
    a("pid", pid);
    a("uid", uid);
    a("has_key", has_key);
    a("bound", bound);
    a("key", key);
    a("text", text);
  }
};
struct LineClosed {
  std::uint64_t conn = 0;
  template <class A>
  void fields(A& a) {
    a("conn", conn);
  }
};
// The keeper got a signal that is for the head to decide about. SIGCONT: we may be in the foreground again.
struct GotSignal {
  std::int32_t signal = 0;
  bool typed = false;          // by a key at the terminal
  std::uint64_t stood_ms = 0;  // SIGCONT: so long the keeper and its children were stopped
  bool nohup = false;          // SIGHUP: it was ignored when runmain was started
  template <class A>
  void fields(A& a) {
    a("signal", signal);
    a("typed", typed);
    a("stood_ms", stood_ms);
    a("nohup", nohup);
  }
};

// The main process of a child was stopped by a signal that is not the keeper's (Ctrl-Z), or goes on.
struct Frozen {
  ChildKey key;
  std::int32_t pid = 0;
  bool on = false;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("on", on);
  }
};
// Somebody has called shutdown(2) on this listener. error 0: it listens again; else the errno, and it does
// not.
struct ListenerShut {
  std::string id;
  std::int32_t error = 0;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("error", error);
  }
};

// The socket of this slot is closed (CloseSlots), and so many connections that waited in its queue with it.
struct SlotClosed {
  std::string id;
  std::uint32_t waiting = 0;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("waiting", waiting);
  }
};

// The end of ReplacePrograms. error empty: the head that hears it is of the new program.
struct UpgradeEnded {
  std::string error;
  bool keeper_too = false;  // the keeper was executed anew, as the same process
  template <class A>
  void fields(A& a) {
    a("error", error);
    a("keeper_too", keeper_too);
  }
};

using What = std::variant<Started, Died, TreeEmpty, Notified, Line, LineClosed, GotSignal, Frozen,
                          ListenerShut, SlotClosed, UpgradeEnded>;

}  // namespace runmain::keeper

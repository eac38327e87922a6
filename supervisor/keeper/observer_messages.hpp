// What keeper and observer say to each other: over one SOCK_SEQPACKET socketpair (the observer's fd 3), one
// archive (base/archive.hpp) a message, fds beside it by SCM_RIGHTS.
//
// A new observer says ObserverHello and is told everything that the keeper has, as if it had just happened:
// its configuration, every mailbox, every death. So an observer can die at any instruction. The keeper keeps
// a mailbox until the observer says that it is read, and understands neither mailbox nor configuration.
// Invariant: nothing here delays a child: what the observer's socket does not take waits as a mark in the
// keeper's table. Non-goal: an observer of another version.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.hpp"

namespace runmain::keeper {

inline constexpr std::uint32_t kObserverVersion = 3;
inline constexpr std::size_t kMailboxesMax = 4096;  // beyond it the oldest without a process go, counted
inline constexpr std::size_t kObserverConfigurationMax = 1U << 20U;  // bytes

// ---- head to keeper (a Request of protocol.hpp)

// From now on there is an observer, and this is its configuration: `size` bytes in the memfd that comes with
// this, which only the observer understands. `listeners`: ids of sockets that it accepts from. The latest one
// counts; a head says it again after each takeover.
struct ConfigureObserver {
  std::uint64_t size = 0;
  std::vector<std::string> argv;
  std::vector<std::string> listeners;
  template <class A>
  void fields(A& a) {
    a("size", size);
    a("argv", argv);
    a("listeners", listeners);
  }
};

// ---- observer to keeper

struct ObserverHello {
  std::uint32_t version = kObserverVersion;
  template <class A>
  void fields(A& a) {
    a("version", version);
  }
};

// All of this mailbox is read, and saved in the cursors: the keeper may let go of it. Counts after TreeGone.
struct MailboxRead {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// The answer to FinishObserving.
struct ObserverFinished {
  template <class A>
  void fields(A&) {}
};

using ObserverSays = std::variant<ObserverHello, MailboxRead, ObserverFinished>;

// ---- keeper to observer

// Comes first. With it the memfd of the observer's cursors (os/linux/memfd_cell.hpp), which no child gets.
struct ObserverWelcome {
  std::uint32_t version = kObserverVersion;
  std::uint32_t starts = 0;  // observers before this one
  template <class A>
  void fields(A& a) {
    a("version", version);
    a("starts", starts);
  }
};

// With it the memfd of ConfigureObserver, then a socket for each of `listeners`.
struct ObserverConfiguration {
  std::uint64_t size = 0;
  std::vector<std::string> listeners;
  template <class A>
  void fields(A& a) {
    a("size", size);
    a("listeners", listeners);
  }
};

// With it the mailbox, and the eventfd by which its writers wake the observer.
struct MailboxMade {
  ChildKey key;
  std::string service;
  std::string instance_id;
  std::int32_t pid = 0;  // the child's main process, whose death ChildGone tells
  bool kept = false;     // it outlives the keeper, and another observer then reads on
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("service", service);
    a("instance_id", instance_id);
    a("pid", pid);
    a("kept", kept);
  }
};

// The main process of a child that has a mailbox was waited for. Comes once more if the child has named
// another one (MAINPID): the latest counts.
struct ChildGone {
  ChildKey key;
  std::int32_t pid = 0;
  std::int32_t status = 0;  // wait status
  bool known = true;        // false: somebody else has it
  std::uint64_t at_unix_nano = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("status", status);
    a("known", known);
    a("at_unix_nano", at_unix_nano);
  }
};

// Nothing is left of the tree of a child that has a mailbox, or of a worker: nobody writes there any more, or
// sends something.
struct TreeGone {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// runmain ends and no child lives: read what is left, send what can be sent in this time, and end. May come
// again with a budget of 0: what is left goes to disk, and nothing is sent.
struct FinishObserving {
  std::uint64_t budget_ms = 0;
  template <class A>
  void fields(A& a) {
    a("budget_ms", budget_ms);
  }
};

// What became of mailboxes that nobody will read, whenever that changes.
struct MailboxesLost {
  std::uint64_t lost = 0;      // let go unread, over kMailboxesMax
  std::uint64_t not_made = 0;  // no room, or no memory
  template <class A>
  void fields(A& a) {
    a("lost", lost);
    a("not_made", not_made);
  }
  friend bool operator==(const MailboxesLost&, const MailboxesLost&) = default;
};

using ObserverMessage = std::variant<ObserverWelcome, ObserverConfiguration, MailboxMade, ChildGone, TreeGone,
                                     FinishObserving, MailboxesLost>;

}  // namespace runmain::keeper

// What head and keeper say to each other: over one SOCK_SEQPACKET socketpair, one archive (base/archive.hpp)
// a message, fds beside it by SCM_RIGHTS.
//
// Head to keeper: Requests. The numbered ones (Numbered) carry the core's effect number; the keeper executes
// a number once, in order, and drops one that is not above the last it executed, so a new head may repeat
// everything it is not sure of. The others are idempotent by their content. Keeper to head: Happenings,
// numbered from 1 without gaps. The keeper keeps each until the head acknowledges it (after the head has
// written it to the state log) and tells a new head all that is not acknowledged. So no exit status, no
// readiness message and no claim can fall between two heads. Invariant: a message is at most kMessageMax
// bytes; a spawn that is larger travels in a memfd. Non-goal: talking to a keeper of another version; Hello
// refuses that, and an upgrade (upgrade.hpp) replaces both.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "keeper/happening_messages.hpp"
#include "keeper/listener_messages.hpp"
#include "keeper/observer_messages.hpp"
#include "keeper/terminal_messages.hpp"

namespace runmain::keeper {

inline constexpr std::uint32_t kProtocolVersion = 9;
inline constexpr std::size_t kMessageMax = 60U << 10U;  // bytes; SO_SNDBUF holds it on every system
inline constexpr std::size_t kSpawnMax = 4U << 20U;     // bytes of argv and environment in a memfd
inline constexpr std::size_t kListenersMax = 48;        // fds given to one child, from 3 on
inline constexpr std::size_t kNotifyTextMax = 4096;     // bytes of a notify datagram; longer ones are cut
inline constexpr std::size_t kNotifyPendingMax =
    16;                                        // not acknowledged messages a child; then its socket waits
inline constexpr std::size_t kLineMax = 4096;  // bytes of a channel line; longer ones end the connection
inline constexpr std::size_t kConnectionsMax = 4096;     // living channel connections
inline constexpr std::uint64_t kPlaceholderDigits = 10;  // room for a pid in LISTEN_PID and RUNMAIN_TOKEN

// ---- head to keeper
// -------------------------------------------------------------------------------------------

// First message of every head. Answered by Welcome.
struct Hello {
  std::uint32_t version = kProtocolVersion;
  template <class A>
  void fields(A& a) {
    a("version", version);
  }
};

struct Limit {
  std::int32_t resource = 0;
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
  template <class A>
  void fields(A& a) {
    a("resource", resource);
    a("soft", soft);
    a("hard", hard);
  }
};

// What a child's stdio is. A build step may show colours, but nobody can answer it: `pty_output`.
enum class Stdio : std::uint8_t { pipe, pty_output, pty };

// Start a child. In `env`, the first run of kPlaceholderDigits '0' at the END of the values of LISTEN_PID and
// RUNMAIN_TOKEN is replaced by the child's own pid (without leading zeros). NOTIFY_SOCKET is added by the
// keeper when `notify` is set. Listeners are put at fds 3, 4, … in this order. `nonce` proves a claim (see
// Line). program: argv[0] is looked up in the PATH of `env` if it has no slash, relative to `cwd` otherwise.
struct SpawnChild {
  ChildKey key;
  std::string service;  // its name: what a key means, for a head that has nothing but the table
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value"
  std::string cwd;
  std::vector<std::string> listeners;  // ids
  bool adopt = false;  // RUNMAIN_ADOPT_COOKIES is added: SO_COOKIE of each listener, hexadecimal, with commas
  bool notify = true;
  bool capture = true;          // stdout and stderr to a ring; otherwise inherited
  Stdio stdio = Stdio::pipe;    // with `capture`: what leads to the ring, and for `pty` is stdin too
  bool die_with_keeper = true;  // PDEATHSIG
  bool set_user = false;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;
  std::int32_t umask = -1;  // -1: as the keeper's
  std::vector<Limit> limits;
  std::uint16_t port = 0;  // of the service's slot 0, where the head has chosen it: the next head has to know
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("service", service);
    a("argv", argv);
    a("env", env);
    a("cwd", cwd);
    a("listeners", listeners);
    a("adopt", adopt);
    a("notify", notify);
    a("capture", capture);
    a("stdio", stdio);
    a("die_with_keeper", die_with_keeper);
    a("set_user", set_user);
    a("uid", uid);
    a("gid", gid);
    a("groups", groups);
    a("umask", umask);
    a("limits", limits);
    a("port", port);
  }
};

// The head could not even build this spawn (unknown user, unreadable env_file): the keeper only tells Started
// with this fault, so that it is as durable as every other answer.
struct RefuseSpawn {
  ChildKey key;
  std::uint8_t stage = 0;  // core::SpawnStage
  std::int32_t error = 0;
  std::string detail;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("stage", stage);
    a("error", error);
    a("detail", detail);
  }
};

// A SpawnChild of more than kMessageMax bytes: the archive of it is in the memfd that comes with this
// message.
struct SpawnInMemfd {
  ChildKey key;
  std::uint64_t size = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("size", size);
  }
};

struct KillChild {
  ChildKey key;
  std::int32_t signal = 0;
  bool group = false;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("signal", signal);
    a("group", group);
  }
};

struct KillTree {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// Tell TreeEmpty as soon as nothing is left of it; nobody is killed.
struct AwaitTree {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

struct ForgetChild {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

struct SetMainPid {
  ChildKey key;
  std::int32_t pid = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
  }
};

// Bytes for a channel connection, with these listeners' fds beside the first byte. conn 0: every connection
// that the key has been bound to. `bind` binds the connection to the key. A slow reader is cut off.
// `mailbox`: behind the listeners' come two more fds, the key's mailbox (made now if there is none, with
// `instance_id` in its header) and the eventfd that goes with it; none of the two if none can be made.
struct SendChannel {
  std::uint64_t conn = 0;
  ChildKey key;
  bool bind = false;
  bool close = false;  // after the bytes are sent
  std::string bytes;
  std::vector<std::string> listeners;
  bool mailbox = false;
  bool by_path = false;  // a line after these bytes says where the mailbox is, too
  std::string instance_id;
  template <class A>
  void fields(A& a) {
    a("conn", conn);
    a("key", key);
    a("bind", bind);
    a("close", close);
    a("bytes", bytes);
    a("listeners", listeners);
    a("mailbox", mailbox);
    a("by_path", by_path);
    a("instance_id", instance_id);
  }
};

// All children are gone: end with this status. If some are not, they are killed first.
struct QuitKeeper {
  std::int32_t status = 0;
  template <class A>
  void fields(A& a) {
    a("status", status);
  }
};

// The programs of this folder take the places of those that run, if they can (upgrade.hpp). Empty: of the
// folder that they came from. Answered by UpgradeEnded, perhaps to the next head.
struct ReplacePrograms {
  std::string folder;
  template <class A>
  void fields(A& a) {
    a("folder", folder);
  }
};

using Order = std::variant<SpawnChild, SpawnInMemfd, RefuseSpawn, KillChild, KillTree, ForgetChild,
                           SetMainPid, SendChannel, QuitKeeper, DistributeSlots, RenewBacklog, AwaitTree,
                           CloseSlots, ReplacePrograms>;

struct Numbered {
  std::uint64_t number = 0;
  Order order;
  template <class A>
  void fields(A& a) {
    a("number", number);
    a("order", order);
  }
};

// Every happening up to and with this number is in the state log. `executed` effects are no longer repeated.
struct Acknowledge {
  std::uint64_t happening = 0;
  template <class A>
  void fields(A& a) {
    a("happening", happening);
  }
};

// SendChannel without a number is for answers that no Event stands behind (a refused line): sent at most
// once.
// The head has opened what it wants, and is at work from now on: what it finds in the rings it has taken, or
// leaves to the next one. Nothing happens before this, and the output of children that outlive the keeper
// waits in their pipes, where no death can lose it.
struct Begun {
  std::uint8_t unused = 0;
  template <class A>
  void fields(A& a) {
    a("unused", unused);
  }
};

using Request = std::variant<Hello, OpenListener, CloseListeners, Numbered, Acknowledge, SendChannel,
                             TypeInput, LookAtTerminals, SuspendJob, ConfigureObserver, Begun>;

// ---- keeper to head
// -------------------------------------------------------------------------------------------

struct ChildEntry {
  ChildKey key;
  std::int32_t pid = 0;
  bool alive = false;
  std::uint64_t tag = 0;  // RLIMIT_RTTIME of its tree
  std::string service;
  std::vector<std::uint64_t> sockets;  // inodes of its listeners, in their order
  bool kept = false;                   // outlives the keeper
  std::uint16_t port = 0;              // SpawnChild.port
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("alive", alive);
    a("tag", tag);
    a("service", service);
    a("sockets", sockets);
    a("kept", kept);
    a("port", port);
  }
};

// The fds that come with Welcome, in this order. Those that the keeper was not given are absent from `fds`
// and from the message.
enum class WelcomeFd : std::uint8_t {
  control,
  state,
  table,
  board,
  rings,
  history,
  output_event,
  space_event,
  journal,
  mailbox,       // runmain's own telemetry goes where everybody's goes …
  mailbox_wake,  // … and wakes the observer
  ring_cursor,   // its position: how far a piece of output was moved (board.hpp, MoveRecord)
};

// The answer to Hello; may come in several messages with `more` set, the fds with the first.
struct Welcome {
  std::uint32_t version = kProtocolVersion;
  std::uint64_t executed = 0;   // the last effect number executed
  std::uint32_t takeovers = 0;  // heads before this one
  bool cold = false;            // heads died too fast: do not use the state log
  std::string secret;           // 16 random bytes of this keeper's life: nonces and ids derive from it
  std::vector<WelcomeFd> fds;
  std::vector<ChildEntry> children;
  bool more = false;
  template <class A>
  void fields(A& a) {
    a("version", version);
    a("executed", executed);
    a("takeovers", takeovers);
    a("cold", cold);
    a("secret", secret);
    a("fds", fds);
    a("children", children);
    a("more", more);
  }
};

struct Happening {
  std::uint64_t number = 0;
  std::uint64_t executed = 0;  // the last effect number executed when this was sent
  What what;
  template <class A>
  void fields(A& a) {
    a("number", number);
    a("executed", executed);
    a("what", what);
  }
};

using Message = std::variant<Welcome, Opened, Happening, TerminalsSeen>;

}  // namespace runmain::keeper

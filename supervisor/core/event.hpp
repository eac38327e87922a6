// Everything that can happen to the core. An Event is plain data and says what was seen, never what to do.
// Each has the wire name that the journal and `runmain events` use: `noun.verb`.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "core/own_event.hpp"
#include "core/spec.hpp"

namespace runmain::core {

// How a child came to be called ready; what is weaker than a proof is shown as such.
enum class Proof : std::uint8_t { notify, claim, epoll, probe, listens, elapsed, unproven };

// The stage of a spawn that failed, in the order in which they happen.
enum class SpawnStage : std::uint8_t { none, resources, fork, session, limits, user, cwd, exec };

enum class CommandVerb : std::uint8_t { start, stop, restart, reload, signal, shutdown, scale, upgrade };

// Why a worker does not answer, as far as one can see from outside (proc(5)). starved: it would run, but
// others have the CPUs; that is no fault of its own.
enum class Stall : std::uint8_t { unknown, starved, stopped, waiting, busy, uninterruptible };

// A new validated configuration. Services keep their ServiceId by name; new names get the next free ids; a
// name that is gone is stopped and forgotten. A service whose ServiceSpec is unchanged is not touched. `only`
// limits what the first configuration starts, with its dependencies; empty means all.
struct Configured {
  static constexpr const char* kType = "config.loaded";
  Desired desired;
  std::vector<std::string> only;
  template <class A>
  void fields(A& a) {
    a("desired", desired);
    a("only", only);
  }
};

// The keeper's answer to Spawn. error 0: `pid` lives (or lived). Otherwise nothing was started.
struct Spawned {
  static constexpr const char* kType = "child.spawned";
  ChildKey key;
  std::int32_t pid = 0;
  SpawnStage stage = SpawnStage::none;
  std::int32_t error = 0;  // errno
  std::string detail;      // "No such file or directory: ./server"
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("stage", stage);
    a("error", error);
    a("detail", detail);
  }
};

// The main process of a child is gone. `status` is a wait status (wait(2)); known is false if nobody could
// wait.
struct Exited {
  static constexpr const char* kType = "child.exited";
  ChildKey key;
  std::int32_t pid = 0;
  std::int32_t status = 0;
  bool known = true;
  bool oom = false;  // by the kernel's out-of-memory killer
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("status", status);
    a("known", known);
    a("oom", oom);
  }
};

// The answer to KillTree: the tree is proved empty, or these lived on when the time was over ("1234 name").
struct Swept {
  static constexpr const char* kType = "tree.swept";
  ChildKey key;
  std::vector<std::string> survivors;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("survivors", survivors);
  }
};

struct Ready {
  static constexpr const char* kType = "child.ready";
  ChildKey key;
  Proof proof = Proof::notify;
  std::string address;  // where a child that binds by itself was found to listen; only to be told
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("proof", proof);
    a("address", address);
  }
};

// The child says something of itself, by sd_notify(3) or over the channel.
struct Stopping {
  static constexpr const char* kType = "child.stopping";
  ChildKey key;
  std::int32_t pid = 0;  // who has said it: of several that serve one may go alone
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
  }
};
struct Reloading {
  static constexpr const char* kType = "child.reloading";
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};
struct StatusText {
  static constexpr const char* kType = "child.status";
  ChildKey key;
  std::string text;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("text", text);
  }
};
// WATCHDOG=1 (usec 0: a beat) or WATCHDOG_USEC=N (the interval from now on).
struct Watchdog {
  static constexpr const char* kType = "child.watchdog";
  ChildKey key;
  std::uint64_t usec = 0;
  bool trigger = false;  // WATCHDOG=trigger: fail now
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("usec", usec);
    a("trigger", trigger);
  }
};
// EXTEND_TIMEOUT_USEC: the deadline that is running (start or stop) is at least so far from now.
struct Extend {
  static constexpr const char* kType = "child.extend";
  ChildKey key;
  std::uint64_t usec = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("usec", usec);
  }
};
// MAINPID: another process of the same tree is the main one from now on (drive has checked that it is).
struct MainPid {
  static constexpr const char* kType = "child.mainpid";
  ChildKey key;
  std::int32_t pid = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
  }
};

// A process asks for the role over the channel (`conn` names the connection). Drive has checked nonce and
// tag.
struct Claimed {
  static constexpr const char* kType = "token.claimed";
  ChildKey key;
  std::uint64_t conn = 0;
  std::int32_t pid = 0;
  bool explicit_call = false;  // serve() or a hook, not a side effect of listening
  std::string runtime;
  std::vector<std::int32_t> ended;  // processes that held the role and are no more: they hold it no longer
  bool by_path = false;             // it cannot receive fds: it wants to know where the mailbox is
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("conn", conn);
    a("pid", pid);
    a("explicit_call", explicit_call);
    a("runtime", runtime);
    a("ended", ended);
    a("by_path", by_path);
  }
};

// Files that a service watches have new content. `unknown` after an overflow: anything may have changed.
struct Changed {
  static constexpr const char* kType = "files.changed";
  ServiceId service{};
  std::vector<std::string> paths;  // at most kChangedPathsMax, the first ones
  std::uint32_t count = 0;
  bool unknown = false;
  bool by_others = false;  // no process of the service has written anything between our last look and this
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("paths", paths);
    a("count", count);
    a("unknown", unknown);
    a("by_others", by_others);
  }
};
inline constexpr std::size_t kChangedPathsMax = 8;

// A tool is at work in the watched tree (.git/index.lock): changes are gathered, not acted on, until it is
// off.
struct Held {
  static constexpr const char* kType = "files.held";
  ServiceId service{};
  bool on = false;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("on", on);
  }
};

// A person or program asks. Empty `services`: all. `request` is answered by Effect Answer when it is done, or
// at once when it cannot be.
struct Command {
  static constexpr const char* kType = "command.received";
  CommandVerb verb = CommandVerb::start;
  std::vector<ServiceId> services;
  std::int32_t signal = 0;
  std::uint64_t request = 0;
  std::uint32_t number = 0;  // scale: workers; reload: canaries of this roll, 0: as the specification says
  std::string folder;        // upgrade: where the programs are; empty: where these came from
  template <class A>
  void fields(A& a) {
    a("verb", verb);
    a("services", services);
    a("signal", signal);
    a("request", request);
    a("number", number);
    a("folder", folder);
  }
};

// runmain itself got a signal: INT, TERM and QUIT stop everything, a second one forces; HUP reloads every
// service; TTIN and TTOU make every pool a worker larger and smaller; USR1 is passed on to all
// workers; USR2 is an upgrade to the programs that are installed now. A HUP with which the terminal has gone
// stops everything, unless it was ignored when runmain was started (nohup(1)): then it means nothing.
struct Signalled {
  static constexpr const char* kType = "signal.received";
  std::int32_t signal = 0;
  bool terminal_gone = false;
  bool nohup = false;
  template <class A>
  void fields(A& a) {
    a("signal", signal);
    a("terminal_gone", terminal_gone);
    a("nohup", nohup);
  }
  bool reads_again() const { return signal == SIGHUP && !terminal_gone; }
};

// A deadline that next_deadline() named has been reached.
struct Tick {
  static constexpr const char* kType = "timer.fired";
  template <class A>
  void fields(A&) {}
};

// Another head took over from the state log: nothing changed, told for the record.
struct HeadStarted {
  static constexpr const char* kType = "head.started";
  std::uint32_t takeovers = 0;
  template <class A>
  void fields(A& a) {
    a("takeovers", takeovers);
  }
};

// Cold start: the state log could not be used, the keeper's table is all there is. Comes after Configured's
// place: with the configuration, before anything is started.
struct Adopted {
  static constexpr const char* kType = "children.adopted";
  struct Child {
    ChildKey key;
    std::string service;  // the name that the key's id stands for
    std::int32_t pid = 0;
    bool alive = false;
    template <class A>
    void fields(A& a) {
      a("key", key);
      a("service", service);
      a("pid", pid);
      a("alive", alive);
    }
  };
  Desired desired;
  std::vector<Child> children;
  std::uint64_t executed = 0;     // the last Effect number that the keeper knows: ours go on above it
  std::vector<std::string> only;  // as in Configured; what lives goes on all the same
  template <class A>
  void fields(A& a) {
    a("desired", desired);
    a("children", children);
    a("executed", executed);
    a("only", only);
  }
};

// A child waits at its terminal for a person (a debugger, a password), or does not any more. What a person
// has in hand is not taken away: as long as it waits, its deadlines stand still and changes are gathered.
struct AtTerminal {
  static constexpr const char* kType = "child.at_terminal";
  ChildKey key;
  bool on = false;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("on", on);
  }
};

// runmain and its children were stopped for so long (Ctrl-Z, until fg), and go on: nobody is late for it.
struct StoodStill {
  static constexpr const char* kType = "time.stood_still";
  Duration span{};
  template <class A>
  void fields(A& a) {
    a("span", span);
  }
};

// This process of it has answered all that it accepted, and only ends yet (telemetry, files).
struct Drained {
  static constexpr const char* kType = "child.drained";
  ChildKey key;
  std::int32_t pid = 0;
  std::vector<std::int32_t> ended;  // as in Claimed
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("pid", pid);
    a("ended", ended);
  }
};

// What a child has said of its requests, since it began. Told to the core where recycle.requests is set, when
// `done` has reached it; otherwise to nobody.
struct Requests {
  static constexpr const char* kType = "child.requests";
  ChildKey key;
  std::uint64_t done = 0;
  std::uint64_t in_flight = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("done", done);
    a("in_flight", in_flight);
  }
};

// The resident memory of a worker's tree, in bytes. Told where recycle.memory is set and it is above that
// less the jitter.
struct Measured {
  static constexpr const char* kType = "child.measured";
  ChildKey key;
  std::uint64_t bytes = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("bytes", bytes);
  }
};

// The main process was stopped by a signal (SIGSTOP) that is not runmain's own, or goes on.
struct Frozen {
  static constexpr const char* kType = "child.frozen";
  ChildKey key;
  bool on = false;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("on", on);
  }
};

// A look at the health of a ready worker, as its HealthSpec says: every failed one, and the first good one
// after it; the first good one of all, too, where it is watched closely. `text` says what was seen. Or,
// `asked`, the answer to Examine: then `well` says that it cannot help it (a debugger has it, or it is gone).
struct Looked {
  static constexpr const char* kType = "child.looked_at";
  ChildKey key;
  bool well = false;
  Stall stall = Stall::unknown;
  std::string text;
  bool answered = false;  // it is there, and has said itself that it is not well
  bool asked = false;
  Duration cpu{};  // asked: that its busiest thread got while it was looked at
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("well", well);
    a("stall", stall);
    a("text", text);
    a("answered", answered);
    a("asked", asked);
    a("cpu", cpu);
  }
};

// The answer to Measure: bytes that can still be used before somebody is killed for it (cgroup and machine),
// and what a worker of this service takes now, 0 if nobody knows.
struct Room {
  static constexpr const char* kType = "memory.measured";
  ServiceId service{};
  std::uint64_t available = 0;
  std::uint64_t worker = 0;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("available", available);
    a("worker", worker);
  }
};

// The load of a service with workers_max, once a second: connections that wait to be accepted, and how much
// of one CPU each worker has used on average.
inline constexpr std::uint32_t kBusyPercent = 90;  // as good as a queue: connections that are kept make none
struct Load {
  static constexpr const char* kType = "service.loaded";
  ServiceId service{};
  std::uint32_t queued = 0;
  std::uint32_t busy_percent = 0;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("queued", queued);
    a("busy_percent", busy_percent);
  }
};

// The answer to AwaitQueue: nobody waits in the queue of the slot's own sockets any more.
struct QueueEmpty {
  static constexpr const char* kType = "child.queue_emptied";
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

using Event = std::variant<Configured, Spawned, Exited, Swept, Ready, Stopping, Reloading, StatusText,
                           Watchdog, Extend, MainPid, Claimed, Changed, Held, Command, Signalled, Tick,
                           HeadStarted, Adopted, AtTerminal, StoodStill, Drained, Requests, Measured, Frozen,
                           Looked, Room, Load, QueueEmpty, ListenerShut, SlotClosed, UpgradeEnded>;

inline const char* type_name(const Event& e) {
  return std::visit([](const auto& v) { return std::decay_t<decltype(v)>::kType; }, e);
}

}  // namespace runmain::core

// What the core wants done, and what it wants told.
//
// Effects are numbered without gaps from 1 in the order in which the core makes them, by a counter that is
// part of the core's state: a new head that replays the same Events makes the same Effects with the same
// numbers, and the keeper executes each number once.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "core/event.hpp"

namespace runmain::core {

// Why a child is started; RUNMAIN_REASON.
enum class Reason : std::uint8_t { start, change, crash, scale, recycle };

// Start this child. Answered by Spawned, later by Exited. A build step has key.is_build(), a hook or a look
// has `about`: the worker that it is about; a hook is told how that one hangs.
struct Spawn {
  ChildKey key;
  Reason reason = Reason::start;
  ChildKey about;
  std::int32_t about_pid = 0;
  std::string hang{};
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("reason", reason);
    a("about", about);
    a("about_pid", about_pid);
    a("hang", hang);
  }
};

// Send a signal to a living child: its process group, or its main process only.
struct Kill {
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

// SIGKILL to everything that this child ever started, until it is proved empty. Answered by Swept.
struct KillTree {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// The main process has gone, and what is left of its tree may take its time: tell, by Swept, when nothing is.
struct AwaitTree {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// The child is exited and swept; the keeper may drop its entry. The last effect for a key.
struct Forget {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// Look for signs of readiness of this child (as its ReadySpec says) and report Ready. Ends by itself when the
// child is ready, whoever has said so (Machine::is_ready), with Forget, or with StopProbe.
struct Probe {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};
struct StopProbe {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// The answer to Claimed.
struct GrantRole {
  ChildKey key;
  std::uint64_t conn = 0;
  bool granted = false;
  std::string why;       // when it is not
  bool by_path = false;  // Claimed.by_path
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("conn", conn);
    a("granted", granted);
    a("why", why);
    a("by_path", by_path);
  }
};

// Ask the child over its channel, if it has one, to stop accepting, finish, and say so.
struct AskDrain {
  ChildKey key;
  Duration budget{};
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("budget", budget);
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

// The service is gone from the configuration and its last child with it: close its listening sockets.
struct CloseService {
  ServiceId service{};
  std::string name;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("name", name);
  }
};

// Look after the health of this ready worker (HealthSpec: http and tcp) and its memory (RecycleSpec), and
// report Looked and Measured. Ends by itself with Forget, or with StopWatching. `closely`: a roll waits for
// what is seen, so look often, and report the first good look in any case.
inline constexpr Duration kCloseLooks = std::chrono::seconds(1);  // between two of these, at most
struct WatchHealth {
  ChildKey key;
  bool closely = false;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("closely", closely);
  }
};
struct StopWatching {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// Something speaks against this worker: find out from outside why it does not answer. Answered by Looked,
// `asked`.
struct Examine {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// Find out how much memory there is for more workers. Answered by Room.
struct Measure {
  ServiceId service{};
  template <class A>
  void fields(A& a) {
    a("service", service);
  }
};

// New connections of a service with balance = reuseport go to these slots only, sorted; none: to any. Not
// answered.
struct Distribute {
  ServiceId service{};
  std::vector<std::uint32_t> slots;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("slots", slots);
  }
};

// Tell, by QueueEmpty, when nobody has waited in the queue of this child's own sockets for so long: a
// handshake that was begun before the slot was taken out ends in it.
struct AwaitQueue {
  ChildKey key;
  Duration quiet{};
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("quiet", quiet);
  }
};

// A child is ready, and may have called listen(2) with a backlog of its own: give its sockets theirs back.
struct RenewBacklog {
  ChildKey key;
  template <class A>
  void fields(A& a) {
    a("key", key);
  }
};

// These slots of a service with balance = reuseport are not served any more, and nothing of their workers is
// left: close their own sockets. Answered by SlotClosed for each in whose queue somebody waited.
struct CloseSlots {
  ServiceId service{};
  std::vector<std::uint32_t> slots;
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("slots", slots);
  }
};

// runmain's own programs are replaced by those of this folder (empty: where they came from), if these can go
// on. Answered by UpgradeEnded.
struct Upgrade {
  std::string folder;
  template <class A>
  void fields(A& a) {
    a("folder", folder);
  }
};

// The answer to a Command. Empty `error`: done.
struct Answer {
  std::uint64_t request = 0;
  std::string error;
  template <class A>
  void fields(A& a) {
    a("request", request);
    a("error", error);
  }
};

// Everything is stopped: runmain ends with this exit status.
struct Quit {
  std::int32_t status = 0;
  template <class A>
  void fields(A& a) {
    a("status", status);
  }
};

using Action = std::variant<Spawn, Kill, KillTree, Forget, Probe, StopProbe, GrantRole, AskDrain, SetMainPid,
                            CloseService, Answer, Quit, WatchHealth, StopWatching, Measure, Distribute,
                            AwaitQueue, RenewBacklog, AwaitTree, CloseSlots, Examine, Upgrade>;

struct Effect {
  std::uint64_t number = 0;
  std::uint64_t cause = 0;  // the number of the Event that caused it
  Action action;
  template <class A>
  void fields(A& a) {
    a("number", number);
    a("cause", cause);
    a("action", action);
  }
};

enum class FactType : std::uint8_t {
  service_starting,
  service_waiting,
  service_ready,
  service_backoff,
  service_failed,
  service_stopping,
  service_stopped,
  service_done,
  service_removed,
  child_started,
  child_spawn_failed,
  child_ready,
  child_exited,
  child_not_ready,
  child_stop_timeout,
  child_survivors,
  child_status,
  child_claimed,
  child_claim_refused,
  child_watchdog_missed,
  reload_settling,
  reload_building,
  reload_build_failed,
  reload_starting,
  reload_done,
  reload_failed,
  reload_queued,
  all_ready,
  shutdown_started,
  shutdown_forced,
  shutdown_done,
  head_started,
  child_stopped,
  reload_ignored,
  reload_signalled,
  reload_loop,
  child_waits,
  child_goes_on,
  reload_waits,
  reload_step,
  reload_old_first,
  reload_restored,
  child_drained,
  child_recycled,
  child_frozen,
  child_unwell,
  child_starved,
  child_hung,
  slot_failed,
  service_scaled,
  listener_shut,
  service_scale_refused,
  signal_passed_on,
  slot_closed,
  child_replaced,
  upgrade_started,
  upgrade_refused,
  upgrade_done,
};
inline constexpr FactType kLastFactType = FactType::upgrade_done;

// Something worth telling a person or a trace. `number` and `text` mean what the type's line in fact.cpp
// says.
struct Fact {
  FactType type{};
  std::uint64_t cause = 0;  // the number of the Event that caused it
  Time time{};
  ServiceId service = kNoService;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::int32_t pid = 0;
  std::int64_t number = 0;
  std::string text;
  Duration drained_for{};  // child_stopped, child_exited: since it was asked to go
  template <class A>
  void fields(A& a) {
    a("type", type);
    a("cause", cause);
    a("time", time);
    a("service", service);
    a("slot", slot);
    a("generation", generation);
    a("pid", pid);
    a("number", number);
    a("text", text);
    a("drained_for", drained_for);
  }
};

// The wire name of a fact: "service.ready".
const char* type_name(FactType type);

}  // namespace runmain::core

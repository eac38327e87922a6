// The core's whole state: plain data, walked by fields() for save() and restore().
//
// Invariant: what decides is stored here and nowhere else; the members under "derived" are caches that
// rebuild() makes anew from the rest, so they are in no archive and can never disagree with it after a
// restore. Non-goal: behaviour; that is Engine (engine.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/deadlines.hpp"
#include "core/effect.hpp"
#include "core/event.hpp"
#include "core/limits.hpp"
#include "core/loop_breaker.hpp"
#include "core/machine.hpp"
#include "core/snapshot.hpp"
#include "core/spec.hpp"

namespace runmain::core {

// Why a child is on its way out.
enum class EndWhy : std::uint8_t {
  none,       // nobody asked it: when it exits, that is a crash or the end of its work
  stop,       // it is not wanted any more
  not_ready,  // it was not ready in time
  watchdog,   // it missed a beat
  announced,  // it said STOPPING=1 by itself
  hung,       // it hangs, or is not well
};

// What speaks against a worker, and waits for the answer to Examine: bits of Instance::doubts.
enum Doubt : std::uint8_t {
  kDoubtBeat = 1,   // its watchdog was not fed
  kDoubtReady = 2,  // it was not ready in time
  kDoubtLook = 4,   // a look by command failed
};

// One started child, from Spawn to Forget.
struct Instance {
  ChildKey key;
  WorkerState phase = WorkerState::spawning;
  Proof proof = Proof::unproven;
  EndWhy why = EndWhy::none;
  bool probing = false;
  bool was_ready = false;
  std::int32_t pid = 0;
  Time since{};
  Time ready_at{};
  Time deadline = kNever;                 // of this phase: ready or be stopped; exit or be killed
  Time watchdog_at = kNever;              // the next beat is due by then
  Duration watchdog{};                    // 0: none
  bool at_terminal = false;               // waits for a person …
  std::optional<Duration> deadline_left;  // … and this is what its deadlines have left
  std::optional<Duration> watchdog_left;
  bool watched = false;      // WatchHealth is out
  bool leaving = false;      // serves until its slot has another one that does
  bool recycle_due = false;  // … which it is to become as soon as that is allowed
  bool frozen = false;       // stopped by a signal
  bool main_gone = false;    // while draining: it was only a wrapper, what it has started drains
  bool drained = false;      // while draining: has answered everything
  std::uint32_t unwell = 0;  // looks at its health that failed, in a row …
  Time unwell_since{};       // … and when that began
  bool unwell_due = false;   // it is to be replaced for that …
  Time replace_at = kNever;  // … when its slot's back-off is over
  std::uint8_t doubts = 0;
  Time doubt_until = kNever;       // … which are believed then, or not
  std::optional<Looked> doubted;   // kDoubtLook: what it has said
  std::uint32_t beats_missed = 0;  // in a row, and excused
  Stall stall = Stall::unknown;    // as which it hangs
  bool seen_well = false;          // a look was good since it is ready
  bool seen_starved = false;       // the latest look failed, and it had no CPU
  std::uint32_t stop_step = 0;     // of StopSpec::then, the next one …
  Time step_at = kNever;           // … and when
  Time frozen_until = kNever;      // stopped by a signal: it may be so until then
  Time recycle_at = kNever;        // end of its lifetime
  std::uint64_t requests_max = 0;  // 0: no limit
  std::uint64_t memory_max = 0;
  ChildKey about;  // a hook's and a look's: the worker
  std::string status_text;
  std::vector<std::int32_t> claims;      // pids that hold the role, the first one first
  std::vector<std::int32_t> drained_by;  // … and those of them that have said so, while draining
  bool served = false;                   // it had served for a while when it announced its end

  // The main process may still be there: signals make sense, a second copy does not.
  bool living() const { return phase != WorkerState::sweeping; }
  // It has begun and was not asked to go.
  bool works() const { return phase == WorkerState::starting || phase == WorkerState::ready; }
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("phase", phase);
    a("proof", proof);
    a("why", why);
    a("probing", probing);
    a("was_ready", was_ready);
    a("pid", pid);
    a("since", since);
    a("ready_at", ready_at);
    a("deadline", deadline);
    a("watchdog_at", watchdog_at);
    a("watchdog", watchdog);
    a("at_terminal", at_terminal);
    a("deadline_left", deadline_left);
    a("watchdog_left", watchdog_left);
    a("watched", watched);
    a("leaving", leaving);
    a("recycle_due", recycle_due);
    a("frozen", frozen);
    a("main_gone", main_gone);
    a("drained", drained);
    a("unwell", unwell);
    a("seen_well", seen_well);
    a("seen_starved", seen_starved);
    a("unwell_since", unwell_since);
    a("unwell_due", unwell_due);
    a("replace_at", replace_at);
    a("doubts", doubts);
    a("doubt_until", doubt_until);
    a("doubted", doubted);
    a("beats_missed", beats_missed);
    a("stall", stall);
    a("stop_step", stop_step);
    a("step_at", step_at);
    a("frozen_until", frozen_until);
    a("recycle_at", recycle_at);
    a("requests_max", requests_max);
    a("memory_max", memory_max);
    a("about", about);
    a("status_text", status_text);
    a("claims", claims);
    a("drained_by", drained_by);
    a("served", served);
  }
};

// What one slot has been through in one generation.
struct SlotRun {
  std::uint32_t attempt = 0;         // starts so far
  std::uint32_t crashes = 0;         // deaths since the last healthy run, itself included: the delay
  std::uint32_t unhealthy = 0;       // deaths in a row without a healthy run: the burst limit
  std::uint32_t spawn_failures = 0;  // in a row
  Time retry_at{};                   // no start before
  Time since{};                      // when the wait for retry_at began
  bool done = false;                 // ended by itself and is not to run again
  bool failed = false;               // given up; with `done`
  Reason reason = Reason::start;     // of the next start
  template <class A>
  void fields(A& a) {
    a("attempt", attempt);
    a("crashes", crashes);
    a("unhealthy", unhealthy);
    a("spawn_failures", spawn_failures);
    a("retry_at", retry_at);
    a("since", since);
    a("done", done);
    a("failed", failed);
    a("reason", reason);
  }
};

struct Slot {
  SlotRun current;       // in ServiceRecord::current
  SlotRun next;          // in ServiceRecord::next
  bool rolling = false;  // in a gradual roll: it is this slot's turn, or was
  bool open = false;     // its own socket may be open: a worker of it was started
  template <class A>
  void fields(A& a) {
    a("current", current);
    a("next", next);
    a("rolling", rolling);
    a("open", open);
  }
};

enum class RunState : std::uint8_t {
  idle,     // nothing of it is to run yet (goal up) or any more (goal down); leftovers go away
  running,  // generation `current` is to run in all slots
  failed,   // given up; `reason` says why
  done,     // all slots ended by themselves
};

// A new generation on its way: built first, then launched as soon as the generations that are alive allow it
// and, where it comes beside the old one in a pool, it is known whether memory does.
enum class Roll : std::uint8_t { none, build, launch };

// Of the roll in progress, from its launch to its end.
struct RollCourse {
  bool gradual = false;  // slot by slot (roll.cpp)
  bool old_first = false;
  std::uint32_t canary = 0;
  std::uint32_t told = 0;    // slots that were told to have the new generation …
  bool told_last = false;    // … which were all
  Time hold_until = kNever;  // kNever: the latest batch is not through, or the time of its hold is over
  bool proves = false;       // … in which each new worker must be seen well
  bool overtime = false;     // its time is over, but it is not known whether all are well
  template <class A>
  void fields(A& a) {
    a("gradual", gradual);
    a("old_first", old_first);
    a("canary", canary);
    a("told", told);
    a("told_last", told_last);
    a("hold_until", hold_until);
    a("proves", proves);
    a("overtime", overtime);
  }
};

// The specification of a generation that serves on after a newer configuration, and of those between it and
// the one before.
struct OldSpec {
  std::uint32_t last = 0;
  ServiceSpec spec;
  template <class A>
  void fields(A& a) {
    a("last", last);
    a("spec", spec);
  }
};

// What is known of the memory for the roll that is about to be launched.
enum class RoomState : std::uint8_t { unknown, asked, enough, tight };

struct ServiceRecord {
  ServiceId id{};
  ServiceSpec spec;
  bool configured = false;     // named by the latest configuration
  bool close_pending = false;  // was configured; its sockets are to be closed when its last child is gone
  bool wanted = false;         // the goal
  bool user_stopped = false;
  RunState run = RunState::idle;
  std::string reason;
  std::string survivors;      // left by the stop in progress
  std::uint32_t counter = 0;  // the highest generation ever started
  std::uint32_t current = 0;  // the generation that slots run
  std::uint32_t next = 0;     // the generation that is tried while `current` serves; 0: none
  std::uint32_t proven = 0;   // the newest generation that was ready
  bool ran = false;           // a child of `current` was started
  Roll roll = Roll::none;
  Reason roll_reason = Reason::start;
  RollCourse course;
  RoomState room = RoomState::unknown;
  Time room_deadline = kNever;
  std::uint32_t canary_asked = 0;       // by the command that the next roll is for
  bool restoring = false;               // a gradual roll has failed, and not every slot is back
  std::optional<std::uint32_t> scaled;  // workers, in place of the specification's
  std::uint32_t loaded = 0;             // looks in a row with a queue
  Time calm_since = kNever;
  std::vector<OldSpec> old_specs;          // those that `current` and `next` still need, the oldest first
  std::vector<std::uint32_t> distributed;  // the slots that new connections go to, as the keeper was told
  std::uint32_t helper_attempt = 0;
  Time probe_at = kNever;        // readiness by command: the next one
  std::uint32_t probe_slot = 0;  // … from this slot on
  bool probe_failed = false;     // the latest one
  Time look_at = kNever;         // health by command: the next one
  std::uint32_t look_slot = 0;   // … from this slot on
  bool due = false;              // a reload is wanted that has not begun
  bool due_forced = false;       // … by command or configuration: not held back by Held
  bool needs_build = true;
  std::uint32_t build_attempt = 0;
  std::uint32_t build_failures = 0;  // failed spawns of the build step in a row
  Time build_retry_at{};
  bool reload_open = false;  // begun, and neither done nor failed yet
  Time reload_since{};
  Time launched_at{};          // when the newest generation was begun, after its build
  Time change_since = kNever;  // the first change that no reload has begun for
  Duration settled_for{};      // from the first change of the open reload to its beginning
  std::uint32_t given_up = 0;  // starts in a row that a newer change has cut short
  std::uint64_t ignored = 0;   // changes that on_change = ignore has dropped
  bool held = false;
  bool dirty = false;  // changes gathered in the settle window, not acted on
  std::uint32_t dirty_count = 0;
  Time window_end = kNever;  // kNever: no window is open
  Time window_max = kNever;
  std::optional<Fact> held_back;  // a failure inside the window: told if nothing follows
  LoopBreaker loop;
  std::uint64_t restarts = 0;
  std::uint64_t reloads = 0;
  ServiceState state = ServiceState::stopped;
  Time since{};
  std::vector<Slot> slots;  // never shrinks: attempts must not be counted anew
  std::vector<Instance> instances;
  std::vector<Fact> history;     // a ring
  std::uint32_t history_at = 0;  // the oldest, once the ring is full

  // derived
  std::vector<std::uint32_t> needs;  // indexes of depends_on
  std::vector<std::uint32_t> needed_by;
  std::uint32_t bits = 0;  // what it adds to the tallies
  bool queued = false;

  std::uint32_t workers() const {
    const std::uint32_t count = scaled ? *scaled : spec.workers;
    return count < kWorkersMax ? count : kWorkersMax;
  }
  // Changes are not acted on now, but for those that a person asks for.
  bool gathers() const {
    bool waits = held;
    for (const Instance& i : instances) waits |= i.at_terminal;
    return waits;
  }
  bool overlaps() const { return spec.overlap && !spec.port; }
  OnChange on_change() const { return spec.watch ? spec.watch->on_change : OnChange::restart; }
  // Something tells that a start is through, and not only the time.
  bool shows_ready() const {
    return spec.ready.kind != ReadyKind::automatic || !spec.listen.empty() || spec.port.has_value();
  }
  // A newer change does not cut a start short.
  bool patient() const {
    return on_change() == OnChange::queue || on_change() == OnChange::ignore || given_up >= kGiveUpsMax;
  }
  // In a gradual roll: this slot has not had its turn, or has had it.
  bool in_gradual_roll() const { return next != 0 && course.gradual; }
  bool waits_for_turn(std::uint32_t slot) const { return in_gradual_roll() && !slots[slot].rolling; }
  bool had_turn(std::uint32_t slot) const { return in_gradual_roll() && slots[slot].rolling; }
  // The specification that this generation was started with.
  const ServiceSpec& spec_of(std::uint32_t generation) const {
    for (const OldSpec& old : old_specs) {
      if (generation <= old.last) return old.spec;
    }
    return spec;
  }
  bool builds() const { return needs_build && spec.watch && spec.watch->build; }

  template <class A>
  void fields(A& a) {
    a("id", id);
    a("spec", spec);
    a("configured", configured);
    a("close_pending", close_pending);
    a("wanted", wanted);
    a("user_stopped", user_stopped);
    a("run", run);
    a("reason", reason);
    a("survivors", survivors);
    a("counter", counter);
    a("current", current);
    a("next", next);
    a("proven", proven);
    a("ran", ran);
    a("roll", roll);
    a("roll_reason", roll_reason);
    a("course", course);
    a("room", room);
    a("room_deadline", room_deadline);
    a("canary_asked", canary_asked);
    a("restoring", restoring);
    a("scaled", scaled);
    a("loaded", loaded);
    a("calm_since", calm_since);
    a("old_specs", old_specs);
    a("distributed", distributed);
    a("helper_attempt", helper_attempt);
    a("probe_at", probe_at);
    a("probe_slot", probe_slot);
    a("probe_failed", probe_failed);
    a("look_at", look_at);
    a("look_slot", look_slot);
    a("due", due);
    a("due_forced", due_forced);
    a("needs_build", needs_build);
    a("build_attempt", build_attempt);
    a("build_failures", build_failures);
    a("build_retry_at", build_retry_at);
    a("reload_open", reload_open);
    a("reload_since", reload_since);
    a("launched_at", launched_at);
    a("change_since", change_since);
    a("settled_for", settled_for);
    a("given_up", given_up);
    a("ignored", ignored);
    a("held", held);
    a("dirty", dirty);
    a("dirty_count", dirty_count);
    a("window_end", window_end);
    a("window_max", window_max);
    a("held_back", held_back);
    a("loop", loop);
    a("restarts", restarts);
    a("reloads", reloads);
    a("state", state);
    a("since", since);
    a("slots", slots);
    a("instances", instances);
    a("history", history);
    a("history_at", history_at);
  }
};

// A Command that is not answered yet.
struct Request {
  std::uint64_t id = 0;
  CommandVerb verb{};
  std::vector<std::uint32_t> pending;  // services not yet where it wants them, sorted; shutdown: none
  std::string error;                   // the first one
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("verb", verb);
    a("pending", pending);
    a("error", error);
  }
};

// How many services are …; each is one bit of ServiceRecord::bits.
enum Tally : std::uint32_t {
  kWanted,       // goal up
  kUnsatisfied,  // goal up, and neither ready nor done
  kActive,       // goal up, and neither failed nor done nor blocked
  kAlive,        // with a child that is not forgotten
  kFailed,
  kWatch,        // configured with a watch
  kWatchFailed,  // failed, with a watch that may revive it
  kUserStopped,
  kShort,    // slots of it have failed for good
  kBlocked,  // waits for one that failed or is stopped, or for one that is blocked
  kTallies,
};

struct State {
  std::uint64_t events = 0;
  std::uint64_t effects = 0;
  std::uint64_t random = 1;
  Time now{};
  Mode mode = Mode::dev;
  bool configured = false;
  bool shutting_down = false;
  bool forced = false;
  bool quit = false;
  bool failed_exit = false;  // a service had failed when the shutdown began, or a stop left survivors
  std::uint32_t signals = 0;
  std::int32_t forcing_signal = 0;
  bool all_ready_told = false;
  bool upgrading = false;               // an Upgrade is not answered
  std::string upgrade_error;            // of the last one
  std::uint64_t upgrades = 0;           // that have ended
  std::vector<ServiceRecord> services;  // by ServiceId
  std::vector<Request> requests;

  // derived
  Deadlines deadlines;
  std::uint32_t tally[kTallies] = {};
  std::vector<std::uint32_t> work;       // services to look at again; empty between events
  std::vector<std::uint8_t> slot_marks;  // scratch

  template <class A>
  void fields(A& a) {
    a("events", events);
    a("effects", effects);
    a("random", random);
    a("now", now);
    a("mode", mode);
    a("configured", configured);
    a("shutting_down", shutting_down);
    a("forced", forced);
    a("quit", quit);
    a("failed_exit", failed_exit);
    a("signals", signals);
    a("forcing_signal", forcing_signal);
    a("all_ready_told", all_ready_told);
    a("upgrading", upgrading);
    a("upgrade_error", upgrade_error);
    a("upgrades", upgrades);
    a("services", services);
    a("requests", requests);
  }
};

// True if no handler can be led astray by this state: ids are indexes, enums and counts are in range. For
// bytes from outside.
bool valid(const State& state);

// Makes the derived members from the others. Requires valid(state).
void rebuild(State& state);

// Makes `needs` and `needed_by` from the specs' depends_on.
void index_dependencies(State& state);

// Handles one event: Machine::handle without the handle.
void step(State& state, const Event& event, Time now, Output& out);

Snapshot view(const State& state);

}  // namespace runmain::core

// What the fake world (fake_world.hpp) knows of children and services: plain data.
// Invariant: a child's flags say what was carried out and what was told, never what the core thinks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/machine.hpp"

namespace runmain::core {

enum class Body : std::uint8_t {
  asked,  // Spawn is carried out, the core does not know how it went
  alive,
  dead,  // the core knows
};

struct FakeChild {
  ChildKey key;
  ChildKey about;  // a hook's and a look's
  Reason reason = Reason::start;
  std::int32_t pid = 0;
  Body body = Body::asked;
  bool probing = false;
  bool ready = false;
  bool stopping = false;     // got its stop signal
  bool announced = false;    // said STOPPING=1 …
  bool served = false;       // … after it had served for a while
  bool sweeping = false;     // KillTree is carried out
  bool tree_left = false;    // AwaitTree is carried out: its main process has left a server behind
  bool at_terminal = false;  // waits for a person
  bool over = false;         // the core was told its last event: Forget is due
  bool watched = false;      // WatchHealth is carried out …
  bool wants_word = false;   // … for a roll, which waits for the first good look
  bool awaiting = false;     // AwaitQueue is carried out: it gets nothing new, and goes
  bool frozen = false;
  bool ailing = false;   // frozen, or seen not to be well
  bool leaving = false;  // another one of its slot and generation was started beside it
  bool hung = false;     // a hook was started for it, or it got SIGABRT for its watchdog
  bool renews = false;   // was started to recycle another one
  bool drained = false;
  bool examined = false;     // Examine is carried out and not answered
  bool suspect = false;      // … and not answered in its favour
  bool beats = false;        // has a watchdog
  bool says_unwell = false;  // its latest look was answered so
  Time ready_at{};
  Time ailing_at{};  // the latest sign of it
  void ails(bool on, Time now) {
    ailing |= on;
    if (on && !says_unwell) ailing_at = now;  // one that is to be replaced is so already
  }
  // It may be taken to hang.
  bool sick() const { return ailing || suspect; }
  bool serves() const { return body == Body::alive && ready && !stopping && !sweeping; }
  // New connections may go to it.
  bool takes() const { return serves() && !announced && !awaiting && !hung; }
  // The core was not told that it is gone.
  bool there() const { return body != Body::dead && !over; }
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("about", about);
    a("pid", pid);
    a("body", body);
    a("probing", probing);
    a("ready", ready);
    a("stopping", stopping);
    a("announced", announced);
    a("served", served);
    a("sweeping", sweeping);
    a("tree_left", tree_left);
    a("at_terminal", at_terminal);
    a("over", over);
    a("watched", watched);
    a("wants_word", wants_word);
    a("awaiting", awaiting);
    a("frozen", frozen);
    a("ailing", ailing);
    a("leaving", leaving);
    a("hung", hung);
    a("renews", renews);
    a("drained", drained);
    a("examined", examined);
    a("beats", beats);
    a("says_unwell", says_unwell);
    a("suspect", suspect);
    a("ready_at", ready_at);
  }
};

// What was seen of one slot in one generation.
struct FakeRun {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::uint32_t attempt = 0;
  std::uint32_t ends = 0;    // of attempts; one start needs one end
  std::uint32_t deaths = 0;  // by itself, in a row
  std::uint32_t spawn_failures = 0;
  bool by_itself = false;  // the last one had done its work; its successor is one of recycling, too
  Time death_at{};
  Time failure_at{};
  template <class A>
  void fields(A& a) {
    a("slot", slot);
    a("generation", generation);
    a("attempt", attempt);
    a("ends", ends);
    a("deaths", deaths);
    a("spawn_failures", spawn_failures);
    a("by_itself", by_itself);
    a("death_at", death_at);
    a("failure_at", failure_at);
  }
};

struct FakeService {
  ServiceSpec spec;
  bool configured = true;
  bool held = false;
  bool edit_open = false;        // an edit that no start has followed
  std::uint32_t edit_after = 0;  // the newest generation when it was made
  std::uint32_t newest = 0;
  std::uint32_t serving = 0;  // the newest generation that was ready
  std::optional<std::uint32_t> scaled;
  bool measuring = false;       // Measure is carried out and not answered
  bool tight = false;           // memory was told to have no room
  bool by_slots = false;        // has rolled slot by slot, or may have
  std::uint32_t lingering = 0;  // the most that the specification has allowed
  std::uint32_t canary = 0;     // the largest that was asked for
  std::uint32_t helper_attempt = 0;
  std::vector<std::uint32_t> distributed;
  std::vector<std::uint32_t> open;  // slots whose own sockets are
  std::uint32_t rolled_to = 0;      // the generation that rolled at the last look, 0: none
  std::vector<bool> well;           // by slot: served when the roll began, or since, and did not go by itself
  std::vector<std::uint32_t> needs;
  std::vector<std::uint32_t> needed_by;
  std::vector<FakeChild> children;
  std::vector<FakeRun> runs;

  std::uint32_t workers() const { return scaled ? *scaled : spec.workers; }
  bool overlaps() const { return spec.overlap && !spec.port; }
  // The world is never quiet for ever.
  bool perpetual() const {
    return spec.health.kind == HealthKind::exec || spec.recycle.lifetime > Duration::zero();
  }
  bool takes(std::uint32_t slot) const {
    return std::any_of(children.begin(), children.end(), [slot](const FakeChild& c) {
      return c.key.is_worker() && c.key.slot == slot && c.takes();
    });
  }
  bool clean(int status) const {
    const int code = (status & 0x7f) != 0 ? 1000 + (status & 0x7f) : status >> 8;
    return status == 0 || std::count(spec.success.begin(), spec.success.end(), code) != 0;
  }
  // Slots that were not wanted before begin anew, whatever the reason of their next start: after a roll that
  // came meanwhile and has failed they are given back to the generation in which they have died.
  void grows_from(std::uint32_t before) {
    for (FakeRun& run : runs) {
      if (run.slot >= before && run.slot < workers()) run.deaths = run.spawn_failures = 0;
    }
  }
  void hurt(std::uint32_t slot) {
    if (slot < well.size()) well[slot] = false;
  }
  template <class A>
  void fields(A& a) {
    a("configured", configured);
    a("held", held);
    a("edit_open", edit_open);
    a("edit_after", edit_after);
    a("newest", newest);
    a("serving", serving);
    a("scaled", scaled);
    a("measuring", measuring);
    a("tight", tight);
    a("by_slots", by_slots);
    a("lingering", lingering);
    a("canary", canary);
    a("distributed", distributed);
    a("open", open);
    for (std::size_t n = 0; n < well.size(); ++n) {
      bool on = well[n];
      a("well", on);
    }
    a("children", children);
    a("runs", runs);
  }
};

}  // namespace runmain::core

// A program that writes into its own watched tree would reload itself for ever. The breaker sees that the
// same files change again and again, each time soon after a start and never at another time, and then keeps
// what only they do from reloading, until another file changes or a person asks.
//
// A person or a script may save as a program does: the same file, right after each start, never twice between
// two starts. Who is suspected is therefore looked at: a change while none of its processes has written
// anything is somebody else's, and clears it (Changed.by_others). That is taken kLoopPardonsMax times in a
// row, as what the program has asked others to write looks the same. Invariant: a change of any other file
// always counts. Non-goal: finding out who wrote.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/event.hpp"

namespace runmain::core {

inline constexpr std::uint32_t kLoopReloads = 25;               // in a row, by the same files …
inline constexpr std::uint32_t kLoopSuspect = 5;                // from so many on somebody looks
inline constexpr std::uint32_t kLoopPardonsMax = 250;           // in a row
inline constexpr Duration kLoopSoon = std::chrono::seconds(2);  // … each within this after a start
inline constexpr std::size_t kLoopPathsMax = kChangedPathsMax;  // files of one loop

struct LoopBreaker {
  std::vector<std::string> paths;  // the suspects
  std::uint32_t reloads = 0;       // in a row that they caused
  std::uint32_t starts = 0;        // reloads begun
  std::uint32_t counted = 0;       // the latest of them that a suspect followed
  std::uint32_t pardons = 0;       // in a row
  Time started{};                  // the latest build, launch or readiness
  bool broken = false;
  bool told = false;  // of these suspects

  template <class A>
  void fields(A& a) {
    a("paths", paths);
    a("reloads", reloads);
    a("starts", starts);
    a("counted", counted);
    a("pardons", pardons);
    a("started", started);
    a("broken", broken);
    a("told", told);
  }

  // A reload begins (its build or its launch).
  void reload_begins(Time now);
  // A step of it is done: what it writes comes from here on.
  void step(Time now) { started = now; }
  // A person asks: nothing is suspected any more.
  void forgive();
  bool suspects() const { return reloads >= kLoopSuspect; }

  enum class Says : std::uint8_t {
    reload,
    broken_now,  // no reload, and somebody is to be told
    broken,      // no reload
  };
  // `starting`: a build or a start is under way, however long it takes.
  Says judge(const Changed& change, bool starting, Time now);

 private:
  bool suspects_only(const Changed& change) const;
};

}  // namespace runmain::core

// How a pool of workers is renewed, balanced, looked after and recycled: the parts of ServiceSpec (spec.hpp)
// that matter with several workers. Invariant and non-goal: as spec.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"

namespace runmain::core {

using namespace std::chrono_literals;

inline constexpr std::uint32_t kWorkersMax = 1024;  // slots of one service, whoever asks; below kBuildSlot

// argv is what is executed; with `shell` it is {"/bin/sh", "-c", TEXT}.
struct CommandSpec {
  std::vector<std::string> argv;
  bool shell = false;

  friend bool operator==(const CommandSpec&, const CommandSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("argv", argv);
    a("shell", shell);
  }
};

// So many of the workers, or at most this part of them in percent; at least one.
struct Share {
  std::uint32_t count = 1;    // 0: percent counts
  std::uint32_t percent = 0;  // 1 to 100
  std::uint32_t of(std::uint32_t workers) const {
    const auto part = static_cast<std::uint32_t>(std::uint64_t{workers} * percent / 100);
    return std::max(1U, count != 0 ? count : part);
  }

  friend bool operator==(const Share&, const Share&) = default;
  template <class A>
  void fields(A& a) {
    a("count", count);
    a("percent", percent);
  }
};

enum class RollOrder : std::uint8_t { new_first, old_first };

// How a new generation takes over. Not gradual: in all slots at once, and it is the one as soon as its first
// worker is ready. Gradual: `batch` slots at a time, and it is the one when every slot has it; what fails
// until then gives every slot back to the old generation. Recycling and healing follow `order` and `batch`,
// too.
struct RollSpec {
  bool gradual = false;
  RollOrder order = RollOrder::new_first;
  Share batch;
  std::uint32_t canary = 0;    // so many slots go first …
  Duration canary_hold = 10s;  // … and must be well for so long before the rest follows
  Duration hold = 0s;          // after each other batch, the last one too …
  Duration hold_last = 1s;     // … which is held at least so long: what dies at once gives the slots back
  bool memory_guard = true;    // new_first becomes old_first where memory has no room for a batch

  friend bool operator==(const RollSpec&, const RollSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("gradual", gradual);
    a("order", order);
    a("batch", batch);
    a("canary", canary);
    a("canary_hold", canary_hold);
    a("hold", hold);
    a("hold_last", hold_last);
    a("memory_guard", memory_guard);
  }
};

// shared: one socket for all workers. reuseport: each slot has its own of an SO_REUSEPORT group (socket(7)).
enum class Balance : std::uint8_t { shared, reuseport };

enum class HealthKind : std::uint8_t { none, http, tcp, exec };

// Liveness of each ready worker: after `failures` looks in a row that fail it is replaced (health.cpp).
struct HealthSpec {
  HealthKind kind = HealthKind::none;
  std::string path;     // http
  std::string address;  // tcp, http: "HOST:PORT"; empty: as ready's
  CommandSpec command;  // exec: 0 is well; {pid}, {worker}
  Duration interval = 10s;
  Duration timeout = 2s;
  std::uint32_t failures = 3;

  friend bool operator==(const HealthSpec&, const HealthSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("kind", kind);
    a("path", path);
    a("address", address);
    a("command", command);
    a("interval", interval);
    a("timeout", timeout);
    a("failures", failures);
  }
};

// What hangs is ended and replaced. `hook` runs before; RUNMAIN_HUNG_PID and RUNMAIN_HANG_KIND say who, how.
struct HangSpec {
  Duration stopped = 0s;  // a main process that a signal has stopped, for so long; 0: it may
  Duration watchdog =
      0s;  // told to it as WATCHDOG_USEC; ready, it is to say WATCHDOG=1 as often; 0: if it wants
  std::optional<CommandSpec> hook;
  Duration hook_timeout = 10s;

  friend bool operator==(const HangSpec&, const HangSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("stopped", stopped);
    a("watchdog", watchdog);
    a("hook", hook);
    a("hook_timeout", hook_timeout);
  }
};

// When a worker that is well is replaced. 0: not for this reason. Every limit is up to jitter_percent lower
// for each worker, so that they do not all go at once.
struct RecycleSpec {
  std::uint64_t requests = 0;
  Duration lifetime = 0s;
  std::uint64_t memory = 0;  // bytes, resident, of its whole tree
  std::uint32_t jitter_percent = 10;

  friend bool operator==(const RecycleSpec&, const RecycleSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("requests", requests);
    a("lifetime", lifetime);
    a("memory", memory);
    a("jitter_percent", jitter_percent);
  }
};

// So much lower a limit may be: `percent` of it, rounded up, so that a small one has jitter, too.
inline std::uint64_t jitter_of(std::uint64_t limit, std::uint32_t percent) {
  const std::uint64_t part = std::min(percent, 100U);
  return limit / 100 * part + (limit % 100 * part + 99) / 100;
}

inline constexpr std::uint32_t kLingeringMax = 64;

// A further stop signal, so long after the first.
struct StopStep {
  int signal = 0;
  Duration after{};

  friend bool operator==(const StopStep&, const StopStep&) = default;
  template <class A>
  void fields(A& a) {
    a("signal", signal);
    a("after", after);
  }
};

}  // namespace runmain::core

// The core's state as others see it: `runmain status`, tests, the journal's digest. A copy, never a
// reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "core/effect.hpp"

namespace runmain::core {

enum class ServiceState : std::uint8_t {
  stopped,
  waiting,
  building,
  starting,
  ready,
  reloading,
  stopping,
  backoff,
  failed,
  done,
};
// retiring: takes no new connections and serves those that wait for it alone; hung: looked at by a hook.
enum class WorkerState : std::uint8_t {
  spawning,
  starting,
  ready,
  retiring,
  draining,
  hung,
  killing,
  sweeping,
  backoff,
  failed,
};

const char* name_of(ServiceState state);
const char* name_of(WorkerState state);
const char* name_of(Proof proof);
const char* name_of(Stall stall);

struct WorkerView {
  ChildKey key;
  std::int32_t pid = 0;
  WorkerState state{};
  Proof proof = Proof::unproven;
  Time since{};  // when it entered this state
  std::string status_text;
  bool drained = false;      // draining: has answered everything
  bool leaving = false;      // is replaced, and serves until then
  bool frozen = false;       // stopped by a signal
  std::uint32_t unwell = 0;  // looks at its health that failed, in a row
};

struct ServiceView {
  ServiceId id{};
  std::string name;
  ServiceState state{};
  std::uint32_t generation = 0;  // the newest that was ready, or is being tried when none was
  std::uint64_t restarts = 0;    // starts that a crash caused, since runmain started
  std::uint64_t reloads = 0;
  std::uint32_t wanted_workers = 0;
  std::uint32_t serving_workers = 0;  // slots with a ready worker, of whatever generation
  std::uint32_t done_workers = 0;     // slots whose worker has ended its work, and is not started again
  std::uint32_t rolling_to = 0;       // the generation of a gradual roll in progress, 0: none …
  std::uint32_t rolled = 0;           // … and the slots that have it
  std::uint32_t unhealthy = 0;        // runs in a row that did not last, of the slot that has most of them
  Time since{};
  Time retry_at = kNever;           // in backoff: when it is tried again
  std::string reason;               // failed, waiting: why
  std::vector<WorkerView> workers;  // by slot, then generation; the build step last
  std::vector<Fact> history;        // the latest kHistoryMax, oldest first: what `why` prints
};
inline constexpr std::size_t kHistoryMax = 12;
inline constexpr std::uint32_t kKeepsFailing =
    8;  // unhealthy runs (13 s with the usual back-off): nobody waits on

struct Snapshot {
  Mode mode{};
  bool shutting_down = false;
  bool upgrading = false;
  std::string upgrade_error;   // why the last one was refused; empty: it was not, or there was none
  std::uint64_t upgrades = 0;  // that have ended, well or not
  std::uint64_t events = 0;    // handled so far; the number of the latest
  std::vector<ServiceView> services;
};

}  // namespace runmain::core

// The core: what to do about what happened. A value machine: no I/O, no clock, no thread, no log, no libuv.
//
//   Event, now ──► handle() ──► Effects (what to do) + Facts (what to tell)
//
// Invariants, numbered for the tests, in core/README.md. Non-goal: knowing how an effect is carried out.
// Thread: one at a time; a Machine is a value and can be copied.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/effect.hpp"
#include "core/event.hpp"
#include "core/snapshot.hpp"

namespace runmain::core {

struct Output {
  std::vector<Effect> effects;
  std::vector<Fact> facts;
  void clear() {
    effects.clear();
    facts.clear();
  }
};

struct Instance;
struct State;

class Machine {
 public:
  // `seed` feeds the jitter of back-offs and nothing else.
  explicit Machine(std::uint64_t seed = 1);
  Machine(const Machine& other);
  Machine& operator=(const Machine& other);
  Machine(Machine&&) noexcept;
  Machine& operator=(Machine&&) noexcept;
  ~Machine();

  // Takes one Event and appends what follows from it to `out`. Never fails: an Event about a child that is
  // not known or not in a state to cause it changes nothing. `now` never runs backwards; an earlier one
  // counts as the latest seen.
  void handle(const Event& event, Time now, Output& out);

  // When Tick is wanted, kNever if never. A Tick that comes early changes nothing.
  Time next_deadline() const;

  Snapshot snapshot() const;

  // Whether the service is suspected to reload itself by what it writes (loop_breaker.hpp): Changed.by_others
  // matters from then on.
  bool suspects(ServiceId service) const;

  // The specification that this child was or is to be started with; null for a service that is not known.
  // Valid until the next handle().
  const ServiceSpec* spec_of(const ChildKey& key) const;

  // Whether this child has become ready, and nothing has been asked of it since.
  bool is_ready(const ChildKey& key) const;

  // The processes of this child that hold the role, the first one first; nobody for a child that is not
  // known.
  std::vector<std::int32_t> holders_of(const ChildKey& key) const;

  // The number of the latest Event, and of the latest Effect.
  std::uint64_t event_number() const;
  std::uint64_t effect_number() const;

  // The whole state as bytes, for the checkpoint of the state log; restore() is false for bytes that are not
  // one, and the machine is then unchanged. digest() is a hash of these bytes, for the journal.
  std::string save() const;
  [[nodiscard]] bool restore(std::string_view bytes);
  std::uint64_t digest() const;

 private:
  const Instance* instance_of(const ChildKey& key) const;

  std::unique_ptr<State> state_;
};

}  // namespace runmain::core

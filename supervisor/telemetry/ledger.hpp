// What became of a worker's spans: each one that ended is exported, rejected, dropped for a reason, or
// waiting.
//
// Invariant: a ledger says when it does not balance; it never corrects what it was told. Counters of children
// are claims of theirs. Plain values. Non-goal: logs and metrics.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "telemetry/mailbox_cursor.hpp"

namespace runmain::telemetry {

enum class Drop : std::uint8_t {
  // By the child, as it says: numbers as in runmain_lost.
  ring_full,
  too_big,
  reentrant,
  not_serving,
  no_memory,
  other_1,
  other_2,
  other_3,
  no_lane,
  // By us.
  invalid,
  queue_full,
  request_too_big,
  spill_full,
  spill_damaged,
  no_destination,
  not_read,  // it stood in the mailbox of a worker that is gone, and nobody came to it in time
};
inline constexpr std::size_t kDrops = 16;
inline constexpr std::size_t kDropsOfChild = 9;
const char* to_text(Drop reason);

struct Ledger {
  std::uint64_t started = 0;
  std::uint64_t ended = 0;
  std::uint64_t read = 0;      // out of a mailbox, or received
  std::uint64_t received = 0;  // of `read`: what did not come by a mailbox
  // Of `read`: what came in requests that a mailbox's writer handed on whole. It counts none of them: we do.
  std::uint64_t requested = 0;
  std::uint64_t received_invalid = 0;
  std::uint64_t reconstructed = 0;  // ended by us, beside `ended`
  std::uint64_t exported = 0;
  std::uint64_t rejected = 0;    // by the destination
  std::uint64_t duplicates = 0;  // came twice, byte by byte, and went out once
  std::uint64_t resent = 0;      // may have arrived twice; beside `exported`
  std::uint64_t unlikely = 0;    // counters of a mailbox that cannot be true, and were not taken
  std::int64_t waiting = 0;      // taken, and nothing of the above yet
  std::array<std::uint64_t, kDrops> dropped{};

  // What a mailbox has told so far, all of it.
  void set_mailbox(const MailboxTallies& tallies);
  // Further spans, of which a receiver knows no more than that they are there.
  void receive(std::uint64_t spans);
  // Spans that were read, received or reconstructed wait; later they are one of the others.
  void take(std::uint64_t spans) { waiting += static_cast<std::int64_t>(spans); }
  void export_spans(std::uint64_t spans);
  void reject(std::uint64_t spans);
  void drop(Drop reason, std::uint64_t spans);
  void duplicate(std::uint64_t spans);
  // What was not read never will be.
  void give_up_unread();

  std::uint64_t dropped_all() const;
  std::uint64_t dropped_by_child() const;
  std::uint64_t dropped_before_reading() const;
  // Ended, as the child says, and not yet read: at rest 0.
  std::int64_t unread() const;
  // Empty if it balances, else one sentence that says what does not. `at_rest`: its processes are gone and
  // all was read; before, spans may still lie in the mailbox.
  std::string imbalance(bool at_rest) const;
  // "started 12, ended 10, exported 9, dropped 1 (ring full 1), reconstructed 2": what is 0 behind "exported"
  // is left out.
  std::string text() const;
  void add(const Ledger& other);

  template <class A>
  void fields(A& a) {
    a("started", started);
    a("ended", ended);
    a("read", read);
    a("received", received);
    a("requested", requested);
    a("received_invalid", received_invalid);
    a("reconstructed", reconstructed);
    a("exported", exported);
    a("rejected", rejected);
    a("duplicates", duplicates);
    a("resent", resent);
    a("unlikely", unlikely);
    a("waiting", waiting);
    a("dropped", dropped);
  }
};

// What is left of the ledgers of a service's workers that were given up: sums, so that no counter goes back.
struct FoldedLedgers {
  std::optional<std::uint32_t> up_to;  // `earlier` is of all generations up to this one
  Ledger earlier;
  std::vector<std::pair<std::uint32_t, Ledger>> generations;  // after it, oldest first
  bool is_earlier(std::uint32_t generation) const { return up_to && generation <= *up_to; }
  template <class A>
  void fields(A& a) {
    a("up_to", up_to);
    a("earlier", earlier);
    a("generations", generations);
  }
};

struct FoldLimits {
  std::size_t generations = 128;  // of all services, each with a sum of its own
  std::size_t services = 2048;
};

// The ledgers of all workers. Those that are forgotten go into the sum of their generation, and beyond a
// bound into that of their service.
class Ledgers {
 public:
  explicit Ledgers(FoldLimits limits = {}) : limits_(limits) {}

  Ledger& of(const ChildKey& worker) { return ledgers_[worker]; }
  const std::map<ChildKey, Ledger>& all() const { return ledgers_; }
  // Where it counts what becomes of a worker's spans: its ledger, or the sum in which that is by now.
  // nullptr: nothing is known of it.
  Ledger* counting(const ChildKey& worker);
  // Of all workers of a generation.
  Ledger sum(ServiceId service, std::uint32_t generation) const;
  void forget(const ChildKey& worker);

  const std::map<ServiceId, FoldedLedgers>& folded() const { return folded_; }
  void restore(ServiceId service, FoldedLedgers folded) { folded_[service] = std::move(folded); }
  // Of a service and a generation, forgotten ledgers included. Without a generation: of those that have no
  // sum of their own any more. A sum only goes away by going into the latter.
  struct Sum {
    ServiceId service{};
    std::optional<std::uint32_t> generation;
    Ledger ledger;
  };
  std::vector<Sum> sums() const;

 private:
  Ledger& folded_of(const ChildKey& worker);
  std::size_t folded_generations() const;
  void fold_oldest();

  FoldLimits limits_;
  std::map<ChildKey, Ledger> ledgers_;
  std::map<ServiceId, FoldedLedgers> folded_;
};

}  // namespace runmain::telemetry

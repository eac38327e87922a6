// From items to a destination, so that an observer can die at any instruction: batches, the queue on disk,
// and what is on its way. For one signal.
//
//     add each item that a drain has given; flush(): all of it is on disk
//     save the mailboxes' cursors together with last_number() and done_early()
//     commit the mailboxes; note_saved(); pump(); send what next() gives, tell answer()
//
// Where the disk takes nothing (disk_fault()), a request waits in memory alone: it is lost with the observer,
// and counted as dropped, at its end by give_up_memory(), after its death by the next one's waits_in_memory()
// as saved. A new observer opens the same folder with the number that was saved: what was pushed after it is
// forgotten, and is read out of the mailboxes again. Invariant: an item that was added and saved ends as
// exported, rejected or dropped, once; only what was on its way at a death may arrive twice, byte by byte,
// and is told as resent. Non-goal: the mailboxes, and sockets.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "telemetry/destination.hpp"
#include "telemetry/ledger.hpp"
#include "telemetry/spill.hpp"

namespace runmain::telemetry {

struct OutboxLimits {
  BatchLimits batch;
  DestinationLimits destination;
  SpillLimits spill;
};

class Outbox {
 public:
  using Facts = std::vector<DestinationFact>;

  // `run`: of runmain: facts of what another one has left are about nobody.
  // `saved`: last_number() as it was saved. On failure the folder cannot be used.
  static Result<Outbox> open(Signal signal, const std::string& name, const std::string& folder,
                             std::uint64_t saved, const OutboxLimits& limits, std::uint64_t seed,
                             std::uint64_t run = 0);

  // Takes a copy. An item that fits nowhere is dropped.
  void add(const ChildKey& worker, const Item& item, Facts& facts);
  // All that was added goes to disk. What cannot be written waits in memory; what has no room there is
  // dropped.
  void flush(Facts& facts);
  std::uint64_t last_number() const { return spill_.last_number(); }
  // Requests that are done, of which the disk does not know it yet; a new observer is to skip() them.
  std::vector<std::uint64_t> done_early() const;
  void skip(const std::vector<std::uint64_t>& done) { skipped_.insert(done.begin(), done.end()); }

  // All that was told until now was saved, done_early() too: what is done can leave the disk. Earlier it
  // could be gone from there while no ledger knows what became of it.
  void note_saved();

  // Fetches from disk what the destination has room for.
  void pump(Facts& facts);
  std::optional<Destination::Attempt> next(Time now, Facts& facts) { return destination_.next(now, facts); }
  void answer(std::uint64_t id, const Answer& answer, Time now, std::int64_t wall_seconds, Facts& facts);
  Time next_deadline() const { return destination_.next_deadline(); }

  // Why the latest request could not be written. Empty: it could.
  const std::string& disk_fault() const { return disk_fault_; }
  // Items that wait in memory alone, of each worker.
  std::map<ChildKey, std::uint64_t> waits_in_memory() const { return destination_.unspilled(); }
  // Gives these up: they are to be counted as dropped. Requires that nothing is on its way.
  std::map<ChildKey, std::uint64_t> give_up_memory() { return destination_.give_up_unspilled(); }

  bool empty() const { return batches_.empty() && spill_.empty() && destination_.parcels() == 0; }
  const Spill& spill() const { return spill_; }
  bool failing() const { return destination_.failing(); }

 private:
  Outbox(Signal signal, const std::string& name, Spill spill, const OutboxLimits& limits, std::uint64_t seed,
         std::uint64_t run);
  void close(const ChildKey& worker, Batch& batch, Facts& facts);
  void done(std::uint64_t number);
  void lost(Drop reason, std::string_view begin, std::uint32_t items);
  void tell_lost(Facts& facts);

  Signal signal_;
  std::uint64_t run_;
  OutboxLimits limits_;
  std::map<ChildKey, Batch> batches_;
  Spill spill_;
  Destination destination_;
  std::set<std::uint64_t> skipped_;     // done before us
  std::vector<std::uint64_t> unsaved_;  // done by us since the last save
  std::string disk_fault_;
  Facts lost_;  // of what the spill has lost during a call
};

// What a fact means for the ledger of its worker. Of other signals than traces: nothing.
void apply(const DestinationFact& fact, Ledgers& ledgers);

}  // namespace runmain::telemetry

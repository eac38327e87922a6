// The observer: reads what workers have left in their mailboxes, counts it, sends it, and can die at any
// instruction. What the keeper says comes as calls.
//
// A round: drain some of each mailbox that has something, gather it in outboxes, flush these to disk, save
// cursors, outboxes and ledgers as one value, commit the mailboxes, and only then send. Invariant: a new
// observer with the same cursors and folder goes on without loss; twice may arrive only what was on its way
// at the death. Rounds are bounded, and rarer the more saving costs. Thread: the loop's. Non-goals: fds of
// the keeper (app/observer_process.hpp), and spilled requests of an earlier runmain: they name services by
// numbers that may be others' now, and are counted in their names.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "os/linux/memfd_cell.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/duplicates.hpp"
#include "telemetry/exporter.hpp"
#include "telemetry/observed_mailbox.hpp"
#include "telemetry/observer_config.hpp"
#include "telemetry/observer_fact.hpp"
#include "telemetry/observer_state.hpp"
#include "telemetry/trace_store.hpp"

namespace runmain::telemetry {

struct ObserverLimits {
  std::size_t slice = 512U << 10U;                   // bytes of one drain
  std::size_t round = 4U << 20U;                     // bytes of a round, about
  Duration gap_busy = std::chrono::milliseconds(5);  // between rounds at the least …
  Duration gap_dev = std::chrono::milliseconds(25);  // … and while no ring is about to be full
  Duration gap_prod = std::chrono::milliseconds(50);
  std::size_t fill = 1U << 20U;   // bytes that may come until the next round: a fourth of a ring
  std::uint32_t save_share = 20;  // saving takes at most one part in so many of the time
  Duration save_again = std::chrono::seconds(1);    // after a failure
  Duration close_after = std::chrono::seconds(30);  // a mailbox whose tree is gone
  Duration tell_after = std::chrono::seconds(2);    // of a worker that is gone and has spans waiting
  Duration metrics_dev = std::chrono::seconds(5);   // of our own, while something happens
  Duration metrics_prod = std::chrono::seconds(60);
  std::size_t ledgers = 128;         // of workers that are gone
  FoldLimits folded;                 // what is left of those before
  std::size_t unsaved = 32U << 20U;  // bytes of receive() between two saves
  OutboxLimits outbox{{4U << 20U, 2048}, {.in_flight = 4}, {}};
  TraceStoreLimits store;
  Dies dies;  // tests only
};

struct LedgerLine {
  ChildKey worker;
  std::string service;
  Ledger ledger;
  bool ended = false;     // its worker is gone and all was read
  std::string imbalance;  // empty: it balances
  bool folded = false;    // of several workers that are gone, of this generation or up to it
};

struct ObserverStatus {
  std::vector<LedgerLine> ledgers;
  std::vector<OutboxStatus> destinations;
  ObserverCounters counters;
  std::size_t mailboxes = 0;
  TraceStore::Counters store;
};

class Observer {
 public:
  struct Says {
    std::function<void(const ChildKey&)> mailbox_read;
    std::function<void()> finished;
  };
  Observer(os::Loop& loop, Says says, ObserverLimits limits = {});
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // ---- what the keeper says

  // Comes first. `cursors`: the memfd in which the observer before this one has saved.
  void on_welcome(os::UniqueFd cursors);
  void on_configuration(const ObserverConfig& config);
  void on_mailbox(MailboxOwner owner, os::UniqueFd memory, os::UniqueFd wake);
  void on_child_gone(const ChildKey& key, const Ending& ending);
  void on_tree_gone(const ChildKey& key);
  // How many mailboxes nobody will read, all in all.
  void on_mailboxes_lost(std::uint64_t lost, std::uint64_t not_made);
  // No child lives. Reads what is left, sends until all is sent, nobody takes it, or the time is over; saves,
  // and says finished().
  // `alone`: the keeper is gone, and workers that outlive it write on.
  void finish(Duration budget, bool alone = false);
  // What is left is read and saved, and no answer waited for: beside finish(), however much of its time is
  // left.
  void hurry();

  // ---- what a receiver says

  // Takes copies of checked items of a worker. False: not now (there is no configuration, too much is not
  // saved yet, or we finish). Of spans that this worker has sent before, byte by byte, no second one is
  // taken.
  bool receive(const ChildKey& worker, const Arrival& arrival, std::span<const Item> items);
  // Spans that it had to refuse: counted as invalid.
  void receive_invalid(const ChildKey& worker, std::uint64_t spans);
  // Called once, when all that was received up to now outlives us.
  void when_saved(std::function<void()> call);

  // ---- what others want to know

  void on_fact(std::function<void(const ObserverFact&)> tell) { tell_ = std::move(tell); }
  ObserverStatus status() const;
  std::size_t mailbox_memory() const;  // for tests and bounds: what is held to read them
  TraceStore& store() { return store_; }
  // Somebody wants spans kept although this is no development; each call with true needs one with false.
  void want_store(bool wanted);
  // Of a service that was configured; "service 7" of others.
  std::string name_of(ServiceId service) const;

 private:
  // observer.cpp: the keeper's words, and time
  void work();
  void schedule();
  void soon() { wake_at(os::Loop::now()); }
  void wake_at(Time when);
  void enqueue(ObservedMailbox& mailbox);
  void look(Time now);
  void give_up_unread(Time now);
  void end_finish(Time now);
  void bare_tree_gone(const ChildKey& key);
  bool dies(Step step);
  bool has_mailbox(ServiceId service) const;

  // observer_round.cpp: from mailboxes to outboxes, to the cell, and back
  void drain_round();
  Duration gap_after(std::size_t bytes, Duration took) const;
  std::size_t drain(ObservedMailbox& mailbox);
  void take(const TraceStore::Source& source, Exporter::Route* route, const Item& item, bool by_mailbox);
  void tell_duplicate(const TraceStore::Source& source);
  bool save();
  std::string encoded();
  void commit(Time now);
  void close(ObservedMailbox& mailbox, Time now);
  Ledger& receiving_ledger(const ChildKey& worker);
  bool came_before(const ChildKey& worker, const Arrival& arrival, const Item& span);

  // observer_tell.cpp: ledgers' ends, facts and status
  void tell(const ObserverFact& fact) const;
  void tell_ended(Time now, bool all);
  void forget_ledgers();
  void add_folded(ObserverStatus& status) const;
  void tell_ledger(const ChildKey& worker);
  void metrics_soon();
  void export_metrics(Time now);
  std::string worker_text(const ChildKey& worker) const;

  os::Loop& loop_;
  Says says_;
  ObserverLimits limits_;
  std::function<void(const ObserverFact&)> tell_;
  bool dead_ = false;

  os::UniqueFd cell_;
  std::optional<ObserverConfig> config_;
  std::map<ServiceId, std::string> names_;
  std::map<ChildKey, std::string> cursors_;  // saved, of mailboxes that the keeper has not told of yet
  Time cursors_until_ = kNever;              // by then it has

  Ledgers ledgers_;
  ObserverCounters counters_;
  TraceStore store_;
  std::size_t store_wanted_ = 0;
  std::optional<Duplicates> duplicates_;  // among what is received; from the first configuration on
  std::vector<std::pair<ChildKey, SpanDigest>> unanswered_;      // received since the last save
  std::set<std::pair<ChildKey, SpanDigest>> unanswered_before_;  // by the observer before; for a while

  std::map<ChildKey, std::unique_ptr<ObservedMailbox>> mailboxes_;
  std::deque<ObservedMailbox*> ready_;
  std::vector<ObservedMailbox*> drained_;                 // since the last save
  std::vector<std::pair<ChildKey, std::string>> closed_;  // since the last save, with their cursors
  std::map<ChildKey, Time> untold_;                       // gone: told by then
  std::deque<ChildKey> ended_;                            // gone, or without a mailbox, oldest first
  std::set<ChildKey> receiving_;                          // of these: live, as far as we know
  std::deque<ChildKey> bare_gone_;  // trees that are gone without a mailbox; the latest kBareGoneMax
  std::vector<std::function<void()>> when_saved_;
  std::size_t unsaved_bytes_ = 0;
  ServiceId duplicate_told_ = kNoService;
  Time duplicate_told_at_{};

  bool dirty_ = false;       // something is not saved
  bool first_save_ = false;  // outboxes were opened: nothing is added before that is saved
  Time last_round_{};
  Time next_round_{};
  Time next_save_{};
  Time look_at_ = kNever;
  Time metrics_at_ = kNever;
  std::uint64_t begun_unix_nano_ = 0;
  Time wake_at_ = kNever;
  std::optional<Time> finish_by_;
  bool finished_ = false;
  bool hurried_ = false;

  std::unique_ptr<os::Timer> timer_;
  std::unique_ptr<Exporter> exporter_;  // goes first: it calls us
};

}  // namespace runmain::telemetry

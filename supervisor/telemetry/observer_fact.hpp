// What the observer tells people and a head: its facts, its counters, and the steps of its work at which a
// test can end it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/ids.hpp"

namespace runmain::telemetry {

// `type`: destination.fails, destination.recovers, destination.warns, ledger.ended, spans.duplicated,
// spans.doubled, mailbox.refused, lane.aside.
struct ObserverFact {
  std::string type;
  std::string text;  // one sentence for people
  std::string service{};
  ChildKey worker{kNoService};
};

struct ObserverCounters {
  std::uint64_t spans = 0;  // taken out of mailboxes, or received
  std::uint64_t logs = 0;
  std::uint64_t metrics = 0;
  std::uint64_t others_exported = 0;  // logs and metrics
  std::uint64_t others_rejected = 0;
  std::uint64_t others_dropped = 0;
  std::uint64_t strangers = 0;          // spans of answers, whose worker has no ledger: of an earlier runmain
  std::uint64_t spans_duplicated = 0;   // of mailboxes those that the trace store has: of a flood a share
  std::uint64_t not_received = 0;       // items that receive() had no room for
  std::uint64_t mailboxes_refused = 0;  // could not be opened
  std::uint64_t mailboxes_cut = 0;      // long after the tree was gone not read, or still written to
  std::uint64_t mailboxes_lost = 0;     // by the keeper, over its limit
  std::uint64_t mailboxes_not_made = 0;  // by the keeper: no room, or no memory
  std::uint64_t lanes_aside = 0;
  std::uint64_t ledgers_forgotten = 0;  // of workers that are gone: folded, over the limit
  std::uint64_t saves_failed = 0;
  template <class A>
  void fields(A& a) {
    a("spans", spans);
    a("logs", logs);
    a("metrics", metrics);
    a("others_exported", others_exported);
    a("others_rejected", others_rejected);
    a("others_dropped", others_dropped);
    a("strangers", strangers);
    a("spans_duplicated", spans_duplicated);
    a("not_received", not_received);
    a("mailboxes_refused", mailboxes_refused);
    a("mailboxes_cut", mailboxes_cut);
    a("mailboxes_lost", mailboxes_lost);
    a("mailboxes_not_made", mailboxes_not_made);
    a("lanes_aside", lanes_aside);
    a("ledgers_forgotten", ledgers_forgotten);
    a("saves_failed", saves_failed);
  }
};

// Where an observer can be ended by a test: after the step, and `answering` before an answer counts.
enum class Step : std::uint8_t { drained, flushed, saved, committed, sent, answering };
// True: it is dead from now on.
using Dies = std::function<bool(Step)>;

}  // namespace runmain::telemetry

// What an observer leaves to the next one, as one value: how far mailboxes were read, how far outboxes were
// filled, and the ledgers. In base/named_archive.hpp's form,
// as the observers of the next and the last version read it, too.
//
// Invariant: all of it is of one moment; encode() and ObserverState's own form are the same bytes. Non-goal:
// observers of versions further away, which begin as if nothing was saved.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/named_archive.hpp"
#include "telemetry/duplicates.hpp"
#include "telemetry/exporter.hpp"
#include "telemetry/ledger.hpp"
#include "telemetry/mailbox_cursor.hpp"
#include "telemetry/observer_fact.hpp"

namespace runmain::telemetry {

struct ObserverState {
  std::uint32_t version = state_version();
  std::vector<SavedOutbox> outboxes;
  std::vector<std::pair<ChildKey, Ledger>> ledgers;
  std::vector<std::pair<ServiceId, FoldedLedgers>> folded;
  std::vector<ChildKey> ended;      // of these: of workers that are gone, or have no mailbox
  std::vector<ChildKey> told;       // of these: that this was told
  std::vector<ChildKey> receiving;  // of these: not gone
  ObserverCounters counters;
  std::uint64_t begun_unix_nano = 0;  // when the first observer began to count
  // Received spans whose senders may not have heard of it: they send them again.
  std::vector<std::pair<ChildKey, SpanDigest>> unanswered;
  std::vector<std::pair<ChildKey, MailboxCursor>> mailboxes;
  template <class A>
  void fields(A& a) {
    a("version", version);
    a("outboxes", outboxes);
    a("ledgers", ledgers);
    a("folded", folded);
    a("ended", ended);
    a("told", told);
    a("receiving", receiving);
    a("counters", counters);
    a("begun", begun_unix_nano);
    a("unanswered", unanswered);
    a("mailboxes", mailboxes);
  }
};

// `state`, with these mailboxes instead of its own: each with its cursor's bytes.
std::string encode(const ObserverState& state,
                   const std::vector<std::pair<ChildKey, std::string_view>>& mailboxes);
// False if these are not the bytes of a state of this version.
[[nodiscard]] bool decode(std::string_view bytes, ObserverState& state);

}  // namespace runmain::telemetry

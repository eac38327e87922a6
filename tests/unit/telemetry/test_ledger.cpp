// Ledgers that balance, and those that say why they do not.
#include "base/archive.hpp"
#include "support/catch.hpp"
#include "telemetry/ledger.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

// 10 ended: 1 found no room, 9 were read, 1 of these is invalid; 2 more were open. All of them went
// somewhere.
Ledger balanced() {
  MailboxTallies tallies;
  tallies.counters.started = 12;
  tallies.counters.ended = 10;
  tallies.counters.lost[RUNMAIN_LOST_FULL] = 1;
  tallies.spans = 9;
  tallies.invalid_spans = 1;
  tallies.reconstructed = 2;
  Ledger ledger;
  ledger.set_mailbox(tallies);
  ledger.take(10);
  ledger.export_spans(6);
  ledger.reject(1);
  ledger.drop(Drop::queue_full, 1);
  ledger.duplicate(1);
  return ledger;
}

}  // namespace

TEST_CASE("a ledger in which each span has a place balances, and is told in one line") {
  const Ledger ledger = balanced();
  CHECK(ledger.imbalance(true).empty());
  CHECK(ledger.text() ==
        "started 12, ended 10, exported 6, rejected 1, dropped 3 (ring full 1, invalid 1, queue full 1), "
        "reconstructed 2, waiting 1, duplicates 1");
}

TEST_CASE("a ledger that does not balance says what is missing") {
  struct Case {
    const char* what;
    void (*change)(Ledger&);
    const char* at_rest;
    const char* running;
  };
  const Case cases[] = {
      {"unread", [](Ledger& l) { l.ended += 2; }, "2 spans that the worker says to have ended never came",
       ""},
      {"more read than ended", [](Ledger& l) { l.ended -= 1; },
       "1 span more came than the worker says to have ended", ""},
      {"lost by us", [](Ledger& l) { l.waiting -= 1; }, "1 span that came went nowhere",
       "1 span that came went nowhere"},
      {"exported twice", [](Ledger& l) { l.exported += 3; }, "3 spans more went on than came",
       "3 spans more went on than came"},
      {"answered twice", [](Ledger& l) { l.export_spans(5); }, "4 spans went on twice",
       "4 spans went on twice"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    Ledger ledger = balanced();
    c.change(ledger);
    CHECK(ledger.imbalance(true) == c.at_rest);
    CHECK(ledger.imbalance(false) == c.running);
  }
}

TEST_CASE("what is received is counted beside the mailbox, also when that is told again") {
  Ledger ledger = balanced();
  ledger.receive(5);
  ledger.take(5);
  ledger.drop(Drop::invalid, 2);
  ledger.export_spans(3);
  MailboxTallies tallies;
  tallies.counters.started = 12;
  tallies.counters.ended = 10;
  tallies.counters.lost[RUNMAIN_LOST_FULL] = 1;
  tallies.spans = 9;
  tallies.invalid_spans = 1;
  tallies.reconstructed = 2;
  tallies.no_lane = 4;
  ledger.set_mailbox(tallies);
  CHECK(ledger.imbalance(true).empty());
  CHECK(ledger.ended == 19);
  CHECK(ledger.dropped[static_cast<std::size_t>(Drop::invalid)] == 3);
  CHECK(ledger.dropped[static_cast<std::size_t>(Drop::no_lane)] == 4);
}

TEST_CASE("absurd claims of a child overflow nothing") {
  MailboxTallies tallies;
  for (int i = 0; i < 100; ++i) {
    LaneCounters absurd;
    absurd.merge(
        {~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, {~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL}});
    tallies.counters.add(absurd);
  }
  tallies.no_lane = kCounterMax;
  Ledger ledger;
  ledger.set_mailbox(tallies);
  CHECK(ledger.ended == 2 * kCounterMax);
  CHECK_FALSE(ledger.imbalance(true).empty());
  CHECK_FALSE(ledger.text().empty());
}

TEST_CASE("counters only rise") {
  LaneCounters seen;
  seen.merge({.started = 5, .ended = 4, .lost = {1}});
  seen.merge({.started = 3, .ended = 9, .lost = {0, 2}});
  CHECK(seen == LaneCounters{.started = 5, .ended = 9, .lost = {1, 2}});
  CHECK(seen.lost_all() == 3);
}

TEST_CASE("the ledgers of a generation's workers are one sum") {
  Ledgers ledgers;
  const ServiceId web{1};
  ledgers.of({web, 0, 3, 1}) = balanced();
  ledgers.of({web, 1, 3, 1}) = balanced();
  ledgers.of({web, 0, 4, 1}).receive(7);
  ledgers.of({ServiceId{2}, 0, 3, 1}).receive(9);
  const Ledger sum = ledgers.sum(web, 3);
  CHECK(sum.ended == 20);
  CHECK(sum.waiting == 2);
  CHECK(sum.imbalance(true).empty());
}

TEST_CASE("a ledger that is forgotten stays in the sum of its generation, and then in that of its service") {
  Ledgers ledgers(FoldLimits{2, 2});
  const ServiceId web{1};
  const auto ended = [&](ServiceId service, std::optional<std::uint32_t> generation) -> std::uint64_t {
    for (const Ledgers::Sum& sum : ledgers.sums()) {
      if (sum.service == service && sum.generation == generation) return sum.ledger.ended;
    }
    return 0;
  };
  ledgers.of({web, 0, 1, 1}).receive(5);
  ledgers.of({web, 0, 1, 1}).take(5);
  ledgers.of({web, 1, 1, 1}).receive(7);
  CHECK(ended(web, 1) == 12);
  ledgers.forget({web, 0, 1, 1});
  CHECK(ended(web, 1) == 12);
  // A late answer counts there, too.
  REQUIRE(ledgers.counting({web, 0, 1, 1}) != nullptr);
  ledgers.counting({web, 0, 1, 1})->export_spans(5);
  CHECK(ledgers.sums()[0].ledger.exported == 5);
  CHECK(ledgers.sums()[0].ledger.waiting == 0);
  CHECK(ledgers.counting({web, 0, 2, 1}) == nullptr);
  for (std::uint32_t generation = 2; generation <= 4; ++generation) {
    ledgers.of({web, 0, generation, 1}).receive(1);
    ledgers.forget({web, 0, generation, 1});
  }
  // Two generations have a sum of their own; what still lives of those before counts with these.
  CHECK(ended(web, std::nullopt) == 13);
  CHECK(ended(web, 1) == 0);
  CHECK(ended(web, 3) == 1);
  CHECK(ended(web, 4) == 1);
  ledgers.forget({web, 1, 1, 1});
  CHECK(ended(web, std::nullopt) == 13);
  // Of more services than the bound the first one goes.
  for (std::uint32_t service = 2; service <= 3; ++service) {
    ledgers.of({ServiceId{service}, 0, 1, 1}).receive(service);
    ledgers.forget({ServiceId{service}, 0, 1, 1});
  }
  CHECK(ledgers.folded().size() == 2);
  CHECK(ledgers.folded().count(web) == 0);
}

TEST_CASE("spans of requests that were handed on whole are counted by us, and the ledger balances") {
  MailboxTallies tallies;
  tallies.counters.started = 2;
  tallies.counters.ended = 2;
  tallies.spans = 5;
  tallies.requested = 3;
  Ledger ledger;
  ledger.set_mailbox(tallies);
  ledger.take(5);
  ledger.export_spans(5);
  CHECK(ledger.imbalance(true).empty());
  CHECK(ledger.requested == 3);
  CHECK(ledger.text() == "started 5, ended 5, exported 5");
}

TEST_CASE("a ledger survives its observer") {
  Ledger read;
  REQUIRE(from_binary(to_binary(balanced()), read));
  CHECK(read.text() == balanced().text());
  CHECK(read.imbalance(true).empty());
}

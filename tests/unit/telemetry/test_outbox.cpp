// From items to a destination, through any number of deaths.
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/outbox.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

using Type = DestinationFact::Type;

const ChildKey kWorkers[] = {{ServiceId{1}, 0, 3, 1}, {ServiceId{1}, 1, 3, 1}};

struct Folder {
  std::string path = "/tmp/runmain-outbox-XXXXXX";
  Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
};

struct Source {
  std::string resource = make_resource("web");
  std::string scope = make_scope("lib");
  Item item(const std::string& bytes) const {
    Item item;
    item.bytes = bytes;
    item.origin.resource = resource;
    item.origin.scope = scope;
    return item;
  }
};

Outbox open_outbox(const Folder& folder, std::uint64_t saved, const OutboxLimits& limits,
                   std::uint64_t seed = 1) {
  auto outbox = Outbox::open(Signal::traces, "collector", folder.path, saved, limits, seed);
  REQUIRE(outbox.ok());
  return std::move(*outbox);
}

Answer status(int code) {
  Answer answer;
  answer.status = code;
  return answer;
}

// The names of the spans in a request.
std::vector<std::string> names_of(const Request& request) {
  std::vector<std::string> names;
  const Keep keep = [](std::string) { return std::string_view(); };
  REQUIRE(each_item(Signal::traces, request.bytes, keep, [&](const Item& item) {
            const Checked found = check(kSpan, item.bytes);
            names.emplace_back(found.ids.span.begin(), found.ids.span.end());
          }).ok());
  return names;
}

// No file may grow beyond this: as on a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit small{bytes, before_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("items go out as requests of their worker, and the ledgers balance") {
  const Folder folder;
  const Source source;
  OutboxLimits limits;
  limits.batch.items = 10;
  Outbox outbox = open_outbox(folder, 0, limits);
  std::vector<DestinationFact> facts;
  Ledgers ledgers;
  for (std::uint64_t n = 0; n < 35; ++n) {
    const ChildKey& worker = kWorkers[n % 7 == 0 ? 1 : 0];
    ledgers.of(worker).receive(1);
    ledgers.of(worker).take(1);
    const std::string span = span_number(n + 1);
    outbox.add(worker, source.item(span), facts);
  }
  outbox.flush(facts);
  std::size_t requests = 0;
  for (outbox.pump(facts); const auto attempt = outbox.next(Time(1s), facts); ++requests) {
    outbox.answer(attempt->id, status(requests == 1 ? 400 : 200), Time(1s), 0, facts);
  }
  CHECK(requests == 4);         // 30 of one worker, 5 of the other
  CHECK_FALSE(outbox.empty());  // nobody has saved yet that they are done
  CHECK(outbox.done_early().size() == 4);
  outbox.note_saved();
  CHECK(outbox.empty());
  for (const DestinationFact& fact : facts) apply(fact, ledgers);
  for (const ChildKey& worker : kWorkers) CHECK(ledgers.of(worker).imbalance(true) == "");
  const Ledger sum = ledgers.sum(ServiceId{1}, 3);
  CHECK(sum.exported + sum.rejected == 35);
  CHECK(sum.rejected > 0);
}

TEST_CASE("whatever the destination does, the disk's limit included, each span is counted once") {
  const std::uint64_t seed = 17;
  CAPTURE(seed);
  Random random(seed);
  const Source source;
  for (int round = 0; round < 20; ++round) {
    const Folder folder;
    OutboxLimits limits;
    limits.batch.items = 5;
    limits.batch.bytes = 1000;
    limits.destination.queue_bytes = 3000;
    limits.destination.in_flight = static_cast<std::uint32_t>(1 + random.below(3));
    limits.spill.bytes = 8000;
    limits.spill.segment = 2000;
    Outbox outbox = open_outbox(folder, 0, limits, round);
    std::vector<DestinationFact> facts;
    Ledgers ledgers;
    std::vector<std::uint64_t> flying;
    Time now(1000s);
    for (std::uint64_t step = 0; step < 400; ++step) {
      now += std::chrono::milliseconds(random.below(4000));
      for (std::uint64_t i = random.below(4); i-- > 0;) {
        const ChildKey& worker = kWorkers[random.below(2)];
        SpanSpec spec;
        spec.name = std::string(random.below(20) == 0 ? 2000 : random.below(300), 'n');
        const std::string span = make_span(spec);
        ledgers.of(worker).receive(1);
        ledgers.of(worker).take(1);
        outbox.add(worker, source.item(span), facts);
      }
      outbox.flush(facts);
      outbox.note_saved();
      outbox.pump(facts);
      while (const auto attempt = outbox.next(now, facts)) flying.push_back(attempt->id);
      if (flying.empty() || random.below(2) == 0) continue;
      static constexpr int kCodes[] = {200, 200, 400, 503, 503};
      outbox.answer(flying.back(), status(kCodes[random.below(std::size(kCodes))]), now, 0, facts);
      flying.pop_back();
    }
    for (int i = 0; i < 1000 && !outbox.empty(); ++i) {
      now += 60s;
      outbox.note_saved();
      outbox.pump(facts);
      while (const auto attempt = outbox.next(now, facts)) flying.push_back(attempt->id);
      for (const std::uint64_t id : std::exchange(flying, {})) outbox.answer(id, status(200), now, 0, facts);
      outbox.note_saved();
    }
    CHECK(outbox.empty());
    for (const DestinationFact& fact : facts) apply(fact, ledgers);
    const Ledger sum = ledgers.sum(ServiceId{1}, 3);
    CHECK(sum.imbalance(true) == "");
    CHECK(sum.waiting == 0);
    CHECK(sum.exported > 0);
    CHECK(sum.dropped[static_cast<std::size_t>(Drop::request_too_big)] > 0);
  }
}

TEST_CASE(
    "an observer that dies at any moment loses nothing and sends nothing twice but what was on its way") {
  const std::uint64_t seed = 23;
  CAPTURE(seed);
  Random random(seed);
  const Source source;
  std::uint64_t deaths = 0;
  std::uint64_t all_resent = 0;
  for (int round = 0; round < 20; ++round) {
    const Folder folder;
    OutboxLimits limits;
    limits.batch.items = 4;
    limits.destination.in_flight = 2;
    limits.destination.backoff_first = 1ms;
    limits.spill.segment = 1500;
    constexpr std::uint64_t kItems = 300;
    std::uint64_t read = 0;   // of the mailbox, as this observer knows
    std::uint64_t saved = 0;  // as the next one will know, together with:
    std::uint64_t saved_number = 0;
    std::vector<std::uint64_t> saved_done;
    Ledger saved_ledger;
    Ledgers ledgers;
    Ledger& ledger = ledgers.of(kWorkers[0]);
    std::size_t applied = 0;
    std::map<std::string, int> arrived;
    std::uint64_t again = 0;  // items that came another time
    std::vector<DestinationFact> facts;
    Time now(1000s);
    auto outbox = std::make_unique<Outbox>(open_outbox(folder, 0, limits));
    std::vector<Destination::Attempt> flying;
    const auto dies = [&] {
      if (random.below(12) != 0) return false;
      ++deaths;
      flying.clear();
      outbox.reset();
      outbox = std::make_unique<Outbox>(open_outbox(folder, saved_number, limits, deaths));
      outbox->skip(saved_done);
      read = saved;
      ledger = saved_ledger;
      applied = facts.size();
      return true;
    };
    while (saved < kItems || !outbox->empty()) {
      now += 1s;
      for (std::uint64_t i = random.below(10); i-- > 0 && read < kItems;) {
        const std::string span = span_number(++read);
        ledger.receive(1);
        ledger.take(1);
        outbox->add(kWorkers[0], source.item(span), facts);
      }
      if (dies()) continue;
      outbox->flush(facts);
      if (dies()) continue;
      for (; applied < facts.size(); ++applied) apply(facts[applied], ledgers);
      saved = read;
      saved_number = outbox->last_number();
      saved_done = outbox->done_early();
      saved_ledger = ledger;
      if (dies()) continue;
      outbox->note_saved();
      if (dies()) continue;
      outbox->pump(facts);
      if (dies()) continue;
      while (const auto attempt = outbox->next(now, facts)) flying.push_back(*attempt);
      if (flying.empty()) continue;
      const Destination::Attempt attempt = flying.front();
      flying.erase(flying.begin());
      const bool taken = random.below(3) != 0;
      if (taken) {
        for (const std::string& name : names_of(*attempt.request)) again += ++arrived[name] > 1 ? 1 : 0;
      }
      if (dies()) continue;
      outbox->answer(attempt.id, status(taken ? 200 : 503), now, 0, facts);
      (void)dies();
    }
    std::uint64_t told = 0;
    for (const DestinationFact& fact : facts) {
      CHECK(fact.type != Type::dropped);
      told += fact.type == Type::resent ? fact.items : 0;
    }
    CHECK(arrived.size() == kItems);
    CHECK(ledger.exported == kItems);  // of each it is known what became of it, whenever who knew it has died
    CHECK(ledger.waiting == 0);
    CHECK(again <= told);
    all_resent += again;
  }
  CHECK(all_resent > 0);
  CHECK(deaths > 200);
}

TEST_CASE("where the disk is full a queue goes on in memory, and over its bound the oldest are lost") {
  const Folder folder;
  const Source source;
  OutboxLimits limits;
  limits.destination.queue_bytes = 2000;
  Outbox outbox = open_outbox(folder, 0, limits);
  Outbox::Facts facts;
  const Time now{};
  const auto add = [&](std::uint64_t number) {
    outbox.add(kWorkers[0], source.item(span_number(number)), facts);
    outbox.flush(facts);
  };
  {
    const FullDisk full(100);
    add(1);
    CHECK(outbox.spill().empty());
    CHECK(facts.empty());
    CHECK_FALSE(outbox.disk_fault().empty());
    CHECK(outbox.waits_in_memory() == std::map<ChildKey, std::uint64_t>{{kWorkers[0], 1}});
    const auto attempt = outbox.next(now, facts);
    REQUIRE(attempt);
    CHECK(names_of(*attempt->request).size() == 1);
    outbox.answer(attempt->id, status(200), now, 0, facts);
    outbox.note_saved();
    REQUIRE(facts.size() == 1);
    CHECK(facts[0].type == Type::exported);
    CHECK(outbox.empty());
    facts.clear();
    std::uint64_t lost = 0;
    for (std::uint64_t n = 2; n < 40; ++n) add(n);
    for (const DestinationFact& fact : facts) {
      CHECK(fact.type == Type::dropped);
      CHECK(fact.reason == Drop::spill_full);
      CHECK(fact.worker == kWorkers[0]);
      lost += fact.items;
    }
    CHECK(lost > 0);
    CHECK(lost < 38);
  }
  facts.clear();
  add(40);  // there is room again
  CHECK(outbox.spill().items() == 1);
  CHECK(outbox.disk_fault().empty());
  while (const auto attempt = outbox.next(now, facts)) outbox.answer(attempt->id, status(200), now, 0, facts);
  outbox.pump(facts);
  while (const auto attempt = outbox.next(now, facts)) outbox.answer(attempt->id, status(200), now, 0, facts);
  outbox.note_saved();
  CHECK(outbox.empty());
}

TEST_CASE("what is in memory alone is given up at the end, on its way or not, and what is on disk stays") {
  const Folder folder;
  const Source source;
  Outbox outbox = open_outbox(folder, 0, {});
  Outbox::Facts facts;
  const auto add = [&](std::uint64_t number) {
    outbox.add(kWorkers[number % 2], source.item(span_number(number)), facts);
    outbox.flush(facts);
  };
  add(1);
  const FullDisk full(100);
  for (std::uint64_t n = 2; n <= 4; ++n) add(n);
  const auto attempt = outbox.next({}, facts);
  REQUIRE(attempt);
  const std::map<ChildKey, std::uint64_t> all{{kWorkers[0], 2}, {kWorkers[1], 1}};
  CHECK(outbox.waits_in_memory() == all);
  CHECK(outbox.give_up_memory() == all);
  CHECK(outbox.waits_in_memory().empty());
  CHECK(outbox.spill().items() == 1);
  outbox.answer(attempt->id, status(200), {}, 0, facts);
  CHECK(facts.empty());
}

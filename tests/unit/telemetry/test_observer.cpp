// Mailboxes on one side, a collector on the other, and observers that die in between.
#include <protozero/pbf_reader.hpp>

#include "base/archive.hpp"
#include "observer_scene.hpp"
#include "telemetry/exporter_text.hpp"
#include "telemetry/otlp_json.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

// A worker with one lane.
struct Worker {
  World world;
  os::UniqueFd wake = make_wake();
  Lane lane;
  std::uint32_t scope = 0;

  explicit Worker(std::uint32_t mode = RUNMAIN_LANE_BY_POSITION, const Geometry& g = small_geometry())
      : world(g), lane(world, 0, mode) {
    REQUIRE(lane.take());
    scope = lane.scope("lib");
  }
  // As a writer does it; true if there was room.
  bool write(std::uint64_t number) {
    if (!lane.span(scope, span_number(number))) return false;
    Lane::lane_count(lane.words().started);
    wake_reader();
    return true;
  }
  void wake_reader() {
    std::atomic_ref<std::uint32_t> asleep(world.memory.header().asleep);
    if (asleep.exchange(0) == 0) return;
    const std::uint64_t one = 1;
    REQUIRE(write_all_of(one));
  }
  bool asleep() const { return load(world.memory.header().asleep) == 1; }

 private:
  bool write_all_of(std::uint64_t one) const { return ::write(wake.get(), &one, sizeof one) == sizeof one; }
};

// With a ring of more than the observer reads of it at a time, full.
struct FullWorker : Worker {
  std::uint64_t spans = 0;

  FullWorker() : Worker(RUNMAIN_LANE_BY_POSITION, big_geometry()) {
    while (write(spans + 1)) ++spans;
  }
  static Geometry big_geometry() {
    Geometry g = small_geometry();
    g.ring_size = 4U * RUNMAIN_RECORD_MAX;
    g.lane_stride = g.ring_offset() + g.ring_size;
    return g;
  }
};

void end_worker(ObserverScene& scene, const ChildKey& key = kWeb) {
  scene.observer->on_child_gone(key, {Ending::How::exited, 0, 9000});
  scene.observer->on_tree_gone(key);
}

}  // namespace

TEST_CASE("what workers write arrives once while they live, and at their end the mailbox is read") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker one;
  Worker two;
  const ChildKey other{ServiceId{1}, 1, 3, 1};
  scene.start();
  scene.mailbox(one.world, one.wake);
  scene.mailbox(two.world, two.wake, other);
  for (std::uint64_t n = 1; n <= 5; ++n) {
    REQUIRE(scene.wait([&] { return one.asleep() && two.asleep(); }));  // only a wake brings it on
    REQUIRE(one.write(n));
    REQUIRE(two.write(100 + n));
    REQUIRE(scene.wait([&] { return arrivals(collector).size() == 2 * n; }));
  }
  for (const auto& [span, times] : arrivals(collector)) CHECK(times == 1);
  CHECK(scene.read.empty());
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read(); }));
  CHECK_FALSE(scene.was_read(other));
  CHECK(one.lane.words().state == RUNMAIN_LANE_FREE);
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 1; }));
  CHECK(scene.text("ledger.ended").find("web.0 generation 3: spans started 5, ended 5, exported 5") == 0);
  CHECK(scene.ledger().imbalance(true) == "");
  CHECK(scene.ledger(other).imbalance(false) == "");
  CHECK(scene.ledger(other).exported == 5);
}

TEST_CASE("a writer that wakes nobody is found all the same") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker worker(RUNMAIN_LANE_BY_CHECKSUM);
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return arrivals(collector).size() == 1; }));
  REQUIRE(worker.lane.span(worker.scope, span_number(2)));
  REQUIRE(scene.wait([&] { return arrivals(collector).size() == 2; }));
}

// Requirement 47: what is resent.
TEST_CASE("an observer that dies after any step loses nothing and repeats only what was on its way") {
  struct Row {
    Step step;
    bool repeats;
  };
  for (const Row& row : {Row{Step::drained, false}, Row{Step::flushed, false}, Row{Step::saved, false},
                         Row{Step::committed, false}, Row{Step::sent, true}, Row{Step::answering, true}}) {
    CAPTURE(static_cast<int>(row.step));
    const Collector collector(kTakesAll);
    ObserverScene scene(base_url(collector));
    Worker worker;
    for (std::uint64_t n = 1; n <= 7; ++n) REQUIRE(worker.write(n));
    bool drained = false;
    bool dead = false;
    scene.limits.dies = [&](Step step) {
      drained = drained || step == Step::drained;
      dead = dead || (drained && step == row.step);
      return dead;
    };
    scene.start();
    scene.mailbox(worker.world, worker.wake);
    REQUIRE(scene.wait([&] { return dead; }));
    scene.limits.dies = nullptr;
    scene.start();
    scene.mailbox(worker.world, worker.wake);
    for (std::uint64_t n = 8; n <= 9; ++n) REQUIRE(worker.write(n));
    end_worker(scene);
    REQUIRE(scene.wait([&] { return scene.was_read() && scene.ledger().exported == 9; }));
    const auto arrived = arrivals(collector);
    CHECK(arrived.size() == 9);
    int again = 0;
    for (const auto& [span, times] : arrived) again += times - 1;
    CHECK(again <= (row.repeats ? 7 : 0));
    CHECK(scene.ledger().resent >= static_cast<std::uint64_t>(again));
    CHECK(scene.ledger().imbalance(true) == "");
    CHECK(scene.ledger().waiting == 0);
    CHECK(scene.ledger().read == 9);
  }
}

TEST_CASE("through hundreds of deaths every span arrives and the ledger balances") {
  const std::uint64_t seed = 4711;
  CAPTURE(seed);
  Random random(seed);
  const Collector collector([&](const Collector::Seen&, std::size_t number) {
    return number % 5 == 0 ? answer_text("503 Service Unavailable", "", "") : answer_text("200 OK", "", "");
  });
  ObserverScene scene(base_url(collector));
  scene.limits.outbox.batch.items = 4;
  scene.limits.outbox.destination.backoff_first = 1ms;
  scene.limits.outbox.destination.backoff_max = 2ms;
  Worker worker;
  bool dead = false;
  int deaths = 0;
  scene.limits.dies = [&](Step) { return dead = dead || random.below(30) == 0; };
  constexpr std::uint64_t kSpans = 1500;
  std::uint64_t written = 0;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(scene.wait(
      [&] {
        if (std::exchange(dead, false)) {
          ++deaths;
          scene.start();
          scene.mailbox(worker.world, worker.wake);
        }
        for (std::uint64_t i = random.below(8); i-- > 0 && written < kSpans;) {
          if (!worker.write(written + 1)) break;
          ++written;
        }
        return written == kSpans && arrivals(collector).size() == kSpans;
      },
      60s));
  scene.limits.dies = nullptr;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read(); }));
  REQUIRE(scene.wait([&] { return scene.observer->status().destinations[0].queued_items == 0; }));
  CHECK(deaths > 50);
  const Ledger ledger = scene.ledger();
  std::uint64_t again = 0;
  for (const auto& [span, times] : arrivals(collector)) again += static_cast<std::uint64_t>(times - 1);
  CHECK(ledger.read == kSpans);
  CHECK(ledger.imbalance(true) == "");
  CHECK(ledger.waiting == 0);  // what was answered and not yet saved was sent again
  CHECK(ledger.exported == kSpans);
  CHECK(again <= static_cast<std::uint64_t>(deaths) * 4 * 4 + ledger.resent);
}

TEST_CASE("what was taken while an older request still waits is not sent again by the next observer") {
  std::atomic<bool> well{false};
  // The first span's request gets no answer.
  const Collector collector([&](const Collector::Seen& seen, std::size_t) {
    const bool stuck = !well && seen.body.find("span 1") != std::string::npos;
    return stuck ? Collector::kSilence : answer_text("200 OK", "", "");
  });
  ObserverScene scene(base_url(collector));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  for (std::uint64_t n = 1; n <= 6; ++n) {
    REQUIRE(worker.write(n + (n > 1 ? 20 : 0)));
    REQUIRE(scene.wait([&] { return arrivals(collector).size() == n; }));
    REQUIRE(scene.wait([&] { return scene.ledger().exported == n - 1; }));
  }
  bool saved = false;
  scene.observer->when_saved([&] { saved = true; });
  REQUIRE(scene.wait([&] { return saved; }));
  well = true;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 6; }));
  for (const auto& [span, times] : arrivals(collector)) CHECK(times == (span == span_number(1) ? 2 : 1));
  CHECK(scene.ledger().resent == 1);
  CHECK(scene.ledger().imbalance(false) == "");
}

TEST_CASE("what its process had open when it was killed is ended with its signal") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker worker;
  worker.lane.open(2, id16(9), id8(90), "GET /slow", worker.scope);
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return arrivals(collector).size() == 1; }));
  scene.observer->on_child_gone(kWeb, {Ending::How::killed, SIGKILL, 9000});
  REQUIRE(scene.wait([&] { return arrivals(collector).size() == 2; }));
  bool found = false;
  for (const auto& [span, times] : arrivals(collector)) {
    const auto json = to_json(kSpan, span);
    REQUIRE(json.ok());
    found = found || (json->find("GET /slow") != std::string::npos &&
                      json->find("its process was killed by SIGKILL") != std::string::npos);
  }
  CHECK(found);
  scene.observer->on_tree_gone(kWeb);
  REQUIRE(scene.wait([&] { return scene.was_read() && scene.ledger().exported == 2; }));
  CHECK(scene.ledger().reconstructed == 1);
  CHECK(scene.ledger().imbalance(true) == "");
}

TEST_CASE(
    "the main process lives until the keeper says otherwise, and others until proc knows them no more") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker worker;
  Lane other(worker.world, 1);
  REQUIRE(other.take(0x3ffffff0U, 9));  // no pid is that high
  other.open(0, id16(8), id8(80), "GET /gone", other.scope("lib"));
  worker.lane.open(0, id16(9), id8(90), "GET /lives", worker.scope);
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(scene.wait([&] { return arrivals(collector).size() == 1; }));
  CHECK(arrivals(collector).begin()->first.find("GET /gone") != std::string::npos);
  CHECK(worker.lane.words().state == RUNMAIN_LANE_TAKEN);
  REQUIRE(scene.wait([&] { return other.words().state == RUNMAIN_LANE_FREE; }));
}

TEST_CASE("who refuses is told once, and what it refuses is counted") {
  const Collector collector([](const Collector::Seen&, std::size_t) {
    return answer_text("400 Bad Request", "Content-Type: text/plain\r\n", "no");
  });
  ObserverScene scene(base_url(collector));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    REQUIRE(worker.write(n));
    REQUIRE(scene.wait([&] { return scene.ledger().rejected == n; }));
  }
  CHECK(scene.count("destination.warns") == 1);
  CHECK(scene.ledger().waiting == 0);
}

TEST_CASE("a destination that fails is told once in words for a person, and so is its recovery") {
  const Collector collector(answers({answer_text("429 Too Many Requests", "Retry-After: 0\r\n", ""),
                                     answer_text("503 Service Unavailable", "", ""), ""}));
  ObserverScene scene(base_url(collector));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return scene.count("destination.recovers") == 1; }));
  CHECK(scene.count("destination.fails") == 1);
  CHECK(scene.text("destination.fails") ==
        base_url(collector) + " fails (traces): HTTP 429, retrying in 1 s; nothing is lost, 1 span waits");
  CHECK(scene.text("destination.recovers").find(base_url(collector) + " answers again (traces) after ") == 0);
  CHECK(scene.ledger().exported == 1);
}

TEST_CASE("numbers and waiting times in what is told are for people") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(failing_text("X fails (traces): connection refused, retrying", Time(2200ms), Time(1s), Signal::traces,
                     1234) ==
        "X fails (traces): connection refused, retrying in 2 s; nothing is lost, 1,234 spans wait");
  CHECK(failing_text("x, retrying", kNever, Time(1s), Signal::logs, 1) ==
        "x, retrying; nothing is lost, 1 log record waits");
  CHECK(
      failing_text("x, retrying", kNever, Time(1s), Signal::traces, 5, 2) ==
      "x, retrying; 5 spans wait, 2 of them in memory only, as the disk takes no more: lost if the observer "
      "ends before they are sent");
  CHECK(failing_text("x, retrying", kNever, Time(1s), Signal::traces, 5, 5)
            .find("5 spans wait, all in memory only") != std::string::npos);
}

TEST_CASE("a collector that never answers delays nobody: it is cut off and asked again") {
  const Collector collector(answers({Collector::kSilence}));
  ObserverScene scene(base_url(collector));
  scene.config.destinations[0].variables.emplace_back("OTEL_EXPORTER_OTLP_TIMEOUT=150");
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return collector.seen().size() == 1; }));
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read(); }));
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 1; }));
  CHECK(scene.ledger().resent == 1);
}

TEST_CASE("spans of a service without destination are counted, and kept for who asks") {
  ObserverScene scene("");
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return scene.dropped(Drop::no_destination) == 1; }));
  CHECK(scene.observer->store().spans() == 1);
  CHECK(scene.ledger().waiting == 0);
  CHECK(scene.ledger().imbalance(false) == "");
}

TEST_CASE("logs and metrics go their own ways") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.lane.record(RUNMAIN_RECORD_LOG, worker.scope, {}));
  std::string metric;
  protozero::pbf_writer{metric}.add_string(1, "requests");
  REQUIRE(worker.lane.record(RUNMAIN_RECORD_METRIC, worker.scope, metric));
  worker.wake_reader();
  REQUIRE(scene.wait([&] { return scene.observer->status().counters.others_exported == 2; }));
  CHECK(items_of(collector.seen(), Signal::logs).size() == 1);
  CHECK(items_of(collector.seen(), Signal::metrics) == std::vector{metric});
}

TEST_CASE("a destination that is not named any more goes on until it is empty, and a new one begins") {
  std::atomic<bool> well{false};
  const Collector old([&](const Collector::Seen&, std::size_t) {
    return well ? answer_text("200 OK", "", "") : answer_text("503 Service Unavailable", "", "");
  });
  const Collector fresh(kTakesAll);
  ObserverScene scene(base_url(old));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return scene.count("destination.fails") == 1; }));
  scene.config.destinations = {{base_url(fresh), {"OTEL_EXPORTER_OTLP_ENDPOINT=" + base_url(fresh)}}};
  scene.observer->on_configuration(scene.config);
  REQUIRE(worker.write(2));
  REQUIRE(scene.wait([&] { return arrivals(fresh).size() == 1; }));
  CHECK(scene.observer->status().destinations.size() == 6);
  well = true;
  REQUIRE(scene.wait([&] { return scene.observer->status().destinations.size() == 3; }));
  CHECK(scene.ledger().exported == 2);
  // The same again: nothing is opened anew.
  scene.observer->on_configuration(scene.config);
  REQUIRE(worker.write(3));
  REQUIRE(scene.wait([&] { return arrivals(fresh).size() == 2; }));
}

TEST_CASE(
    "what waits for a destination that nobody names any more is sent by the next observer, and its folder "
    "goes") {
  std::atomic<bool> well{false};
  const Collector old([&](const Collector::Seen&, std::size_t) {
    return well ? answer_text("200 OK", "", "") : answer_text("503 Service Unavailable", "", "");
  });
  const Collector fresh(kTakesAll);
  ObserverScene scene(base_url(old));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return scene.count("destination.fails") == 1; }));
  scene.config.destinations = {{base_url(fresh), {"OTEL_EXPORTER_OTLP_ENDPOINT=" + base_url(fresh)}}};
  bool same_runmain = true;
  SECTION("of the same runmain") { same_runmain = true; }
  SECTION("of the next one, which knows nothing of cursors") { same_runmain = false; }
  scene.observer.reset();
  if (!same_runmain) scene.cell = make_cell();
  well = true;
  scene.start();
  REQUIRE(scene.wait([&] { return arrivals(old).size() == 1; }));
  REQUIRE(scene.wait([&] { return scene.observer->status().destinations.size() == 3; }));
  std::size_t folders = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scene.config.folder))
    folders += entry.is_directory();
  CHECK(folders == 1);
}

TEST_CASE("a service that is not named any more sends until its last mailbox is read") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  scene.config.services.clear();
  scene.config.destinations.clear();
  scene.observer->on_configuration(scene.config);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 1; }));
  CHECK(scene.observer->status().destinations.size() == 3);
  REQUIRE(worker.write(2));
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read() && scene.ledger().exported == 2; }));
  REQUIRE(scene.wait([&] { return scene.observer->status().destinations.empty(); }));
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 1; }));
  CHECK(scene.text("ledger.ended").find("web.0 generation 3") == 0);
}

TEST_CASE("what is received is saved before its sender hears of it, and comes once") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  const std::string resource = make_resource("web");
  const std::string span = span_number(1);
  const std::vector<Item> items{item_of(span, resource)};
  std::uint64_t request = 0;
  scene.start();
  REQUIRE(scene.wait([&] { return scene.observer->receive(kWeb, {1, ++request}, items); }));
  bool saved = false;
  scene.observer->when_saved([&] { saved = true; });
  CHECK_FALSE(saved);
  REQUIRE(scene.wait([&] { return saved; }));
  REQUIRE(scene.observer->receive(kWeb, {1, ++request}, items));  // its sender has not heard
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 1 && scene.ledger().waiting == 0; }));
  CHECK(scene.ledger().duplicates == 1);
  CHECK(scene.count("spans.duplicated") == 1);
  CHECK(scene.ledger().imbalance(true) == "");
  CHECK(arrivals(collector)[span] == 1);

  scene.observer->receive_invalid(kWeb, 2);
  CHECK(scene.dropped(Drop::invalid) == 2);
  CHECK(scene.ledger().imbalance(true) == "");

  bool dead = false;
  scene.limits.dies = [&](Step step) { return dead = dead || step == Step::flushed; };
  scene.start();
  CHECK_FALSE(scene.observer->receive(kWeb, {1, ++request}, items));  // not before the first save
  REQUIRE(scene.wait([&] { return dead; }));
  CHECK_FALSE(scene.observer->receive(kWeb, {1, ++request}, items));
}

TEST_CASE("more than is to wait for one save is not received") {
  ObserverScene scene("");
  scene.limits.unsaved = 1;
  scene.start();
  const std::string resource = make_resource("web");
  const std::string spans[] = {span_number(1), span_number(2)};
  REQUIRE(scene.wait([&] {
    return scene.observer->receive(kWeb, {1, 1}, std::vector{item_of(spans[0], resource)});
  }));
  CHECK_FALSE(scene.observer->receive(kWeb, {1, 1}, std::vector{item_of(spans[1], resource)}));
  CHECK(scene.observer->status().counters.not_received > 0);
  REQUIRE(scene.wait([&] {
    return scene.observer->receive(kWeb, {1, 1}, std::vector{item_of(spans[1], resource)});
  }));
}

TEST_CASE("at the end what is left is read and sent, and then it is over") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.config.dev = false;
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  for (std::uint64_t n = 1; n <= 5; ++n) REQUIRE(worker.write(n));
  scene.observer->finish(10s);
  REQUIRE(scene.wait([&] { return scene.finished; }));
  CHECK(arrivals(collector).size() == 5);
  CHECK(scene.was_read());
  CHECK(scene.count("ledger.ended") == 1);
}

TEST_CASE("what nobody takes at the end stays on disk, and the next runmain sends it") {
  std::string dead_url;
  {
    const Collector gone(kTakesAll);
    dead_url = base_url(gone);
  }
  ObserverScene scene(dead_url);
  {
    Worker worker;
    scene.start();
    scene.mailbox(worker.world, worker.wake);
    for (std::uint64_t n = 1; n <= 5; ++n) REQUIRE(worker.write(n));
    scene.observer->finish(60s);
    REQUIRE(scene.wait([&] { return scene.finished; }, 20s));
    CHECK(scene.text("destination.fails").find("; nothing is lost, ") != std::string::npos);
    CHECK(scene.observer->status().destinations[0].queued_items == 5);
    CHECK(scene.ledger().waiting == 5);
  }
  scene.cell = make_cell();
  scene.start();
  CHECK(scene.wait([&] { return !scene.observer->status().destinations.empty(); }));
  CHECK(scene.observer->status().destinations[0].queued_items == 5);
}

TEST_CASE("folders and files are of their user only") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.start();
  REQUIRE(scene.wait([&] { return std::filesystem::exists(scene.config.folder); }));
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(scene.config.folder)) {
    ++files;
    CHECK((entry.status().permissions() & std::filesystem::perms(077)) == std::filesystem::perms::none);
  }
  CHECK(files >= 7);  // a folder, three in it, a file in each
}

TEST_CASE("a folder that cannot be used costs its spans, and nothing else") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.config.folder = "/proc/runmain-no-such-folder";
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return scene.dropped(Drop::spill_full) == 1; }));
  CHECK(scene.count("destination.fails") == 1);
  CHECK(
      scene.text("destination.fails").find(base_url(collector) + " fails (traces, metrics, logs): mkdir ") ==
      0);
  CHECK(scene.observer->status().destinations[0].failing);
  CHECK_FALSE(scene.observer->status().destinations[0].fault.empty());
}

TEST_CASE("a mailbox that could be cut off under our eyes is refused, told, and given back at the end") {
  ObserverScene scene("");
  scene.start();
  auto bad = os::make_memfd("bad-mailbox", 4096);
  REQUIRE(bad.ok());
  scene.observer->on_mailbox({kWeb, "web", "instance-1", 100}, std::move(*bad), make_wake());
  CHECK(scene.count("mailbox.refused") == 1);
  CHECK(scene.observer->status().counters.mailboxes_refused == 1);
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read(); }));
}

TEST_CASE("a lane that lies is put aside, and the others go on") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  Worker worker;
  Lane liar(worker.world, 1);
  REQUIRE(liar.take());
  store(liar.words().write, std::uint64_t{7});
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(worker.write(1));
  REQUIRE(scene.wait([&] { return arrivals(collector).size() == 1; }));
  CHECK(scene.count("lane.aside") == 1);
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read(); }));
}

TEST_CASE("who goes on writing to a mailbox whose tree is gone is heard for a while only") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.close_after = 50ms;
  Worker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  end_worker(scene);
  std::uint64_t number = 0;
  REQUIRE(scene.wait([&] {
    // It takes the lane again and again.
    if (load(worker.lane.words().state) == RUNMAIN_LANE_FREE) (void)worker.lane.take();
    if (worker.lane.span(0, span_number(number + 1))) ++number;
    return scene.was_read();
  }));
}

TEST_CASE("what stood in a mailbox and was not read in time is counted as dropped") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.slice = RUNMAIN_RECORD_MAX;
  scene.limits.round = 1;
  scene.limits.close_after = -1ms;
  FullWorker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read() && scene.ledger().waiting == 0; }));
  const Ledger ledger = scene.ledger();
  CHECK(scene.observer->status().counters.mailboxes_cut == 1);
  CHECK(ledger.exported > 0);
  CHECK(ledger.exported == ledger.read);
  CHECK(scene.dropped(Drop::ring_full) == 1);
  CHECK(scene.dropped(Drop::not_read) == worker.spans - ledger.read);
  CHECK(ledger.imbalance(true) == "");
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 1; }));
  CHECK(scene.text("ledger.ended").find("not read in time") != std::string::npos);
}

TEST_CASE("what the time of an end did not do for is counted as not read") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.slice = RUNMAIN_RECORD_MAX;
  scene.limits.round = 1;
  scene.limits.dies = [&](Step step) {  // as soon as it has read a slice
    if (step == Step::saved && scene.ledger().read > 0) scene.observer->finish(0s);
    return false;
  };
  FullWorker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  REQUIRE(scene.wait([&] { return scene.finished; }));
  const Ledger ledger = scene.ledger();
  CHECK(scene.observer->status().counters.mailboxes_cut == 1);
  CHECK(ledger.read < worker.spans);
  CHECK(scene.dropped(Drop::not_read) == worker.spans - ledger.read);
  CHECK(ledger.imbalance(true) == "");
  CHECK(scene.text("ledger.ended").find("not read in time") != std::string::npos);
}

TEST_CASE("what was dropped as not read is not if the next observer reads it all the same") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.slice = RUNMAIN_RECORD_MAX;
  scene.limits.round = 1;
  scene.limits.close_after = -1ms;
  bool dead = false;
  scene.limits.dies = [&](Step step) {  // before its keeper hears of it
    dead = dead || (step == Step::saved && scene.dropped(Drop::not_read) > 0);
    return dead;
  };
  FullWorker worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  end_worker(scene);
  REQUIRE(scene.wait([&] { return dead; }));
  CHECK_FALSE(scene.was_read());
  scene.limits.dies = nullptr;
  scene.limits.close_after = 30s;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  end_worker(scene);
  REQUIRE(scene.wait([&] { return scene.was_read() && scene.ledger().exported == worker.spans; }));
  CHECK(scene.dropped(Drop::not_read) == 0);
  CHECK(scene.ledger().imbalance(true) == "");
}

TEST_CASE("of many mailboxes that wait for their turn few hold memory") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.slice = RUNMAIN_RECORD_MAX;
  scene.limits.round = 2UL * RUNMAIN_RECORD_MAX;
  std::vector<FullWorker> workers(32);
  scene.start();
  const auto key = [](std::size_t slot) {
    return ChildKey{ServiceId{1}, static_cast<std::uint32_t>(slot), 3, 1};
  };
  for (std::size_t i = 0; i < workers.size(); ++i) {
    scene.mailbox(workers[i].world, workers[i].wake, key(i));
    end_worker(scene, key(i));
  }
  std::size_t most = 0;
  REQUIRE(scene.wait([&] {
    most = std::max(most, scene.observer->mailbox_memory());
    return scene.read.size() == workers.size();
  }));
  // Of each: a copy, and 120 B for each span of it.
  CHECK(most < 16 * 3 * RUNMAIN_RECORD_MAX);
  for (std::size_t i = 0; i < workers.size(); ++i) CHECK(scene.ledger(key(i)).read == workers[i].spans);
}

TEST_CASE("ledgers of workers that are gone are kept up to a limit") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.ledgers = 3;
  scene.limits.tell_after = 0ms;
  scene.start();
  for (std::uint32_t attempt = 1; attempt <= 6; ++attempt) {
    const ChildKey key{ServiceId{1}, 0, 3, attempt};
    Worker worker;
    REQUIRE(worker.write(attempt));
    scene.mailbox(worker.world, worker.wake, key);
    end_worker(scene, key);
    REQUIRE(scene.wait([&] { return scene.was_read(key); }));
  }
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 6; }));
  CHECK(scene.observer->status().counters.ledgers_forgotten >= 2);
  CHECK(scene.observer->status().counters.spans == 6);
  // Those of the forgotten ones are in the sum.
  const auto exported = [&] {
    std::uint64_t all = 0;
    for (const LedgerLine& line : scene.observer->status().ledgers) all += line.ledger.exported;
    return all;
  };
  REQUIRE(scene.wait([&] { return exported() == 6; }));
  bool saved = false;
  scene.observer->when_saved([&] { saved = true; });
  REQUIRE(scene.wait([&] { return saved; }));
  for (int starts = 0; starts < 2; ++starts) {
    std::size_t folded = 0;
    std::size_t others = 0;
    for (const LedgerLine& line : scene.observer->status().ledgers) {
      ++(line.folded ? folded : others);
      if (!line.folded) continue;
      CHECK(line.worker.generation == 3);
      CHECK(line.ended);
      CHECK(line.imbalance == "");
    }
    CHECK(folded == 1);
    CHECK(others <= 4);
    CHECK(exported() == 6);
    scene.start();
  }
}

TEST_CASE("the state's bytes are those of its plain form") {
  ObserverState state;
  state.outboxes = {{"00ff", 1, 77, {75}}};
  state.ledgers.emplace_back(kWeb, Ledger{});
  state.ledgers[0].second.started = 5;
  state.ended = {kWeb};
  state.receiving = {kWeb};
  state.counters.spans = 9;
  MailboxCursor cursor;
  cursor.geometry = small_geometry();
  cursor.lanes.resize(2);
  state.mailboxes.emplace_back(kWeb, cursor);
  const std::string bytes = to_named(cursor);
  CHECK(encode(state, {{kWeb, bytes}}) == to_named(state));
  ObserverState back;
  REQUIRE(decode(to_named(state), back));
  CHECK(back.outboxes[0].last_number == 77);
  CHECK(back.mailboxes[0].second.lanes.size() == 2);
  state.version = state_version() + 2;
  CHECK_FALSE(decode(to_named(state), back));
  CHECK_FALSE(decode("", back));
}

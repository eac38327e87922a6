// Workers without a mailbox, whose telemetry comes by OTLP alone: their ledgers and their ends.
#include "observer_scene.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

const std::string kWebResource = make_resource("web");

// Takes a span of this number, as soon as the observer does.
void receive(ObserverScene& scene, std::uint64_t number, const ChildKey& key = kWeb) {
  const std::string span = span_number(number);
  REQUIRE(scene.wait([&] {
    return scene.observer->receive(key, {1, number}, std::vector{item_of(span, kWebResource)});
  }));
}

bool is_over(const ObserverScene& scene, const ChildKey& key = kWeb) {
  for (const LedgerLine& line : scene.observer->status().ledgers) {
    if (line.worker == key) return line.ended;
  }
  return false;
}

}  // namespace

TEST_CASE("a worker that sent by OTLP alone gets its line at its end") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.start();
  receive(scene, 1);
  receive(scene, 2);
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 2; }));
  CHECK_FALSE(is_over(scene));
  CHECK(scene.count("ledger.ended") == 0);
  scene.observer->on_tree_gone(kWeb);
  CHECK(is_over(scene));
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 1; }));
  CHECK(scene.text("ledger.ended") == "web.0 generation 3: spans started 2, ended 2, exported 2");
  scene.observer->on_tree_gone(kWeb);  // as a keeper tells a new observer
  scene.observer->finish(1s);
  REQUIRE(scene.wait([&] { return scene.finished; }));
  CHECK(scene.count("ledger.ended") == 1);
}

TEST_CASE("an observer that died meanwhile knows who lives, and tells each end once") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.tell_after = 10ms;
  const ChildKey other{kWeb.service, 1, 3, 1};
  scene.start();
  receive(scene, 1);
  receive(scene, 2, other);
  REQUIRE(scene.wait([&] { return scene.ledger().exported + scene.ledger(other).exported == 2; }));
  scene.observer->on_tree_gone(other);
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 1; }));
  bool saved = false;
  scene.observer->when_saved([&] { saved = true; });
  REQUIRE(scene.wait([&] { return saved; }));
  scene.start();
  scene.observer->on_tree_gone(other);
  CHECK_FALSE(is_over(scene));
  CHECK(is_over(scene, other));
  CHECK_FALSE(scene.wait([&] { return scene.count("ledger.ended") > 1; }, 100ms));
  scene.observer->finish(1s);
  REQUIRE(scene.wait([&] { return scene.finished; }));
  CHECK(scene.count("ledger.ended") == 2);
}

TEST_CASE("a new configuration refuses nobody: what is received goes where it went, or to the new place") {
  const Collector former(kTakesAll);
  const Collector next(kTakesAll);
  ObserverScene scene(base_url(former));
  scene.start();
  receive(scene, 1);
  REQUIRE(scene.wait([&] { return arrivals(former).size() == 1; }));
  for (std::uint64_t n = 2; n < 12; ++n) {
    const Collector& collector = n % 2 == 0 ? next : former;
    scene.config.destinations = {
        {base_url(collector), {"OTEL_EXPORTER_OTLP_ENDPOINT=" + base_url(collector)}}};
    scene.observer->on_configuration(scene.config);
    const std::string span = span_number(n);
    const std::vector<Item> items{item_of(span, kWebResource)};
    CHECK(scene.observer->receive(kWeb, {1, n}, items));
  }
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 11; }));
  CHECK(arrivals(next).size() == 5);
  CHECK(arrivals(former).size() == 6);
  CHECK(scene.observer->status().counters.not_received == 0);
}

TEST_CASE("who is hurried at the end waits for no answer, and what was not sent is on disk") {
  const Collector collector(answers({Collector::kSilence, Collector::kSilence}));
  ObserverScene scene(base_url(collector));
  scene.start();
  receive(scene, 1);
  REQUIRE(scene.wait([&] { return collector.seen().size() == 1; }));
  const Time begun = os::Loop::now();
  scene.observer->finish(60s);
  scene.observer->hurry();
  REQUIRE(scene.wait([&] { return scene.finished; }));
  CHECK(os::Loop::now() - begun < 400ms);  // sooner than a silent collector is given up
  CHECK(scene.ledger().waiting == 1);
  CHECK(scene.observer->status().destinations[0].queued_items == 1);
}

TEST_CASE("who is hurried before the end reads all the same") {
  const Collector collector(answers({Collector::kSilence}));
  ObserverScene scene(base_url(collector));
  scene.start();
  receive(scene, 1);
  scene.observer->hurry();
  scene.observer->finish(0s);
  REQUIRE(scene.wait([&] { return scene.finished; }));
  CHECK(scene.ledger().waiting == 1);
  CHECK(scene.observer->status().destinations[0].queued_items == 1);
}

TEST_CASE("what comes of a tree that is gone already is told, too") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.start();
  scene.observer->on_tree_gone(kWeb);
  receive(scene, 1);
  CHECK(is_over(scene));
  REQUIRE(scene.wait([&] { return scene.count("ledger.ended") == 1; }));
}

TEST_CASE("what was saved and not yet answered is forwarded once, whoever dies in between") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  bool armed = false;
  bool dead = false;
  scene.limits.dies = [&](Step step) { return dead = dead || (armed && step == Step::saved); };
  scene.start();
  receive(scene, 1);
  armed = true;
  REQUIRE(scene.wait([&] { return dead; }));
  scene.limits.dies = nullptr;
  scene.start();
  receive(scene, 1);  // its sender has not heard
  receive(scene, 2);
  REQUIRE(scene.wait([&] { return scene.ledger().exported >= 2 && scene.ledger().waiting == 0; }));
  CHECK(scene.ledger().duplicates == 1);
  CHECK(scene.ledger().imbalance(false) == "");
  CHECK(scene.count("spans.duplicated") == 0);  // it does not send twice by itself
  CHECK(arrivals(collector) == std::map<std::string, int>{{span_number(1), 1}, {span_number(2), 1}});
}

TEST_CASE("where items come from counts as what is not saved yet, too: beyond that they come again later") {
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  scene.limits.unsaved = 100'000;
  scene.start();
  receive(scene, 1);
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 1; }));
  const auto take = [&](std::uint64_t number) {
    const std::string resource = make_resource(std::string(60'000, static_cast<char>('a' + number)));
    const std::string span = span_number(number);
    return scene.observer->receive(kWeb, {1, number}, std::vector{item_of(span, resource)});
  };
  CHECK(take(2));
  CHECK(take(3));
  CHECK_FALSE(take(4));
  REQUIRE(scene.wait([&] { return take(4); }));
  REQUIRE(scene.wait([&] { return scene.ledger().exported == 4; }));
  CHECK(scene.ledger().dropped_all() == 0);
}

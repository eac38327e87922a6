// Who has a destination's folder, and who takes up what was left.
#include "telemetry/destination_folder.hpp"

#include <filesystem>
#include <fstream>

#include "observer_scene.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

const ObserverDestination kDestination{"collector", {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"}};

HeldFolder hold(const std::string& parent) {
  auto held = hold_folder(parent, kDestination);
  REQUIRE(held.ok());
  return std::move(*held);
}

bool write_file(const std::string& path, const std::string& text) {
  return static_cast<bool>(std::ofstream(path) << text);
}

// As a worker of each of these has it.
struct OneLane {
  World world;
  os::UniqueFd wake = make_wake();
  Lane lane;
  std::uint32_t scope = 0;
  OneLane() : lane(world, 0) {
    REQUIRE(lane.take());
    scope = lane.scope("lib");
  }
  void write(std::uint64_t number) { REQUIRE(lane.span(scope, span_number(number))); }
};

std::size_t folders_in(const std::string& path) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) count += entry.is_directory();
  return count;
}

}  // namespace

TEST_CASE("a folder is one runmain's at a time, and the next one gets another") {
  const TestFolder parent;
  const std::string base = folder_name(kDestination);
  std::vector<HeldFolder> held;
  for (int i = 1; i <= kFoldersMax; ++i) {
    held.push_back(hold(parent.path));
    CHECK(held.back().name == (i == 1 ? base : base + "." + std::to_string(i)));
    CHECK(is_folder_of(held.back().name, base));
    CHECK_FALSE(hold_left(parent.path, held.back().name, {}).has_value());
  }
  const auto more = hold_folder(parent.path, kDestination);
  REQUIRE_FALSE(more.ok());
  CHECK(more.error().text().find("other runmains have all its folders") == 0);
  held[2].lock.reset();
  CHECK(hold(parent.path).name == base + ".3");
  CHECK_FALSE(is_folder_of(base + ".x", base));
  CHECK_FALSE(is_folder_of(base + ".", base));
  CHECK_FALSE(is_folder_of(base + "2", base));
  CHECK_FALSE(is_folder_of("", base));
}

TEST_CASE("what is left is taken up by its own words, or by what is named where the disk was full") {
  const TestFolder parent;
  const std::string name = hold(parent.path).name;
  auto left = hold_left(parent.path, name, {});
  REQUIRE(left.has_value());
  CHECK(left->destination == kDestination);
  left.reset();
  REQUIRE(write_file(parent.path + "/" + name + "/destination", ""));
  CHECK_FALSE(hold_left(parent.path, name, {}).has_value());
  CHECK(hold_left(parent.path, name, {kDestination}).has_value());
  CHECK_FALSE(hold_left(parent.path, "none", {kDestination}).has_value());
}

TEST_CASE("a folder goes with all that is in it, and is made again") {
  const TestFolder parent;
  HeldFolder held = hold(parent.path);
  std::filesystem::create_directory(held.path + "/traces");
  REQUIRE(write_file(held.path + "/traces/read", "x"));
  remove_folder(held);
  CHECK_FALSE(std::filesystem::exists(held.path));
  CHECK(std::filesystem::exists(hold(parent.path).path));
}

TEST_CASE("runmains that share a state folder send each their own, and the next one sends what they left") {
  std::atomic<bool> well{false};
  const Collector collector([&](const Collector::Seen&, std::size_t) {
    return well ? answer_text("200 OK", "", "") : answer_text("503 Service Unavailable", "", "");
  });
  const TestFolder shared;
  ObserverScene scenes[] = {ObserverScene(base_url(collector)), ObserverScene(base_url(collector))};
  OneLane workers[2];
  for (std::size_t i = 0; i < 2; ++i) {
    scenes[i].config.folder = shared.path;
    scenes[i].config.secret[0] = static_cast<char>('a' + i);
    scenes[i].start();
    scenes[i].mailbox(workers[i].world, workers[i].wake);
    workers[i].write(i + 1);
  }
  for (ObserverScene& scene : scenes) {
    REQUIRE(scene.wait([&] { return scene.count("destination.fails") == 1; }));
    CHECK(scene.observer->status().destinations[0].queued_items == 1);
  }
  CHECK(folders_in(shared.path) == 2);
  SECTION("while both live") {
    well = true;
    for (ObserverScene& scene : scenes) {
      REQUIRE(scene.wait([&] { return scene.ledger().exported == 1; }));
      CHECK(scene.ledger().imbalance(false) == "");
      CHECK(scene.observer->status().counters.strangers == 0);
    }
  }
  SECTION("after both") {
    for (ObserverScene& scene : scenes) scene.observer.reset();
    well = true;
    ObserverScene next(base_url(collector));
    next.config.folder = shared.path;
    next.start();
    REQUIRE(next.wait([&] { return next.observer->status().counters.strangers == 2; }));
    REQUIRE(next.wait([&] { return next.observer->status().destinations.size() == 3; }));
    CHECK(folders_in(shared.path) == 1);
  }
  CHECK(arrivals(collector).size() == 2);
}

TEST_CASE("what the disk does not take is told, and what of it is not sent is counted at the end") {
  std::string dead_url;
  {
    const Collector gone(kTakesAll);
    dead_url = base_url(gone);
  }
  ObserverScene scene(dead_url);
  OneLane worker;
  scene.start();
  scene.mailbox(worker.world, worker.wake);
  // Nothing can be made there, as on a disk that is full.
  const std::string traces =
      scene.config.folder + "/" + folder_name(scene.config.destinations[0]) + "/traces";
  REQUIRE(std::filesystem::remove_all(traces) > 0);
  for (std::uint64_t n = 1; n <= 5; ++n) worker.write(n);
  REQUIRE(scene.wait([&] { return scene.count("destination.fails") == 1; }));
  CHECK(scene.text("destination.warns").find("in memory only, and lost if the observer ends") !=
        std::string::npos);
  CHECK(scene.text("destination.fails").find("5 spans wait, all in memory only") != std::string::npos);
  CHECK(scene.observer->status().destinations[0].memory_items == 5);
  SECTION("of the observer") {
    scene.observer->finish(std::chrono::seconds(60));
    REQUIRE(scene.wait([&] { return scene.finished; }));
  }
  SECTION("which it does not live to see: by the next one") {
    bool saved = false;
    scene.observer->when_saved([&] { saved = true; });
    REQUIRE(scene.wait([&] { return saved; }));
    scene.start();
  }
  CHECK(scene.dropped(Drop::spill_full) == 5);
  CHECK(scene.ledger().waiting == 0);
  CHECK(scene.ledger().imbalance(false) == "");
  CHECK(scene.observer->status().destinations[0].memory_items == 0);
  const std::string lost =
      dead_url + ": 5 spans are lost: they waited in memory only, as the disk took no more";
  CHECK(std::any_of(scene.facts.begin(), scene.facts.end(),
                    [&](const ObserverFact& fact) { return fact.text == lost; }));
}

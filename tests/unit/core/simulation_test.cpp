// Random lives under faults. Each test prints its seed; RUNMAIN_SEED runs another one.
#include <cstdlib>
#include <iostream>
#include <random>

#include "support/catch.hpp"
#include "support/simulation.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

std::uint64_t seed() {
  const char* text = std::getenv("RUNMAIN_SEED");
  static const std::uint64_t kSeed =
      text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  return kSeed;
}

void live(const SimulationOptions& options, std::uint64_t events, const char* what) {
  Simulation simulation(seed(), options);
  while (simulation.events() < events && simulation.step()) {
  }
  std::cout << what << ": seed " << seed() << ", " << simulation.events() << " events, "
            << simulation.effects() << " effects, " << simulation.spawns() << " spawns, "
            << simulation.head_deaths() << " head deaths, " << simulation.rests() << " rests, "
            << simulation.lives() << " lives" << std::endl;
  INFO("seed " << seed() << ", event " << simulation.events() << ": " << simulation.wrong());
  REQUIRE(simulation.wrong().empty());
  REQUIRE(simulation.spawns() > events / 100);
}

}  // namespace

TEST_CASE("random lives with every fault keep the invariants and come to rest") {
  SimulationOptions options;
  options.rest_every = 2000;
  live(options, 400000, "12 services");
}

TEST_CASE("random lives of few services keep the invariants and come to rest") {
  SimulationOptions options;
  options.services = 2;
  options.rest_every = 200;
  options.watch_rolls = true;
  live(options, 200000, "2 services");
}

TEST_CASE("a head that dies between any two steps is followed by one that goes on from there") {
  SimulationOptions options;
  options.services = 3;
  options.rest_every = 500;
  options.head_death_in = 50;
  options.checkpoint_every = 40;
  live(options, 60000, "dying heads");
}

TEST_CASE("the same seed makes the same life") {
  SimulationOptions options;
  Simulation one(seed(), options);
  Simulation two(seed(), options);
  for (int n = 0; n < 20000; ++n) {
    REQUIRE(one.step());
    REQUIRE(two.step());
  }
  INFO("seed " << seed());
  REQUIRE(one.effects() == two.effects());
  REQUIRE(one.machine().digest() == two.machine().digest());
}

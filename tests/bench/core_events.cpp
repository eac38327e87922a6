// Events a second of the core's random simulation, FakeWorld included, on one core.
// Usage: core_events [EVENTS [SEED]]
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "support/simulation.hpp"

int main(int argc, char** argv) {
  using namespace runmain::core;
  const std::uint64_t events = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 3'000'000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  Simulation simulation(seed, SimulationOptions{});
  const auto begin = std::chrono::steady_clock::now();
  while (simulation.events() < events && simulation.step()) {
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (!simulation.wrong().empty()) {
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed),
                 simulation.wrong().c_str());
    return 1;
  }
  std::printf("core: %.2f million events/s (%llu events, %llu effects, %llu spawns, seed %llu)\n",
              static_cast<double>(simulation.events()) / took.count() / 1e6,
              static_cast<unsigned long long>(simulation.events()),
              static_cast<unsigned long long>(simulation.effects()),
              static_cast<unsigned long long>(simulation.spawns()), static_cast<unsigned long long>(seed));
  return 0;
}

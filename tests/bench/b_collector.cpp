// Save to serving, with the collector up, refused, silent and saying 429, beside no telemetry at all: five
// supervisors in turns, each save after a rest in which what the one before has left to do is done, and in
// which a settle window of its own service ends.
//   b_collector [ROUNDS [SPANS_A_SECOND]]
#include <cstdlib>
#include <thread>
#include <vector>

#include "spans_world.hpp"

using namespace runmain::bench;
using runmain::test::SpanSink;

namespace {
constexpr std::chrono::milliseconds kRest(20);
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 60;
  const int rate = argc > 2 ? std::atoi(argv[2]) : 500;  // of each of two threads
  SpanSink sinks[4];
  const std::pair<const char*, SpanSink::Mode> modes[] = {{"up", SpanSink::Mode::ok},
                                                          {"refused", SpanSink::Mode::refused},
                                                          {"silent", SpanSink::Mode::silent},
                                                          {"429", SpanSink::Mode::too_many}};
  std::vector<std::pair<std::string, std::unique_ptr<SpansWorld>>> worlds;
  worlds.emplace_back("no telemetry", std::make_unique<SpansWorld>("", 1, 2, rate));
  for (std::size_t i = 0; i < 4; ++i) {
    sinks[i].set_mode(modes[i].second);
    worlds.emplace_back(modes[i].first, std::make_unique<SpansWorld>(sinks[i].endpoint(), 1, 2, rate));
  }
  for (auto& [name, world] : worlds) {
    if (!world->begin()) return 1;
  }
  std::vector<std::vector<double>> times(worlds.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < worlds.size(); ++i) {
      std::this_thread::sleep_for(kRest);
      const double ms = worlds[(i + static_cast<std::size_t>(round)) % worlds.size()].second->reload_ms();
      if (ms < 0) return 1;
      times[(i + static_cast<std::size_t>(round)) % worlds.size()].push_back(ms);
    }
  }
  const double floor = percentile(times[0], 50);
  for (std::size_t i = 0; i < worlds.size(); ++i) {
    row("save to serving, collector: " + worlds[i].first,
        number(percentile(times[i], 50), " ms") + " (p99 " + number(percentile(times[i], 99), " ms") +
            "), ratio " + number(percentile(times[i], 50) / floor),
        i == 0 ? "" : "ratio at most 1.1");
  }
  return 0;
}

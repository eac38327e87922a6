// A hundred thousand spans a second from 4 workers for some minutes: nothing dropped, the observer's memory
// flat, a reload as fast as without telemetry.
//   b_soak [SECONDS] [SPANS_A_SECOND]
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "spans_world.hpp"

using namespace runmain::bench;
using namespace std::chrono_literals;
using runmain::test::Json;
using runmain::test::SpanSink;

namespace {

double cpu_seconds(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(in, text);
  std::size_t at = text.rfind(')');
  if (at == std::string::npos) return 0;
  char state = 0;
  long long skip = 0;
  unsigned long user = 0;
  unsigned long system = 0;
  if (std::sscanf(text.c_str() + at + 2, "%c %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lu %lu",
                  &state, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &user,
                  &system) != 13)
    return 0;
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::vector<double> reloads(SpansWorld& world, int count, std::chrono::milliseconds pause) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_for(pause);
    times.push_back(world.reload_ms());
  }
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 300;
  const int rate = argc > 2 ? std::atoi(argv[2]) : 100'000;
  std::vector<double> without;
  {
    SpansWorld world("", 4, 1, rate / 4);
    if (!world.begin()) return 1;
    without = reloads(world, 10, 1s);
    world.up().stop();
  }
  SpanSink sink;
  SpansWorld world(sink.endpoint(), 4, 1, rate / 4);
  if (!world.begin()) return 1;
  const auto begin = Clock::now();
  std::vector<double> with;
  std::vector<double> memory;
  std::vector<double> own;
  const pid_t observer = runmain::test::observer_of(world.up().keeper_pid());
  while (ms_since(begin) < seconds * 1000.0) {
    for (const double ms : reloads(world, 1, std::chrono::milliseconds(seconds * 1000 / 30)))
      with.push_back(ms);
    memory.push_back(private_mib(observer));
    own.push_back(anonymous_mib(observer));
  }
  const double took = ms_since(begin) / 1000;
  const double cpu = cpu_seconds(observer) / took;
  const bool same = runmain::test::observer_of(world.up().keeper_pid()) == observer;
  world.up().stop();
  std::uint64_t came = 0;
  std::uint64_t again = 0;
  std::uint64_t missing = 0;
  for (const auto& [key, stream] : sink.streams()) {
    came += stream.spans;
    again += stream.again;
    missing += stream.highest - stream.spans;
  }
  const std::uint64_t ended = world.ended();
  const double count = static_cast<double>(ended);
  row("spans a second from 4 workers, for " + number(took, " s", 0), number(count / took, "", 0),
      number(rate, "", 0));
  row("ended, received, missing, twice",
      std::to_string(ended) + ", " + std::to_string(came) + ", " +
          std::to_string(missing + (ended > came ? ended - came : 0)) + ", " + std::to_string(again),
      "0 missing, 0 twice");
  const auto moments = [](const std::vector<double>& mib) {
    return number(mib[mib.size() / 10], " MiB") + ", " + number(mib[mib.size() / 2], " MiB") + ", " +
           number(mib.back(), " MiB");
  };
  row("the observer's own memory after a tenth, half, all of it",
      moments(own) + (same ? "" : ", another process"), "flat");
  row("the same with mailboxes that only it has mapped: each of a worker that has just died is 4 MiB",
      moments(memory), "");
  row("the observer's CPU", number(100 * cpu, " %", 0), "");
  row("save to serving, median (p99), beside telemetry off",
      number(percentile(with, 50), " ms") + " (" + number(percentile(with, 99), " ms") + "), " +
          number(percentile(without, 50), " ms") + " (" + number(percentile(without, 99), " ms") +
          "), ratio " + number(percentile(with, 50) / percentile(without, 50)),
      "ratio at most 1.1");
  return 0;
}

// A worker that writes spans until somebody ends it:
//   t_spans COUNTERS THREADS PER_SECOND[/PAUSE_MS] [exit|abort|segv MS]
//
// Each thread's spans carry its number ("t") and a count from 1 ("n"). COUNTERS is a file that all workers
// map: after each end() the thread's count is put there, so what a killed one had finished is known
// (span_counters.hpp). PER_SECOND 0: as fast as it goes; with a pause it sleeps for so long at a time, for
// many threads that are not to spend the machine on waking up. With a way to die: so, MS after it is ready.
// It drains when asked to.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "child_runtime/child_runtime.hpp"
#include "child_runtime/trace.hpp"
#include "support/span_counters.hpp"

namespace {

std::atomic<bool> g_stop{false};

void write_spans(spans::Row& row, unsigned thread, long per_second, std::chrono::milliseconds pause) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  for (std::uint64_t n = 1; !g_stop.load(std::memory_order_relaxed); ++n) {
    {
      auto span = runmain::start_as_current_span("work");
      span.set_attribute("t", static_cast<std::int64_t>(thread));
      span.set_attribute("n", static_cast<std::int64_t>(n));
      span.set_attribute("http.request.method", "GET");
      span.set_attribute("url.path", "/users/1234");
    }
    row.ended[thread].store(n, std::memory_order_release);
    if (per_second <= 0) continue;
    const auto due =
        begin + std::chrono::nanoseconds(n * 1'000'000'000ULL / static_cast<std::uint64_t>(per_second));
    if (due > Clock::now() + std::chrono::microseconds(500)) std::this_thread::sleep_until(due + pause);
  }
}

[[noreturn]] void die(const std::string& how) {
  if (how == "abort") std::abort();
  if (how == "segv") std::raise(SIGSEGV);
  _exit(3);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: t_spans COUNTERS THREADS PER_SECOND[/PAUSE_MS] [exit|abort|segv MS]\n");
    return 2;
  }
  const auto threads = static_cast<unsigned>(std::min(std::atoi(argv[2]), static_cast<int>(spans::kThreads)));
  char* rest = nullptr;
  const long per_second = std::strtol(argv[3], &rest, 10);
  const std::chrono::milliseconds pause(*rest == '/' ? std::atoi(rest + 1) : 0);
  if (const auto served = runmain::serve(); !runmain::serving()) {
    std::fprintf(stderr, "t_spans: not serving: %s\n", runmain::reason().c_str());
    return 1;
  }
  spans::Row* row = spans::take_row(argv[1], getenv("RUNMAIN_INSTANCE_ID"));
  if (row == nullptr) {
    std::fprintf(stderr, "t_spans: %s: no row\n", argv[1]);
    return 1;
  }
  runmain::on_drain([](std::chrono::milliseconds) { g_stop = true; });
  std::signal(SIGTERM, [](int) { g_stop = true; });
  runmain::start_listener_thread();
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) all.emplace_back([=] { write_spans(*row, t, per_second, pause); });
  runmain::ready();
  if (argc > 5) {
    usleep(static_cast<useconds_t>(std::atoi(argv[5])) * 1000);
    die(argv[4]);
  }
  for (std::thread& one : all) one.join();
  runmain::drained();
  return 0;
}

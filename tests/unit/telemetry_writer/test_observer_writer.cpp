// The observer and the writer that served programs have.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>
#include <protozero/pbf_reader.hpp>
#include <set>
#include <thread>

#include "child_runtime/trace.h"
#include "unit/telemetry/observer_scene.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kThreads = 4;
constexpr std::uint64_t kSpans = 2000;  // of a thread, before it opens its last one

struct Board {
  std::atomic<std::uint32_t> ready;
};

Board& make_board() {
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  return *new (memory) Board{};
}

void write_spans(Board& board, std::uint32_t thread) {
  const runmain_tracer* tracer = runmain_get_tracer({"lib", 3}, {}, {}, nullptr, 0);
  for (std::uint64_t n = 0; n < kSpans; ++n) {
    const std::string name = std::to_string(thread) + " " + std::to_string(n);
    runmain_span_finish(runmain_span_start_current(tracer, name.data(), name.size(), nullptr));
  }
  const std::string name = std::to_string(thread) + " open";
  (void)runmain_span_start_current(tracer, name.data(), name.size(), nullptr);
  board.ready += 1;
  for (;;) pause();
}

std::string name_of(const std::string& span) {
  protozero::pbf_reader in(span);
  return in.next(kSpanName) ? in.get_string() : std::string();
}

}  // namespace

TEST_CASE(
    "threads that are killed: what they had ended arrives once, and what they had open is ended for them") {
  Board& board = make_board();
  Geometry geometry = standard_geometry("instance-1");
  geometry.lane_count = kThreads + 4;
  geometry.lanes_shared = 2;
  geometry.ring_size = 1U << 20U;
  geometry.lane_stride = geometry.ring_offset() + geometry.ring_size;
  const World world(geometry);
  const os::UniqueFd wake = make_wake();
  const pid_t child = fork();  // before the collector has its thread
  if (child == 0) {
    if (runmain_mailbox_attach(world.fd.get(), wake.get()) != 0) _exit(1);
    std::vector<std::thread> threads;
    for (std::uint32_t t = 1; t < kThreads; ++t) threads.emplace_back([&board, t] { write_spans(board, t); });
    write_spans(board, 0);
  }
  const Collector collector(kTakesAll);
  ObserverScene scene(base_url(collector));
  int steps = 0;
  bool dead = false;
  scene.limits.dies = [&](Step) { return dead = ++steps % 40 == 0; };
  const auto begin = [&] {
    dead = false;
    scene.start();
    scene.mailbox(world, wake, kWeb, child);
  };
  begin();
  REQUIRE(scene.wait([&] {
    if (dead) begin();
    return board.ready == kThreads;
  }));
  scene.limits.dies = nullptr;
  begin();
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  scene.observer->on_child_gone(kWeb, {Ending::How::killed, WTERMSIG(status), 5});
  scene.observer->on_tree_gone(kWeb);
  REQUIRE(scene.wait([&] { return scene.was_read(); }));
  REQUIRE(scene.wait([&] { return scene.observer->status().destinations[0].queued_items == 0; }));

  const Ledger ledger = scene.ledger();
  CHECK(ledger.imbalance(true) == "");
  CHECK(ledger.reconstructed == kThreads);
  const std::uint64_t full = ledger.dropped[static_cast<std::size_t>(Drop::ring_full)];
  std::set<std::string> names;
  int repeated = 0;
  for (const auto& [span, times] : arrivals(collector)) {
    CHECK(names.insert(name_of(span)).second);
    repeated += times - 1;
  }
  CHECK(names.size() + full == kThreads * (kSpans + 1));
  for (std::uint32_t t = 0; t < kThreads; ++t) CHECK(names.count(std::to_string(t) + " open") == 1);
  CHECK(static_cast<std::uint64_t>(repeated) <= ledger.resent);
  munmap(&board, sizeof board);
}

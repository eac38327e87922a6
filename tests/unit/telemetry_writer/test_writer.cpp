// The reader and the writer that served programs have: what they end is what we read.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>
#include <protozero/pbf_reader.hpp>
#include <thread>

#include "child_runtime/trace.h"
#include "telemetry/ledger.hpp"
#include "unit/telemetry/mailbox_world.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

constexpr std::uint32_t kThreads = 8;

// Seen by both sides, whatever happens to the writer.
struct Board {
  std::atomic<std::uint64_t> ended[kThreads];  // spans whose end has returned
};

Board& make_board() {
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  return *new (memory) Board{};
}

void write_spans(Board& board, std::uint32_t thread) {
  const runmain_tracer* tracer = runmain_get_tracer({"lib", 3}, {}, {}, nullptr, 0);
  for (std::uint64_t n = 0;; ++n) {
    const std::string name = std::to_string(thread) + " " + std::to_string(n) + std::string(n % 100, 'x');
    runmain_span_finish(runmain_span_start_current(tracer, name.data(), name.size(), nullptr));
    board.ended[thread].store(n + 1);
  }
}

Geometry geometry_of_test() {
  Geometry g = standard_geometry("instance-1");
  g.lane_count = kThreads + 4;
  g.lanes_shared = 2;
  g.ring_size = 1U << 20U;
  g.lane_stride = g.ring_offset() + g.ring_size;
  return g;
}

std::string name_of(const Item& item) {
  protozero::pbf_reader span(item.bytes.data(), item.bytes.size());
  return span.next(kSpanName) ? span.get_string() : std::string();
}

struct Seen {
  std::uint64_t next[kThreads] = {};
  std::uint64_t spans = 0;
  std::uint64_t left_out = 0;
  std::uint64_t wrong = 0;
  std::uint64_t reconstructed = 0;

  void take(std::span<const Item> items) {
    for (const Item& item : items) {
      reconstructed += item.reconstructed ? 1 : 0;
      if (item.reconstructed) continue;
      ++spans;
      const std::string name = name_of(item);
      const std::size_t thread = std::stoul(name);
      const std::uint64_t n = std::stoull(name.substr(name.find(' ')));
      if (thread >= kThreads || n < next[thread] || item.origin.scope.empty() ||
          item.origin.resource.empty()) {
        ++wrong;
        continue;
      }
      left_out += n - next[thread];
      next[thread] = n + 1;
    }
  }
};

}  // namespace

TEST_CASE(
    "eight threads that are killed at a random moment: what they had ended is read, once, and the ledger "
    "balances") {
  const std::uint64_t seed = 2718;
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 8; ++round) {
    CAPTURE(round);
    Board& board = make_board();
    World world(geometry_of_test());
    const pid_t child = fork();
    if (child == 0) {
      if (runmain_mailbox_attach(world.fd.get(), -1) != 0) _exit(1);
      std::vector<std::thread> threads;
      for (std::uint32_t t = 1; t < kThreads; ++t)
        threads.emplace_back([&board, t] { write_spans(board, t); });
      write_spans(board, 0);
    }
    MailboxReader reader = world.reader();
    Seen seen;
    const std::uint64_t enough = 500 + random.below(5000);
    while (seen.spans < enough && waitpid(child, nullptr, WNOHANG) == 0) {
      seen.take(reader.drain(1U << 20U));
      reader.commit();
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    reader.find_gone([&](std::uint32_t pid, std::uint64_t started) {
      CHECK(pid == static_cast<std::uint32_t>(child));
      // 0 only of a lane that a thread died in the middle of taking.
      bool half_taken = false;
      for (std::uint32_t lane = 0; lane < kThreads; ++lane) {
        const runmain_lane& words = world.memory.lane(lane);
        half_taken = half_taken || (words.state == RUNMAIN_LANE_TAKEN && words.pid_started == 0);
      }
      CHECK((started > 1 || (started == 0 && half_taken)));
      return std::optional(Ending{Ending::How::killed, SIGKILL, 5});
    });
    do {
      seen.take(reader.drain(1U << 20U));
      reader.commit();
    } while (reader.has_more());

    CHECK(seen.spans >= enough);
    CHECK(seen.wrong == 0);
    CHECK(reader.take_faults().empty());
    CHECK(reader.tallies().invalid_spans == 0);
    CHECK(seen.reconstructed <= kThreads);
    const std::uint64_t full = reader.tallies().counters.lost[RUNMAIN_LOST_FULL];
    CHECK(seen.left_out <= full);  // the last ones of a thread may be lost, too
    std::uint64_t ended = 0;
    for (std::uint32_t t = 0; t < kThreads; ++t) ended += board.ended[t];
    CHECK(seen.spans + full >= ended);
    CHECK(seen.spans + full <= ended + kThreads);
    Ledger ledger;
    ledger.set_mailbox(reader.tallies());
    ledger.take(seen.spans + seen.reconstructed);
    CHECK(ledger.imbalance(true) == "");
    for (std::uint32_t lane = 0; lane < kThreads; ++lane)
      CHECK(world.memory.lane(lane).state == RUNMAIN_LANE_FREE);
    munmap(&board, sizeof board);
  }
}

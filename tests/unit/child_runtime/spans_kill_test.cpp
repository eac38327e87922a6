// What a killed process had ended is in the mailbox, whole, and once.
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <random>
#include <thread>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 30;
#else
constexpr int kRounds = 300;
#endif
constexpr int kThreads = 8;
constexpr std::uint64_t kSpansMax = 4000;  // a thread, should the kill come late

// Seen by both sides, whatever happens to the writer.
struct Board {
  std::atomic<std::uint64_t> ended[kThreads];  // spans whose end has returned
  std::atomic<int> running;
  std::atomic<bool> go;

  std::uint64_t all_ended() const {
    std::uint64_t sum = 0;
    for (const auto& n : ended) sum += n;
    return sum;
  }
};

Board* make_board() {
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) Board{};
}

// Numbers its spans; every seventh is larger, so that the ring's end is met at every offset.
void write_spans(Board& board, int thread) {
  const std::string filler(200, 'x');
  ++board.running;
  while (!board.go) std::this_thread::yield();
  for (std::uint64_t n = 0; n < kSpansMax; ++n) {
    {
      auto span = runmain::start_as_current_span("work");
      span.set_attribute("thread", thread);
      span.set_attribute("number", n);
      if (n % 7 == 0) span.set_attribute("filler", filler);
    }
    board.ended[thread].store(n + 1, std::memory_order_release);
  }
}

struct Seen {
  std::uint64_t next[kThreads] = {};
  std::uint64_t found = 0;
  std::uint64_t left_out = 0;
  std::uint64_t wrong = 0;  // twice, or out of order

  void take(const std::vector<otlp::Span>& spans) {
    for (const otlp::Span& span : spans) {
      const auto thread = static_cast<unsigned>(std::stoul(span.get("thread")));
      const std::uint64_t number = std::stoull(span.get("number"));
      if (thread >= kThreads || number < next[thread]) {
        ++wrong;
        continue;
      }
      left_out += number - next[thread];
      next[thread] = number + 1;
      ++found;
    }
  }
};

}  // namespace

namespace {

// How a process ends at a moment that is not its own choice. USR1: by _exit(2), in whatever thread that gets
// it.
struct Way {
  const char* what;
  int signal;
};
constexpr Way kWays[] = {
    {"SIGKILL", SIGKILL}, {"SIGSEGV", SIGSEGV}, {"SIGABRT", SIGABRT}, {"_exit", SIGUSR1}};

void end_by_default() {
  signal(SIGSEGV, SIG_DFL);
  signal(SIGABRT, SIG_DFL);
  signal(SIGUSR1, [](int) { _exit(3); });
}

}  // namespace

TEST_CASE("of 8 threads that end at a random moment no ended span is lost, torn or there twice") {
  const Way way = GENERATE(from_range(std::begin(kWays), std::end(kWays)));
  INFO(way.what);
  const char* given = std::getenv("RUNMAIN_TEST_SEED");
  const unsigned seed = given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  std::uint64_t found = 0;
  int in_the_middle = 0;  // kills that found threads at work
  for (int round = 0; round < kRounds; ++round) {
    // In some rounds the ring is so small that it goes round and gets full.
    const bool small = round % 3 == 0;
    TestMailbox mailbox({kThreads + 2, 2, small ? 64U << 10U : 4U << 20U, 16384, 256});
    Board* board = make_board();
    REQUIRE(board != nullptr);
    Seen seen;
    {
      Child child([&] {
        if (!attach(mailbox)) return std::string("not attached");
        (void)!nice(10);  // who kills goes before
        end_by_default();
        for (int i = 0; i < kThreads; ++i) std::thread(write_spans, std::ref(*board), i).detach();
        pause();
        return std::string();
      });
      while (board->running < kThreads) std::this_thread::yield();
      board->go = true;
      // Where cores are few, the threads may come to run long after us: the moment is one of their work.
      const std::uint64_t first = random() % 100;
      const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (board->all_ended() < first && std::chrono::steady_clock::now() < guard)
        std::this_thread::yield();
      CHECK(board->all_ended() >= first);
      const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 2000);
      while (std::chrono::steady_clock::now() < until) {
        if (small) seen.take(mailbox.read_all());
      }
      kill(child.pid(), way.signal);
      child.finish();
    }
    seen.take(mailbox.read_all());
    const std::uint64_t ended = board->all_ended();
    const std::uint64_t lost = mailbox.lost(RUNMAIN_LOST_FULL);
    INFO("round " << round << ", ended " << ended << ", found " << seen.found << ", lost " << lost);
    CHECK(mailbox.torn == 0);
    CHECK(seen.wrong == 0);
    CHECK(seen.left_out <= lost);
    // A kill between a record and the count of it finds one more, one a thread; never one less.
    CHECK(seen.found + lost >= ended);
    CHECK(seen.found + lost <= ended + kThreads);
    CHECK(seen.found + lost >= mailbox.ended());
    CHECK(seen.found + lost <= mailbox.ended() + kThreads);
    found += seen.found;
    in_the_middle += ended < kThreads * kSpansMax ? 1 : 0;
    munmap(board, sizeof(Board));
  }
  CHECK(found > static_cast<std::uint64_t>(kRounds) * 10);
  CHECK(in_the_middle > kRounds / 2);
}

TEST_CASE("what a process had open when it was killed is told by the open slots") {
  TestMailbox mailbox;
  Child child([&] {
    attach(mailbox);
    const auto outer = runmain::start_as_current_span("outer", {.kind = runmain::SpanKind::server});
    const auto inner = runmain::start_as_current_span("inner");
    { const auto done = runmain::start_as_current_span("done"); }
    raise(SIGKILL);
    return std::string();
  });
  child.finish();
  CHECK(mailbox.read_all().size() == 1);
  const auto open = mailbox.open_names();
  REQUIRE(open.size() == 2);
  CHECK((open[0] == "outer" || open[1] == "outer"));
  CHECK((open[0] == "inner" || open[1] == "inner"));
  const bool first_is_outer = open[0] == "outer";
  std::vector<const runmain_open_slot*> slots;
  for (std::uint32_t i = 0; i < 256; ++i) {
    if (mailbox.slot(0, i).state != 0) slots.push_back(&mailbox.slot(0, i));
  }
  REQUIRE(slots.size() == 2);
  const runmain_open_slot& outer = *slots[first_is_outer ? 0 : 1];
  const runmain_open_slot& inner = *slots[first_is_outer ? 1 : 0];
  CHECK(outer.kind == RUNMAIN_KIND_SERVER);
  CHECK(outer.state % 2 == 0);
  CHECK(std::string(reinterpret_cast<const char*>(inner.parent_span_id), 8) ==
        std::string(reinterpret_cast<const char*>(outer.span_id), 8));
  CHECK(inner.start_unix_nano >= outer.start_unix_nano);
  CHECK(mailbox.started() == 3);
  CHECK(mailbox.ended() == 1);
}

TEST_CASE("ends by abort, _exit and a fault lose nothing that had ended") {
  for (const int way : {0, 1, 2}) {
    TestMailbox mailbox;
    Child child([&] {
      attach(mailbox);
      for (int i = 0; i < 100; ++i) const auto span = runmain::start_as_current_span("work");
      signal(SIGABRT, SIG_DFL);
      signal(SIGSEGV, SIG_DFL);
      if (way == 0) abort();
      if (way == 1) _exit(3);
      raise(SIGSEGV);
      return std::string();
    });
    child.finish();
    CHECK(mailbox.read_all().size() == 100);
    CHECK(mailbox.torn == 0);
  }
}

namespace {

void end_a_span_and_fault(int) {
  { const auto span = runmain::start_as_current_span("handler"); }
  raise(SIGSEGV);
}

}  // namespace

TEST_CASE("a fault in a signal handler that has ended a span, wherever it hit, loses and tears nothing") {
  for (int round = 0; round < kRounds / 10; ++round) {
    TestMailbox mailbox;
    Board* board = make_board();
    REQUIRE(board != nullptr);
    Child child([&] {
      attach(mailbox);
      signal(SIGSEGV, SIG_DFL);
      signal(SIGALRM, end_a_span_and_fault);
      const itimerval once{{0, 0}, {0, 100 + round * 7}};
      board->go = true;
      setitimer(ITIMER_REAL, &once, nullptr);
      write_spans(*board, 0);
      pause();
      return std::string();
    });
    child.finish();
    const std::uint64_t ended = board->ended[0];
    const auto spans = mailbox.read_all();
    std::uint64_t lost = mailbox.header().no_lane;  // in the middle of the thread's first span
    for (const runmain_lost why : {RUNMAIN_LOST_REENTRANT, RUNMAIN_LOST_FULL}) lost += mailbox.lost(why);
    INFO("round " << round << ", ended " << ended << ", read " << spans.size() << ", lost " << lost);
    CHECK(mailbox.torn == 0);
    // The handler's own, and one that was written and not counted when it came.
    CHECK(spans.size() + lost >= ended + 1);
    CHECK(spans.size() + lost <= ended + 2);
    munmap(board, sizeof(Board));
  }
}

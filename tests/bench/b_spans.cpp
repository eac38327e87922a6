// What a span costs: start, 10 string attributes of 20 + 20 characters, end. One thread with warm pages, 8
// threads on one provider, not sampled, not serving; beside the floor: two looks at the clock and one copy of
// that size. Usage: b_spans [ROUNDS]; each figure is the median of so many rounds, in ns of CPU time a span.
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "bench.hpp"
#include "child_runtime/mailbox_format.h"
#include "child_runtime/trace.hpp"

namespace {

constexpr int kSpans = 10'000;   // a round: shorter than a time slice
constexpr int kReadEvery = 256;  // spans after which the reader is taken to have read
constexpr std::size_t kRecord = 592;

struct Mailbox {
  runmain_mailbox header{};
  char* base = nullptr;

  Mailbox() {
    runmain_mailbox_layout(&header, "bench");
    const int memfd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0 || runmain_mailbox_format(memfd, &header) != 0) abort();
    base = static_cast<char*>(
        mmap(nullptr, runmain_mailbox_size(&header), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
    if (base == MAP_FAILED || runmain_mailbox_attach(memfd, -1) != 0) abort();
  }
  runmain_lane& lane(std::uint32_t i) const {
    return *reinterpret_cast<runmain_lane*>(base + header.header_size + i * header.lane_stride);
  }
  char* ring(std::uint32_t i) const {
    return reinterpret_cast<char*>(&lane(i)) + runmain_mailbox_ring_offset(&header);
  }
  // The lane of the calling thread.
  runmain_lane* mine() const {
    for (std::uint32_t i = 0; i < header.lane_count; ++i) {
      if (lane(i).state == RUNMAIN_LANE_TAKEN && lane(i).tid == static_cast<std::uint32_t>(gettid()))
        return &lane(i);
    }
    return nullptr;
  }
};

std::uint64_t cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

const char* const kKeys[10] = {"http.request.method.", "http.response.status", "server.address.name.",
                               "server.port.number..", "url.path.of.request.", "url.query.of.reques.",
                               "user_agent.original.", "network.peer.address", "client.address.name.",
                               "error.type.of.reques"};
char g_values[10][32];

struct Inlined {
  static void run() {
    auto span = runmain::start_as_current_span("GET /users");
    span.set_attribute("http.request.method.", std::string_view(g_values[0], 20));
    span.set_attribute("http.response.status", std::string_view(g_values[1], 20));
    span.set_attribute("server.address.name.", std::string_view(g_values[2], 20));
    span.set_attribute("server.port.number..", std::string_view(g_values[3], 20));
    span.set_attribute("url.path.of.request.", std::string_view(g_values[4], 20));
    span.set_attribute("url.query.of.reques.", std::string_view(g_values[5], 20));
    span.set_attribute("user_agent.original.", std::string_view(g_values[6], 20));
    span.set_attribute("network.peer.address", std::string_view(g_values[7], 20));
    span.set_attribute("client.address.name.", std::string_view(g_values[8], 20));
    span.set_attribute("error.type.of.reques", std::string_view(g_values[9], 20));
  }
};
struct Called {
  static void run() {
    runmain_span* span = runmain_span_start_current(nullptr, "GET /users", 10, nullptr);
    for (int i = 0; i < 10; ++i) runmain_span_set_string(span, kKeys[i], 20, g_values[i], 20);
    runmain_span_finish(span);
  }
};
struct Bare {
  static void run() { auto span = runmain::start_as_current_span("GET /users"); }
};

// Of one round; `mailbox` may be nullptr.
template <class Kind>
double round_of(const Mailbox* mailbox) {
  Kind::run();
  runmain_lane* lane = mailbox != nullptr ? mailbox->mine() : nullptr;
  const std::uint64_t begin = cpu_ns();
  for (int i = 0; i < kSpans; ++i) {
    if (lane != nullptr && i % kReadEvery == 0) __atomic_store_n(&lane->read, lane->write, __ATOMIC_RELEASE);
    Kind::run();
  }
  return static_cast<double>(cpu_ns() - begin) / kSpans;
}

template <class Kind>
double median(const Mailbox* mailbox, int rounds) {
  std::vector<double> all;
  for (int i = 0; i < rounds + 1; ++i) {
    const double one = round_of<Kind>(mailbox);
    if (i > 0) all.push_back(one);  // the first one makes the pages warm
  }
  return runmain::bench::percentile(all, 50);
}

double floor_of(const Mailbox& mailbox, int rounds) {
  std::vector<double> all;
  char* ring = mailbox.ring(mailbox.header.lane_count - 1);
  static char record[kRecord];
  for (int r = 0; r < rounds + 1; ++r) {
    std::size_t at = 0;
    timespec t{};
    const std::uint64_t begin = cpu_ns();
    for (int i = 0; i < kSpans; ++i) {
      clock_gettime(CLOCK_MONOTONIC, &t);
      record[8] = static_cast<char>(t.tv_nsec);
      clock_gettime(CLOCK_MONOTONIC, &t);
      std::memcpy(ring + at, record, kRecord);
      at = at + 2 * kRecord > mailbox.header.ring_size ? 0 : at + kRecord;
    }
    if (r > 0) all.push_back(static_cast<double>(cpu_ns() - begin) / kSpans);
  }
  return runmain::bench::percentile(all, 50);
}

double clocks(int rounds) {
  std::vector<double> all;
  for (int r = 0; r < rounds; ++r) {
    timespec t{};
    const std::uint64_t begin = cpu_ns();
    for (int i = 0; i < kSpans; ++i) {
      clock_gettime(CLOCK_MONOTONIC, &t);
      clock_gettime(CLOCK_MONOTONIC, &t);
    }
    all.push_back(static_cast<double>(cpu_ns() - begin) / kSpans);
  }
  return runmain::bench::percentile(all, 50);
}

double together(const Mailbox& mailbox, int threads, int rounds) {
  std::vector<double> all(static_cast<std::size_t>(threads));
  std::vector<std::thread> running;
  std::atomic<int> ready{0};
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      ++ready;
      while (ready < threads) std::this_thread::yield();
      all[static_cast<std::size_t>(i)] = median<Inlined>(&mailbox, rounds);
    });
  }
  for (std::thread& t : running) t.join();
  double sum = 0;
  for (const double one : all) sum += one;
  return sum / threads;
}

void tell(const char* what, double ns, const char* goal) {
  runmain::bench::row(what, runmain::bench::number(ns, " ns", 1), goal);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 200;
  for (int i = 0; i < 10; ++i)
    std::snprintf(g_values[i], sizeof g_values[i], "value %d of a span....", i % 10);
  std::printf("| span | CPU time | goal |\n|---|---|---|\n");
  std::fflush(stdout);
  // A process that has no mailbox.
  if (const pid_t pid = fork(); pid == 0) {
    tell("not serving: start and end", median<Bare>(nullptr, rounds), "<= 5");
    tell("not serving: with 10 attributes", median<Inlined>(nullptr, rounds), "");
    _exit(0);
  } else {
    waitpid(pid, nullptr, 0);
  }
  const Mailbox mailbox;
  tell("floor: two looks at the clock", clocks(rounds), "");
  tell("floor: two looks at the clock and the copy", floor_of(mailbox, rounds), "");
  tell("start, 10 attributes inlined, end", median<Inlined>(&mailbox, rounds), "<= 110");
  tell("the same with each attribute a call", median<Called>(&mailbox, rounds), "<= 130");
  {
    const auto outer = runmain::start_as_current_span("outer");
    tell("the same inlined, as a child of another", median<Inlined>(&mailbox, rounds), "");
  }
  tell("start and end", median<Bare>(&mailbox, rounds), "");
  tell("8 threads, inlined, each", together(mailbox, 8, rounds), "<= 150");
  runmain_sampler off{};
  off.kind = RUNMAIN_SAMPLER_ALWAYS_OFF;
  runmain_set_sampler(&off);
  tell("not sampled: start and end", median<Bare>(&mailbox, rounds), "<= 20");
  tell("not sampled: with 10 attributes", median<Inlined>(&mailbox, rounds), "");
  runmain::set_sampler(runmain::SamplerKind::probability, 0x1p-56);
  tell("not sampled by a probability: start and end", median<Bare>(&mailbox, rounds), "<= 20");
  runmain::set_sampler(runmain::SamplerKind::probability, 1);
  tell("sampled by a probability: start and end", median<Bare>(&mailbox, rounds), "");
  std::uint64_t lost = 0;
  for (std::uint32_t i = 0; i < mailbox.header.lane_count; ++i)
    lost += mailbox.lane(i).lost[RUNMAIN_LOST_FULL];
  std::printf("\nlost for want of room: %llu\n", static_cast<unsigned long long>(lost));
  return 0;
}

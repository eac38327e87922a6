// Why a process does not answer: real processes in each state, and samples that are made up.
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <mutex>
#include <thread>
#include <vector>

#include "os/linux/proc.hpp"
#include "os/linux/stall.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMs = 1'000'000;

StallVerdict look(pid_t pid, Duration span) {
  const StallSample first = stall_sample({pid}, now());
  const Time until = first.at + span;
  while (now() < until) std::this_thread::sleep_for(until - now());
  return stall_verdict(first, stall_sample({pid}, now()));
}

// Looks until the verdict is this one, for 20 s at most: other programs may have the CPUs at times.
StallVerdict look_for(StallKind kind, pid_t pid) {
  const Time end = now() + 20s;
  StallVerdict verdict;
  do {
    verdict = look(pid, 150ms);
  } while (verdict.kind != kind && now() < end);
  INFO(verdict.text);
  CHECK(verdict.kind == kind);
  return verdict;
}

Child sleeping() {
  return fork_child([] {
    for (;;) ::pause();
    return 0;
  });
}

[[noreturn]] void spin() {
  for (volatile std::uint64_t n = 0;;) n = n + 1;
}

StallThread thread(char state, std::uint64_t cpu_ms, std::uint64_t denied_ms) {
  StallThread t;
  t.pid = t.tid = 7;
  t.state = state;
  t.cpu_ns = cpu_ms * kMs;
  t.denied_ns = denied_ms * kMs;
  t.exact = true;
  t.name = "web";
  return t;
}

StallSample at(Duration when, std::vector<StallThread> threads, Duration pressure = 0ms) {
  StallSample s;
  s.at = Time(1s + when);
  s.threads = std::move(threads);
  s.pressure_us = static_cast<std::uint64_t>(pressure / 1us);
  return s;
}

}  // namespace

TEST_CASE("a process that a signal has stopped is seen as stopped") {
  const Child child = sleeping();
  ::kill(child.pid(), SIGSTOP);
  while (process_state(child.pid())->state != 'T') std::this_thread::yield();
  CHECK(lacks(look_for(StallKind::stopped, child.pid()).text, "is stopped by a signal") == "");
}

TEST_CASE("a process that sleeps without using a CPU is seen as waiting, and where") {
  const Child child = fork_child([] {
    std::mutex a;
    a.lock();
    std::mutex* volatile again = &a;
    again->lock();  // a deadlock with itself
    return 0;
  });
  const StallVerdict verdict = look_for(StallKind::waiting, child.pid());
  if (is_root()) CHECK(lacks(verdict.text, "futex") == "");
}

TEST_CASE("a process that loops is seen as busy") {
  const Child child = fork_child([] {
    // As root: so that the machine's other work does not starve it.
    const sched_param first{1};
    ::sched_setscheduler(0, SCHED_RR, &first);
    spin();
    return 0;
  });
  CHECK(look_for(StallKind::busy, child.pid()).cpu_ns > 50 * kMs);
}

TEST_CASE("a process in uninterruptible sleep is seen as such") {
  // The parent of a vfork(2) sleeps in state D until its child ends.
  const Pipe pipe = make_pipe();
  const Child child = fork_child([&] {
    const pid_t inner = ::vfork();
    if (inner == 0) {
      char c = 0;
      (void)!::read(pipe.read.get(), &c, 1);
      ::_exit(0);
    }
    ::waitpid(inner, nullptr, 0);
    return 0;
  });
  while (process_state(child.pid())->state != 'D') std::this_thread::yield();
  CHECK(lacks(look_for(StallKind::uninterruptible, child.pid()).text, "uninterruptible sleep") == "");
  CHECK(::write(pipe.write.get(), "x", 1) == 1);
}

TEST_CASE("a thread that is stuck is found behind a main thread that waits for it") {
  const Child child = fork_child([] {
    std::thread looping([] { spin(); });
    looping.join();
    return 0;
  });
  // It may be starved by the machine's other work at times; waiting it is never.
  const Time end = now() + 20s;
  StallVerdict verdict;
  do {
    verdict = look(child.pid(), 150ms);
  } while (verdict.kind != StallKind::busy && verdict.kind != StallKind::starved && now() < end);
  CHECK((verdict.kind == StallKind::busy || verdict.kind == StallKind::starved));
}

TEST_CASE("at load 20 a healthy worker that answers slowly is seen as starved, not hung") {
  std::vector<Child> load;
  for (int i = 0; i < 20; ++i) {
    load.push_back(fork_child([] {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      spin();
      return 0;
    }));
  }
  // The worker needs half a second of CPU for an answer: at this load it is far from it in 600 ms.
  const Pipe asked = make_pipe();
  const Pipe answered = make_pipe();
  const Child worker = fork_child([&] {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    char c = 0;
    if (::read(asked.read.get(), &c, 1) != 1) return 1;
    rusage used{};
    do {
      for (volatile int n = 0; n < 100'000;) n = n + 1;
      ::getrusage(RUSAGE_SELF, &used);
    } while (used.ru_utime.tv_sec == 0 && used.ru_utime.tv_usec < 500'000);
    (void)!::write(answered.write.get(), "y", 1);
    return 0;
  });
  REQUIRE(::write(asked.write.get(), "x", 1) == 1);
  const StallVerdict verdict = look(worker.pid(), 600ms);
  INFO(verdict.text);
  CHECK(verdict.kind == StallKind::starved);
  load.clear();
  CHECK(wait_readable(answered.read.get()));  // it was well all the time
}

TEST_CASE("the times between two samples decide, the surest sign first") {
  const auto kind = [](const StallThread& before, const StallThread& after, Duration pressure = 0ms) {
    return stall_verdict(at(0ms, {before}), at(1s, {after}, pressure)).kind;
  };
  CHECK(kind(thread('T', 0, 0), thread('T', 0, 0)) == StallKind::stopped);
  CHECK(kind(thread('t', 0, 0), thread('t', 0, 0)) == StallKind::stopped);
  CHECK(stall_verdict(at(0ms, {thread('t', 0, 0)}), at(1s, {thread('t', 0, 0)})).traced);
  CHECK_FALSE(stall_verdict(at(0ms, {thread('T', 0, 0)}), at(1s, {thread('T', 0, 0)})).traced);
  CHECK(kind(thread('S', 0, 0), thread('T', 0, 0)) == StallKind::waiting);  // only just
  CHECK(kind(thread('D', 0, 0), thread('D', 10, 0)) == StallKind::uninterruptible);
  CHECK(kind(thread('D', 0, 0), thread('D', 900, 0)) == StallKind::busy);  // writes and works
  CHECK(kind(thread('R', 0, 0), thread('R', 950, 50)) == StallKind::busy);
  CHECK(kind(thread('R', 0, 0), thread('S', 300, 400)) == StallKind::starved);
  CHECK(kind(thread('S', 0, 0), thread('S', 10, 10)) == StallKind::waiting);
  CHECK(kind(thread('S', 0, 0), thread('S', 500, 10)) == StallKind::unknown);
  // Runnable all the time and not told yet of how long it waited.
  CHECK(kind(thread('R', 0, 0), thread('R', 100, 0)) == StallKind::starved);
  // A little denied counts where the machine has no CPU to spare.
  CHECK(kind(thread('S', 0, 0), thread('S', 10, 150)) == StallKind::waiting);
  CHECK(kind(thread('S', 0, 0), thread('S', 10, 150), 800ms) == StallKind::starved);
  StallThread ticks = thread('R', 100, 0);
  ticks.exact = false;
  CHECK(kind(thread('R', 0, 0), ticks) == StallKind::starved);
}

TEST_CASE("two samples that have no thread in common say nothing") {
  StallThread other = thread('S', 0, 0);
  other.tid = 8;
  CHECK(stall_verdict(at(0ms, {thread('S', 0, 0)}), at(1s, {other})).kind == StallKind::unknown);
  CHECK(stall_verdict(at(0ms, {thread('S', 0, 0)}), at(1s, {})).text == "its process is gone");
  CHECK(stall_verdict(at(1s, {thread('S', 0, 0)}), at(1s, {thread('S', 0, 0)})).kind == StallKind::unknown);
}

TEST_CASE("a wrapper that waits for its child does not speak for it") {
  StallThread wrapper = thread('S', 0, 0);
  wrapper.call = "wait";
  wrapper.name = "sh";
  StallThread server = thread('S', 0, 0);
  server.tid = server.pid = 8;
  server.call = "futex";
  const std::string text = stall_verdict(at(0ms, {wrapper, server}), at(1s, {wrapper, server})).text;
  CHECK(text == "process 8 (web) uses no CPU and waits in futex");
}

TEST_CASE("samples are read from proc as it is written there, and are bounded") {
  const TempFolder proc;
  const auto put = [&](const std::string& name, const std::string& text) { proc.file(name, text, 0644); };
  for (const char* folder : {"/7", "/7/task", "/7/task/7", "/pressure"})
    REQUIRE(::mkdir((proc.path() + folder).c_str(), 0755) == 0);
  put("7/task/7/stat", "7 (a) b) D 1 1 1 0 -1 4194304 1 0 0 0 30 20 0 0 20 0 1 0 5 0 0");
  put("7/task/7/schedstat", "123000000 45000000 9\n");
  put("7/task/7/wchan", "folio_wait_bit_common");
  put("7/task/7/syscall", "-1 0x0 0x0");
  put("pressure/cpu", "some avg10=1.00 avg60=0.00 avg300=0.00 total=4711\nfull avg10=0 total=0\n");
  StallSample s = stall_sample({7, 99}, now(), proc.path());
  REQUIRE(s.threads.size() == 1);
  CHECK(s.threads[0].state == 'D');
  CHECK(s.threads[0].name == "a) b");
  CHECK(s.threads[0].cpu_ns == 123 * kMs);
  CHECK(s.threads[0].denied_ns == 45 * kMs);
  CHECK(s.threads[0].place == "folio_wait_bit_common");
  CHECK(s.threads[0].call == "");
  CHECK(s.pressure_us == 4711);
  CHECK_FALSE(s.cut);

  put("7/task/7/schedstat", "0 0 0\n");  // a kernel that does not count
  s = stall_sample({7}, now(), proc.path());
  CHECK_FALSE(s.threads[0].exact);
  CHECK(s.threads[0].cpu_ns == 50 * 1000 * kMs / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));

  for (std::size_t n = 8; n < 8 + kStallThreadsMax; ++n) {
    const std::string folder = "7/task/" + std::to_string(n);
    REQUIRE(::mkdir((proc.path() + "/" + folder).c_str(), 0755) == 0);
    put(folder + "/stat", std::to_string(n) + " (a) S 1");
  }
  s = stall_sample({7}, now(), proc.path());
  CHECK(s.threads.size() == kStallThreadsMax);
  CHECK(s.cut);
}

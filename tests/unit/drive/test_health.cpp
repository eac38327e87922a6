// Whether a worker still answers: real ones that share a listener and are well, stuck, stopped or slow.
#include <sys/mman.h>
#include <sys/ptrace.h>

#include <map>
#include <string>
#include <vector>

#include "drive/health.hpp"
#include "os/linux/proc.hpp"
#include "os/loop/loop.hpp"
#include "readiness_support.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace std::chrono_literals;
using runmain::test::Child;
using runmain::test::listener;
using runmain::test::next_tag;
using runmain::test::Pipe;

namespace {

constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
constexpr const char* kBad = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";

struct Fixture {
  os::Loop loop;
  std::map<ChildKey, std::vector<core::Looked>> looked;
  std::vector<core::Measured> measured;
  Health health{loop, [this](const core::Event& event) {
                  if (const auto* look = std::get_if<core::Looked>(&event))
                    looked[look->key].push_back(*look);
                  if (const auto* m = std::get_if<core::Measured>(&event)) measured.push_back(*m);
                }};

  template <class F>
  bool until(F enough) {
    const Time end = os::Loop::now() + 30s;
    while (!enough() && os::Loop::now() < end) loop.turn(100ms);
    return enough();
  }
  core::Looked first_look(std::uint32_t slot) {
    REQUIRE(until([&] { return !looked[key(slot)].empty(); }));
    return looked[key(slot)].front();
  }
  static ChildKey key(std::uint32_t slot) { return {ServiceId{1}, slot, 2, 0}; }
};

HealthJob job(std::uint32_t slot, const Child& child, const os::Listener& l) {
  HealthJob j;
  j.key = Fixture::key(slot);
  j.pid = child.pid();
  j.tag = child.tag();
  j.spec.kind = core::HealthKind::http;
  j.spec.path = "/health";
  j.spec.interval = 300ms;
  j.spec.timeout = 400ms;
  j.listeners = {{l.bound, l.inode}};
  j.address = l.bound;
  return j;
}

[[noreturn]] void rest() {
  for (;;) pause();
}

// Accepts one connection after the other and answers after `work` of CPU time.
void serve_slowly(int listening, Duration work) {
  for (;;) {
    const int fd = accept(listening, nullptr, nullptr);
    if (fd < 0) continue;
    test::read_request(fd);
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto cpu = [&] {
      return std::chrono::seconds(used.ru_utime.tv_sec) + std::chrono::microseconds(used.ru_utime.tv_usec);
    };
    const Duration until = cpu() + work;
    while (cpu() < until) {
      for (volatile int n = 0; n < 100'000;) n = n + 1;
      getrusage(RUSAGE_SELF, &used);
    }
    (void)!send(fd, kOk, strlen(kOk), MSG_NOSIGNAL);
    close(fd);
  }
}

}  // namespace

TEST_CASE("workers that answer are looked at again and again, and nothing is told of it") {
  const os::Listener l = listener();
  const Pipe seen;
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kOk, seen.write_end.get()); });
  const Child b(next_tag(), [&] { test::serve(l.fd.get(), kOk, seen.write_end.get()); });
  Fixture f;
  REQUIRE(f.health.watch(job(0, a, l)));
  REQUIRE(f.health.watch(job(1, b, l)));
  std::string connections;
  CHECK(f.until([&] { return (connections += seen.drain()).size() >= 6; }));
  CHECK(f.looked.empty());
}

TEST_CASE("the first good look after a takeover is told") {
  const os::Listener l = listener();
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  Fixture f;
  HealthJob j = job(0, a, l);
  j.resumed = true;
  REQUIRE(f.health.watch(std::move(j)));
  CHECK(f.first_look(0).well);
}

TEST_CASE("a worker that is stopped is told as stopped, the others are not, and it is well when it goes on") {
  const os::Listener l = listener();
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  const Child b(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  Fixture f;
  kill(a.pid(), SIGSTOP);
  while (os::process_state(a.pid())->state != 'T') sched_yield();
  REQUIRE(f.health.watch(job(0, a, l)));
  REQUIRE(f.health.watch(job(1, b, l)));
  const core::Looked look = f.first_look(0);
  INFO(look.text);
  CHECK_FALSE(look.well);
  CHECK(look.stall == core::Stall::stopped);
  kill(a.pid(), SIGCONT);
  CHECK(f.until([&] { return f.looked[Fixture::key(0)].back().well; }));
  for (const core::Looked& other : f.looked[Fixture::key(1)]) {
    INFO(other.text);
    CHECK((other.well || other.stall == core::Stall::starved));
  }
}

TEST_CASE("a worker that a debugger has stopped is a person's, and is not told of") {
  const os::Listener l = listener();
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  REQUIRE(ptrace(PTRACE_SEIZE, a.pid(), nullptr, nullptr) == 0);
  REQUIRE(ptrace(PTRACE_INTERRUPT, a.pid(), nullptr, nullptr) == 0);
  REQUIRE(waitpid(a.pid(), nullptr, __WALL) == a.pid());
  Fixture f;
  REQUIRE(f.health.watch(job(0, a, l)));
  CHECK(f.until([&] { return f.health.unclear() > 0; }));
  CHECK(f.looked.empty());
}

TEST_CASE("a worker that sleeps for ever is told as waiting, alone and beside one that answers") {
  for (const bool alone : {true, false}) {
    const os::Listener l = listener();
    const Child a(next_tag(), [] { rest(); });
    const Child b(next_tag(), [&] { alone ? rest() : test::serve(l.fd.get(), kOk); });
    Fixture f;
    REQUIRE(f.health.watch(job(0, a, l)));
    if (!alone) REQUIRE(f.health.watch(job(1, b, l)));
    const std::vector<core::Looked>& looks = f.looked[Fixture::key(0)];
    // Where the other one has no CPU for a while, its connections wait, too: then the next look tells.
    CHECK(f.until([&] {
      return !looks.empty() &&
             (looks.back().text.find("nobody took the connection") != std::string::npos) == alone;
    }));
    for (const core::Looked& look : looks) {
      INFO(look.text);
      CHECK_FALSE(look.well);
      CHECK(look.stall == core::Stall::waiting);
    }
  }
}

TEST_CASE("an idle worker whose connections another always takes is well if it waits in an epoll set") {
  const os::Listener l = listener();
  const Pipe ready;
  // It waits for something else in the same set, so it is never woken for the listener.
  const Child asleep(next_tag(), [&] {
    const int set = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    const int other = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(other, EPOLL_CTL_ADD, l.fd.get(), &event);
    (void)!write(ready.write_end.get(), "r", 1);
    for (epoll_event got{};;) epoll_wait(set, &got, 1, -1);
  });
  REQUIRE(ready.get() == 'r');
  const Child busy(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  Fixture f;
  HealthJob j = job(0, asleep, l);
  j.resumed = true;
  REQUIRE(f.health.watch(std::move(j)));
  REQUIRE(f.health.watch(job(1, busy, l)));
  const core::Looked look = f.first_look(0);
  INFO(look.text);
  CHECK(look.well);
}

TEST_CASE("a worker that answers badly is told with its answer") {
  const os::Listener l = listener();
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kBad); });
  Fixture f;
  REQUIRE(f.health.watch(job(0, a, l)));
  const core::Looked look = f.first_look(0);
  CHECK_FALSE(look.well);
  CHECK(look.text == "answered 503");
}

TEST_CASE("a worker that takes a connection and does not answer is told, whatever it polls") {
  const os::Listener l = listener();
  const Child a(next_tag(), [&] {
    const int set = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(set, EPOLL_CTL_ADD, l.fd.get(), &event);
    for (epoll_event got{};;) {
      if (epoll_wait(set, &got, 1, -1) == 1) (void)!accept4(l.fd.get(), nullptr, nullptr, SOCK_CLOEXEC);
    }
  });
  Fixture f;
  REQUIRE(f.health.watch(job(0, a, l)));
  const core::Looked look = f.first_look(0);
  INFO(look.text);
  CHECK_FALSE(look.well);
  CHECK(look.text.find("took a connection and did not answer") != std::string::npos);
}

TEST_CASE("tcp is content with a connection that the worker takes") {
  const os::Listener l = listener();
  const Pipe seen;
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kBad, seen.write_end.get()); });
  Fixture f;
  HealthJob j = job(0, a, l);
  j.spec.kind = core::HealthKind::tcp;
  j.resumed = true;
  REQUIRE(f.health.watch(std::move(j)));
  CHECK(f.first_look(0).well);
  CHECK(seen.get() == 'c');
}

TEST_CASE("at a port of its own a worker is told when nobody or another process answers there") {
  const os::Listener l = listener();
  const Child stranger(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  const Child a(next_tag(), [] { rest(); });
  Fixture f;
  HealthJob j = job(0, a, l);
  j.listeners.clear();
  j.shared = false;
  REQUIRE(f.health.watch(j));
  CHECK(f.first_look(0).text == "another process accepts at " + l.bound);
  std::string free;
  {
    const os::Listener gone = listener();
    free = gone.bound;
  }
  j.key = Fixture::key(1);
  j.address = free;
  REQUIRE(f.health.watch(j));
  const core::Looked look = f.first_look(1);
  INFO(look.text);
  CHECK(look.text.find("nobody can connect to " + free) != std::string::npos);
}

TEST_CASE("at load 20 a healthy worker that answers slowly is told as starved, never as hung") {
  std::vector<std::unique_ptr<Child>> load;
  for (int i = 0; i < 20; ++i) {
    load.push_back(std::make_unique<Child>(next_tag(), [] {
      for (volatile std::uint64_t n = 0;;) n = n + 1;
    }));
  }
  const os::Listener l = listener();
  const Child a(next_tag(), [&] { serve_slowly(l.fd.get(), 300ms); });
  Fixture f;
  REQUIRE(f.health.watch(job(0, a, l)));
  const core::Looked look = f.first_look(0);
  for (const core::Looked& each : f.looked[Fixture::key(0)]) {
    INFO(each.text);
    CHECK((each.well || each.stall == core::Stall::starved));
  }
  INFO(look.text);
  CHECK(look.stall == core::Stall::starved);
  load.clear();
  // It was well all the time: with patience it answers.
  HealthJob patient = job(0, a, l);
  patient.spec.timeout = 20s;
  patient.resumed = true;
  REQUIRE(f.health.watch(std::move(patient)));
  CHECK(f.until([&] { return f.looked[Fixture::key(0)].back().well; }));
}

TEST_CASE("a worker that has got a timeout's worth of CPU and does not answer is busy, whatever the load") {
  std::vector<std::unique_ptr<Child>> load;
  for (int i = 0; i < 6; ++i) {
    load.push_back(std::make_unique<Child>(next_tag(), [] {
      for (volatile std::uint64_t n = 0;;) n = n + 1;
    }));
  }
  const os::Listener l = listener();
  const Child a(next_tag(), [] {
    for (volatile std::uint64_t n = 0;;) n = n + 1;
  });
  Fixture f;
  REQUIRE(f.health.watch(job(0, a, l)));
  CHECK(f.until([&] {
    const auto& all = f.looked[Fixture::key(0)];
    return !all.empty() && all.back().stall == core::Stall::busy;
  }));
}

TEST_CASE("memory is told once it is above the limit less the jitter, of the whole tree") {
  const os::Listener l = listener();
  const Pipe filled;
  const auto fill = [&] {
    constexpr std::size_t kBytes = 24U << 20U;
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(at, 1, kBytes);
    (void)!write(filled.write_end.get(), "f", 1);
    rest();
  };
  const Child a(next_tag(), [&] {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      fill();
    }
    fill();
  });
  REQUIRE(filled.get() == 'f');
  REQUIRE(filled.get() == 'f');
  Fixture f;
  HealthJob j = job(0, a, l);
  j.spec.kind = core::HealthKind::none;
  j.recycle.memory = 50U << 20U;  // less 10 %: 45 MiB, which only both together have
  REQUIRE(f.health.watch(j));
  REQUIRE(f.until([&] { return !f.measured.empty(); }));
  CHECK(f.measured.front().bytes >= 48U << 20U);
  CHECK(f.measured.front().key == Fixture::key(0));
  CHECK(f.health.connections() == 0);
}

TEST_CASE("nothing runs for a worker without limits, after stop, or while everybody stands still") {
  const os::Listener l = listener();
  const Child a(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  Fixture f;
  const std::size_t fds = test::open_fds();
  HealthJob none = job(0, a, l);
  none.spec.kind = core::HealthKind::none;
  REQUIRE(f.health.watch(none));
  CHECK(f.health.jobs() == 0);
  REQUIRE(f.health.watch(job(0, a, l)));
  CHECK(f.until([&] { return f.health.connections() > 0; }));
  f.health.hold(true);
  CHECK(f.health.probes() == 0);
  const std::uint64_t before = f.health.connections();
  const Time end = os::Loop::now() + 700ms;
  while (os::Loop::now() < end) f.loop.turn(100ms);
  CHECK(f.health.connections() == before);
  f.health.hold(false);
  CHECK(f.until([&] { return f.health.connections() > before; }));
  f.health.stop(Fixture::key(0));
  CHECK(f.health.jobs() == 0);
  CHECK(f.health.probes() == 0);
  CHECK(test::open_fds() == fds);
}

TEST_CASE("what can never be looked at is said at once, and memory is looked at all the same") {
  const os::Listener l = listener();
  const Child a(next_tag(), [] { rest(); });
  Fixture f;
  HealthJob j = job(0, a, l);
  j.address.clear();
  CHECK_FALSE(f.health.watch(j));
  CHECK(f.health.jobs() == 0);
  j.recycle.memory = 1;
  j.spec.path = "no path";
  j.address = l.bound;
  CHECK_FALSE(f.health.watch(j));
  CHECK(f.health.jobs() == 1);
}

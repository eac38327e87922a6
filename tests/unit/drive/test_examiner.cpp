// Why a worker does not answer, on request: real processes that wait, are stopped, or are gone.
#include "drive/examiner.hpp"

#include <vector>

#include "os/linux/proc.hpp"
#include "os/loop/loop.hpp"
#include "readiness_support.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace std::chrono_literals;
using runmain::test::Child;
using runmain::test::next_tag;

namespace {

struct Fixture {
  os::Loop loop;
  std::vector<core::Looked> seen;
  Examiner examiner{loop, [this](const core::Event& e) { seen.push_back(std::get<core::Looked>(e)); }};

  static ChildKey key(std::uint32_t slot) { return {ServiceId{1}, slot, 2, 0}; }
  core::Looked examine(const Child& child) {
    examiner.examine(key(0), child.pid(), child.tag());
    const Time end = os::Loop::now() + 30s;
    while (seen.empty() && os::Loop::now() < end) loop.turn(100ms);
    REQUIRE(seen.size() == 1);
    CHECK(examiner.open() == 0);
    return seen[0];
  }
};

[[noreturn]] void rest() {
  for (;;) pause();
}

void wait_for_state(pid_t pid, char state) {
  while (os::process_state(pid)->state != state) sched_yield();
}

}  // namespace

TEST_CASE("one that waits is told as waiting, and that it was asked for") {
  const Child a(next_tag(), [] { rest(); });
  wait_for_state(a.pid(), 'S');
  Fixture f;
  const core::Looked look = f.examine(a);
  CHECK(look.asked);
  CHECK_FALSE(look.well);
  CHECK(look.stall == core::Stall::waiting);
  CHECK(look.text.find("uses no CPU") != std::string::npos);
}

TEST_CASE("a process of its tree that a signal has stopped is found, also where it is no child of ours") {
  int both[2];
  REQUIRE(pipe(both) == 0);
  const Child a(next_tag(), [&] {
    const pid_t server = fork();
    if (server == 0) rest();
    (void)!write(both[1], &server, sizeof server);
    rest();
  });
  pid_t server = 0;
  REQUIRE(read(both[0], &server, sizeof server) == sizeof server);
  kill(server, SIGSTOP);
  wait_for_state(server, 'T');
  Fixture f;
  const core::Looked look = f.examine(a);
  CHECK(look.stall == core::Stall::stopped);
  CHECK(look.text.find("process " + std::to_string(server)) == 0);
  kill(server, SIGKILL);
  close(both[0]);
  close(both[1]);
}

TEST_CASE("one that is gone cannot help it, and the keeper tells of it") {
  Fixture f;
  pid_t pid = 0;
  {
    const Child a(next_tag(), [] { rest(); });
    pid = a.pid();
  }
  f.examiner.examine(Fixture::key(0), pid, 0);
  const Time end = os::Loop::now() + 30s;
  while (f.seen.empty() && os::Loop::now() < end) f.loop.turn(100ms);
  REQUIRE(f.seen.size() == 1);
  CHECK(f.seen[0].well);
}

TEST_CASE("one that is stopped is not answered, another one is") {
  const Child a(next_tag(), [] { rest(); });
  const Child b(next_tag(), [] { rest(); });
  Fixture f;
  f.examiner.examine(Fixture::key(1), b.pid(), b.tag());
  f.examiner.stop(Fixture::key(1));
  CHECK(f.examine(a).key == Fixture::key(0));
}

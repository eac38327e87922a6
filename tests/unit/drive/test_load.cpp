// The load of a pool, and deaths for want of memory.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <vector>

#include "drive/load.hpp"
#include "drive/oom.hpp"
#include "readiness_support.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace std::chrono_literals;
using runmain::test::Child;
using runmain::test::listener;
using runmain::test::next_tag;

namespace {

struct Fixture {
  os::Loop loop;
  ServiceTable services;
  ChildInfos children;
  std::vector<core::Load> told;
  Load load{loop, services, children, [this](const core::Load& l) { told.push_back(l); }};

  template <class F>
  bool until(F enough, Duration guard = 20s) {
    const Time end = os::Loop::now() + guard;
    while (!enough() && os::Loop::now() < end) loop.turn(100ms);
    return enough();
  }
};

}  // namespace

TEST_CASE("who waits to be accepted and what the workers use is told of a pool that follows its load") {
  const os::Listener l = listener();
  const Child busy(next_tag(), [] {
    for (volatile std::uint64_t n = 0;;) n = n + 1;
  });
  Fixture f;
  ServiceEntry& entry = f.services.at(ServiceId{1});
  entry.spec.workers = 1;
  entry.spec.workers_max = 4;
  entry.inodes = {l.inode};
  f.children[{ServiceId{1}, 0, 1, 0}] = {busy.pid(), busy.tag()};
  f.load.refresh();
  CHECK(f.until([&] { return !f.told.empty(); }));
  CHECK(f.told.back().queued == 0);
  CHECK(f.told.back().busy_percent > 0);
  CHECK(f.told.back().busy_percent <= 110);
  // A pool that stays busy is told of every second: the core counts looks.
  const std::size_t before = f.told.size();
  const Time begin = os::Loop::now();
  CHECK(f.until([&] { return f.told.size() >= before + 3; }, 3 * kLoadQuiet + 20s));
  CHECK(f.told.back().busy_percent > 0);
  // Where others take most of the CPU, it was not busy.
  const bool stayed = std::all_of(f.told.begin(), f.told.end(), [](const core::Load& load) {
    return load.busy_percent >= core::kBusyPercent;
  });
  if (stayed) CHECK(os::Loop::now() - begin < kLoadQuiet);
  sockaddr_storage to{};
  socklen_t size = sizeof to;
  REQUIRE(getsockname(l.fd.get(), reinterpret_cast<sockaddr*>(&to), &size) == 0);
  const os::UniqueFd client(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(connect(client.get(), reinterpret_cast<const sockaddr*>(&to), size) == 0);
  CHECK(f.until([&] { return f.told.back().queued == 1; }));
}

TEST_CASE("of a pool that is idle only the first look and one in ten seconds is told, of others none") {
  const Child idle(next_tag(), [] {
    for (;;) pause();
  });
  Fixture f;
  f.services.at(ServiceId{1}).spec.workers_max = 4;
  f.services.at(ServiceId{2}).spec.workers = 4;
  for (const std::uint32_t id : {1U, 2U}) f.children[{ServiceId{id}, 0, 1, 0}] = {idle.pid(), idle.tag()};
  f.load.refresh();
  const Time end = os::Loop::now() + 4500ms;
  while (os::Loop::now() < end) f.loop.turn(100ms);
  REQUIRE(f.told.size() == 1);
  CHECK(f.told[0].service == ServiceId{1});
  CHECK(f.told[0].busy_percent == 0);
}

TEST_CASE("a death by SIGKILL while the count of victims grows was for want of memory") {
  std::optional<std::uint64_t> count = 7;
  const Time now = Time(1000s);
  OomWitness witness([&](bool) { return count; });
  CHECK_FALSE(witness.explains(SIGKILL, false, now));
  count = 8;
  CHECK_FALSE(witness.explains(SIGTERM, false, now));
  CHECK_FALSE(witness.explains(0, false, now));
  CHECK_FALSE(witness.explains(SIGKILL, true, now));  // our own order
  CHECK(witness.explains(SIGKILL, false, now));
  CHECK_FALSE(witness.explains(SIGKILL, false, now));  // one victim explains one death
  count = 10;
  CHECK(witness.explains(SIGKILL, false, now));
  CHECK(witness.explains(SIGKILL, false, now + 5s));
  count = 11;
  witness.look(now);
  CHECK_FALSE(witness.explains(SIGKILL, false, now + kOomCreditTime + 1s));  // it was somebody else's
  count.reset();
  CHECK_FALSE(witness.explains(SIGKILL, false, now));
}

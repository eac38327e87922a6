// Sockets of pools, in the real keeper: each slot's own, and what children do to them.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <map>
#include <set>

#include "base/time.hpp"
#include "keeper/keeper.hpp"
#include "keeper_world.hpp"
#include "os/linux/listen_queue.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/sockets.hpp"

using namespace runmain;
using namespace runmain::keeper;
using namespace runmain::keeper::test;

namespace {

using Slots = std::vector<std::uint32_t>;

const std::vector<std::string> kIdle = {"t_child", "pause"};
const std::vector<std::string> kServer = {"t_http", "--fd", "3", "--no-notify"};

// A group "g" with a child in each slot, which accepts nothing.
struct Pool {
  KeeperWorld world;
  Opened opened;
  std::uint16_t port = 0;
  std::vector<std::uint64_t> inodes;
  std::vector<os::UniqueFd> clients;

  explicit Pool(std::uint32_t slots) : opened(world.open("g", true)) {
    REQUIRE(opened.error == 0);
    port = port_of(opened);
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
      const Started started = world.spawn(slot, kIdle, {slot_listener("g", slot)});
      REQUIRE(started.sockets.size() == 1);
      inodes.push_back(started.sockets[0]);
    }
  }
  void distribute(const Slots& slots) {
    world.order(DistributeSlots{{"g"}, slots});
    world.told();
  }
  void connect(int count) {
    for (int i = 0; i < count; ++i) {
      clients.push_back(ask(port));
      REQUIRE(clients.back());
    }
  }
  std::vector<std::uint32_t> queues() const {
    std::vector<std::uint32_t> out;
    for (const std::uint64_t inode : inodes) out.push_back(os::queued_connections({inode}));
    return out;
  }
  // The slots that got any of so many connections.
  Slots reached(int count) {
    const auto before = queues();
    connect(count);
    const auto after = queues();
    Slots out;
    for (std::uint32_t slot = 0; slot < before.size(); ++slot) {
      if (after[slot] != before[slot]) out.push_back(slot);
    }
    return out;
  }
};

Duration cpu_of(pid_t pid) {
  clockid_t clock{};
  timespec t{};
  REQUIRE(clock_getcpuclockid(pid, &clock) == 0);
  REQUIRE(clock_gettime(clock, &t) == 0);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

Time now() {
  return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

}  // namespace

TEST_CASE("200 connections that wait for a slot whose worker is killed are all served by its successor") {
  // With 1 the kernel itself would move them when a socket is closed: nothing would be proved.
  REQUIRE(os::proc_text("/proc/sys/net/ipv4/tcp_migrate_req", 8) == "0\n");
  Pool pool(2);
  pool.distribute({0});
  pool.connect(200);
  CHECK(pool.queues() == std::vector<std::uint32_t>{200, 0});
  pool.world.kill_child(0);
  pool.world.spawn(0, kServer, {slot_listener("g", 0)});
  int answered = 0;
  for (const os::UniqueFd& client : pool.clients) answered += is_answered(client) ? 1 : 0;
  CHECK(answered == 200);
}

TEST_CASE("new connections go to the slots that are named and live, from the moment of a death on") {
  Pool pool(4);
  CHECK(pool.reached(100) == Slots{0, 1, 2, 3});  // before anything was said
  pool.distribute({0, 1, 2, 3});
  CHECK(pool.reached(100) == Slots{0, 1, 2, 3});
  pool.distribute({1, 3});
  CHECK(pool.reached(60) == Slots{1, 3});
  pool.world.kill_child(3);
  CHECK(pool.reached(40) == Slots{1});
  pool.world.spawn(3, kIdle, {slot_listener("g", 3)});
  CHECK(pool.reached(40) == Slots{1});  // not before it is named again
  pool.distribute({1, 3});
  CHECK(pool.reached(60) == Slots{1, 3});
  pool.distribute({});
  CHECK(pool.reached(100) == Slots{0, 1, 2, 3});
  pool.world.kill_child(2);
  CHECK(pool.reached(100) == Slots{0, 1, 3});
  for (const std::uint32_t slot : {0U, 1U, 3U}) pool.world.kill_child(slot);
  CHECK(pool.reached(60) == Slots{1, 3});  // nobody lives: they wait where somebody was named last
}

TEST_CASE("a slot with an old and a new child stays in while one of them lives") {
  Pool pool(2);
  pool.distribute({0, 1});
  const ChildKey old = pool.world.key(0);
  pool.world.spawn(0, kIdle, {slot_listener("g", 0)});
  pool.world.order(KillChild{old, SIGKILL, false});
  CHECK(pool.world.wait<Died>().key == old);
  CHECK(pool.reached(60) == Slots{0, 1});
  pool.world.kill_child(0);
  CHECK(pool.reached(60) == Slots{1});
}

TEST_CASE(
    "a slot that is given up is closed when its child is forgotten; who waits there is reset and counted") {
  REQUIRE(os::proc_text("/proc/sys/net/ipv4/tcp_migrate_req", 8) == "0\n");
  for (const std::uint32_t slot : {1U, 0U}) {
    CAPTURE(slot);
    Pool pool(3);
    pool.distribute({slot});
    pool.connect(5);
    pool.distribute({1 - slot, 2});
    pool.world.order(CloseSlots{{"g", "unknown"}, {slot, 7}});
    pool.world.told();
    CHECK(pool.queues()[slot] == 5);  // a child has it
    pool.world.kill_child(slot);
    pool.world.order(ForgetChild{pool.world.key(slot)});
    pool.world.order(CloseSlots{{"g"}, {slot}});
    const auto closed = pool.world.wait<SlotClosed>();
    CHECK(closed.id == slot_listener("g", slot));
    CHECK(closed.waiting == 5);
    for (const os::UniqueFd& client : pool.clients) {
      char byte = 0;
      CHECK(recv(client.get(), &byte, 1, 0) < 0);
      CHECK(errno == ECONNRESET);
    }
    CHECK(pool.reached(60) == Slots{1 - slot, 2});
    CHECK(pool.world.open("g", true).error == 0);
    pool.inodes[slot] = pool.world.spawn(slot, kIdle, {slot_listener("g", slot)}).sockets.at(0);
    CHECK(pool.reached(60) == Slots{1 - slot, 2});
    pool.distribute({0, 1, 2});
    CHECK(pool.reached(100) == Slots{0, 1, 2});
  }
}

TEST_CASE("the last socket of a group is never closed") {
  Pool pool(1);
  pool.world.kill_child(0);
  pool.world.order(ForgetChild{pool.world.key(0)});
  pool.world.order(CloseSlots{{"g"}, {0}});
  pool.world.told();
  CHECK(ask(pool.port));
}

TEST_CASE("a slot that is named before its first child gets connections as soon as its socket is there") {
  Pool pool(1);
  pool.distribute({2});
  const Started started = pool.world.spawn(2, kIdle, {slot_listener("g", 2)});
  pool.inodes.push_back(started.sockets.at(0));
  CHECK(pool.reached(60) == Slots{1});  // the second that we know
}

TEST_CASE("a group is bound once, closes when nobody has it any more, and is TCP only") {
  KeeperWorld world;
  const Opened first = world.open("g", true);
  REQUIRE(first.error == 0);
  CHECK(first.inode != 0);
  const Opened again = world.open("g", true);
  CHECK(again.bound == first.bound);
  CHECK(again.inode == first.inode);
  CHECK(world.open("g", false).error == EBUSY);
  REQUIRE(world.open("plain", false).error == 0);
  CHECK(world.open("plain", true).error == EBUSY);
  CHECK(world.open("u", true, 3).error == EINVAL);
  CHECK(world.open("p", true, 2, "runmain-test-group").error == EINVAL);

  world.spawn(0, kIdle, {slot_listener("g", 0)});
  world.spawn(1, kIdle, {slot_listener("g", 1)});
  world.request(CloseListeners{{"g"}});
  world.kill_child(0);
  world.order(ForgetChild{world.key(0)});
  world.told();
  CHECK(ask(port_of(first)));
  world.kill_child(1);
  world.order(ForgetChild{world.key(1)});
  world.told();
  CHECK_FALSE(ask(port_of(first)));
}

TEST_CASE("an unknown socket or slot fails the start by name") {
  KeeperWorld world;
  REQUIRE(world.open("g", true).error == 0);
  for (const char* id : {"h#0", "g#", "g#x", "g#99999", "g#-1"}) {
    SpawnChild order;
    order.key = ChildKey{ServiceId{2}, 0, 1, static_cast<std::uint32_t>(id[2])};
    order.argv = {"/bin/true"};
    order.listeners = {id};
    world.order(order);
    const auto started = world.wait<Started>();
    CHECK(started.error == EBADF);
    CHECK(started.detail == std::string("no listening socket ") + id);
  }
}

TEST_CASE("a listener that a worker shuts down listens again in less than 100 ms, and that is told") {
  KeeperWorld world;
  const Opened plain = world.open("plain", false);
  const Opened group = world.open("g", true);
  world.spawn(7, kIdle, {slot_listener("g", 0)});
  const std::pair<std::string, Opened> rows[] = {{"plain", plain}, {slot_listener("g", 1), group}};
  std::uint32_t slot = 0;
  for (const auto& [id, opened] : rows) {
    for (int round = 0; round < 3; ++round) {
      const Time before = now();
      world.spawn(slot, {"t_child", "shut", "3", "pause"}, {id});
      const auto shut = world.wait<ListenerShut>();
      CHECK(now() - before < std::chrono::milliseconds(100));
      CHECK(shut.id == id);
      CHECK(shut.error == 0);
      CHECK(ask(port_of(opened)));
      world.kill_child(slot);
    }
    const Started server = world.spawn(slot, kServer, {id});
    if (!id.ends_with("#1")) CHECK(is_answered(ask(port_of(opened))));
    ++slot;
  }
  world.order(DistributeSlots{{"g"}, {1}});
  world.told();
  for (int i = 0; i < 20; ++i) CHECK(is_answered(ask(port_of(group))));
}

TEST_CASE("a shut down unix listener is told once as lost, and costs nothing after that") {
  KeeperWorld world;
  const Opened opened = world.open("u", false, 2, "runmain-test-shut-" + std::to_string(getpid()));
  REQUIRE(opened.error == 0);
  world.spawn(0, {"t_child", "shut", "3", "pause"}, {"u"});
  const auto shut = world.wait<ListenerShut>();
  CHECK(shut.id == "u");
  CHECK(shut.error == ESHUTDOWN);
  const Duration before = cpu_of(world.pid());
  for (int i = 0; i < 20; ++i) {
    world.order(RenewBacklog{{"u"}});
    CHECK(world.told().empty());
  }
  CHECK(cpu_of(world.pid()) - before < std::chrono::milliseconds(50));
}

TEST_CASE("a backlog that a worker made smaller is given back") {
  KeeperWorld world;
  REQUIRE(world.open("plain", false).error == 0);
  const os::UniqueFd socket = world.socket_of("plain");
  world.spawn(0, {"t_child", "listen", "3", "print", "done", "pause"}, {"plain"}, true);
  world.printed("done");
  const auto limit = [&] {
    tcp_info info{};
    socklen_t size = sizeof info;
    REQUIRE(getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    return info.tcpi_sacked;  // of a listener
  };
  CHECK(limit() == 5);
  world.order(RenewBacklog{{"plain", "unknown"}});
  world.told();
  CHECK(limit() >= 128);
}

TEST_CASE("a main process that a signal stops or continues is told, one that a debugger stops is not") {
  KeeperWorld world;
  const Started started = world.spawn(0, kIdle, {});
  REQUIRE(ptrace(PTRACE_SEIZE, started.pid, nullptr, nullptr) == 0);
  REQUIRE(ptrace(PTRACE_INTERRUPT, started.pid, nullptr, nullptr) == 0);
  int status = 0;
  REQUIRE(waitpid(started.pid, &status, __WALL) == started.pid);
  CHECK(WIFSTOPPED(status));
  CHECK(world.told().empty());
  REQUIRE(ptrace(PTRACE_DETACH, started.pid, nullptr, nullptr) == 0);
  CHECK(world.told().empty());
  for (int round = 0; round < 3; ++round) {
    kill(started.pid, SIGSTOP);
    const auto frozen = world.wait<Frozen>();
    CHECK(frozen.on);
    CHECK(frozen.pid == started.pid);
    CHECK(frozen.key == world.key(0));
    kill(started.pid, SIGCONT);
    CHECK_FALSE(world.wait<Frozen>().on);
  }
}

TEST_CASE("a head that does not listen is told the last of many stops only") {
  KeeperWorld world;
  const Started started = world.spawn(0, kIdle, {});
  const auto state = [&] { return os::process_state(started.pid)->state; };
  for (int round = 0; round < 5; ++round) {
    kill(started.pid, SIGSTOP);
    while (state() != 'T') sched_yield();
    kill(started.pid, SIGCONT);
    while (state() == 'T') sched_yield();
  }
  kill(started.pid, SIGSTOP);
  while (state() != 'T') sched_yield();
  bool on = false;
  while (!on) on = world.wait<Frozen>().on;
  std::vector<bool> all;
  for (const What& what : world.told()) {
    if (const auto* frozen = std::get_if<Frozen>(&what)) all.push_back(frozen->on);
  }
  CHECK((all.empty() || all.back()));
}

TEST_CASE("signals for a pool are told when a process sends them") {
  KeeperWorld world;
  for (const int signal : {SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGQUIT, SIGHUP}) {
    kill(world.pid(), signal);
    const auto got = world.wait<GotSignal>();
    CHECK(got.signal == signal);
    CHECK_FALSE(got.typed);
  }
}

TEST_CASE("what asks for the end is not dropped for other signals that nobody has taken yet") {
  KeeperWorld world;
  world.acknowledges = false;
  for (std::size_t n = 0; n < kSignalsPendingMax; ++n) {
    kill(world.pid(), SIGHUP);
    CHECK(world.wait<GotSignal>().signal == SIGHUP);
  }
  kill(world.pid(), SIGUSR1);  // dropped
  kill(world.pid(), SIGTERM);
  CHECK(world.wait<GotSignal>().signal == SIGTERM);
}

TEST_CASE("of 1,000 inherited fds none reaches a child but its listeners") {
  KeeperWorld world(1000);
  REQUIRE(world.open("plain", false).error == 0);
  REQUIRE(world.open("g", true).error == 0);
  world.spawn(2, kIdle, {slot_listener("g", 2)});
  world.spawn(0, {"t_child", "fds", "pause"}, {"plain", slot_listener("g", 0)}, true);
  CHECK(world.printed("fds:") == "fds: 0 1 2 3 4\n");
}

TEST_CASE("the next head is told which sockets each child has") {
  Pool pool(3);
  const Welcome welcome = pool.world.take_over();
  REQUIRE(welcome.children.size() == 3);
  for (const ChildEntry& child : welcome.children)
    CHECK(child.sockets == std::vector<std::uint64_t>{pool.inodes[child.key.slot]});
  CHECK(std::set<std::uint64_t>(pool.inodes.begin(), pool.inodes.end()).size() == 3);
  CHECK(pool.world.open("g", true).bound == pool.opened.bound);
}

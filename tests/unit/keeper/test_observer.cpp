// The real keeper and its observer, in whose place the test stands.
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/wall_time.hpp"
#include "keeper/observer_link.hpp"
#include "observer_world.hpp"
#include "os/linux/sockets.hpp"

using namespace runmain;
using namespace runmain::keeper;
using namespace runmain::keeper::test;

namespace {

const std::vector<std::string> kIdle = {"t_child", "pause"};

Time now() {
  return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

bool lives(pid_t pid) { return kill(pid, 0) == 0; }

std::string target_of(pid_t pid, int fd) {
  char target[256];
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  return n < 0 ? "" : std::string(target, static_cast<std::size_t>(n));
}

}  // namespace

TEST_CASE("the observer is started when there is one to be and is told its configuration") {
  KeeperWorld world;
  REQUIRE(world.open("receiver", false).error == 0);
  const std::uint64_t inode = os::inode_of(world.socket_of("receiver").get());
  Observers observers(world);
  observers.configure("send it there", {"receiver", "gone"});
  Observer observer = observers.next();
  CHECK(target_of(observer.pid(), 0) == "/dev/null");
  const ObserverWelcome welcome = observer.greet();
  CHECK(welcome.version == kObserverVersion);
  CHECK(welcome.starts == 0);
  REQUIRE(observer.fds().size() == 1);
  CHECK(os::pwrite_all(observer.fds()[0].get(), "a cursor", 0));
  const auto configuration = observer.hear<ObserverConfiguration>();
  CHECK(configuration.listeners == std::vector<std::string>{"receiver"});
  REQUIRE(observer.fds().size() == 2);
  CHECK(*os::pread_some(observer.fds()[0].get(), configuration.size, 0) == "send it there");
  CHECK(os::inode_of(observer.fds()[1].get()) == inode);
  world.take_over();
  observers.configure("or there");  // as each head says it
  CHECK(observer.hear<ObserverConfiguration>().size == 8);
  CHECK(observer.fds().size() == 1);
}

TEST_CASE("what is wrong with a configuration starts nobody, and the next one counts") {
  KeeperWorld world;
  Observers observers(world);
  world.request(ConfigureObserver{3, {"/nowhere"}, {}});  // without memory
  world.told();
  observers.configure();
  CHECK(observers.next().greet().starts == 0);
}

TEST_CASE("a mailbox, the death of its child and the end of its tree are told") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer observer = observers.next();
  observer.greet();
  observer.hear<ObserverConfiguration>();
  const Started started = world.spawn(0, kIdle, {});
  const Granted granted = claim(world, 0);
  const auto made = observer.hear<MailboxMade>();
  CHECK(made.key == world.key(0));
  CHECK(made.service == "web");
  CHECK(made.instance_id == "instance-0");
  CHECK(made.pid == started.pid);
  REQUIRE(observer.fds().size() == 2);
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(os::inode_of(observer.fds()[i].get()) == os::inode_of(granted.fds[i].get()));
  claim(world, 0);  // nothing new
  const auto before = static_cast<std::uint64_t>(wall_now_ns());
  world.kill_child(0);
  const auto gone = observer.hear<ChildGone>();
  CHECK(gone.key == world.key(0));
  CHECK(gone.pid == started.pid);
  CHECK(gone.status == SIGKILL);
  CHECK(gone.known);
  CHECK(gone.at_unix_nano >= before);
  CHECK(gone.at_unix_nano <= static_cast<std::uint64_t>(wall_now_ns()));
  world.order(KillTree{world.key(0)});
  CHECK(observer.hear<TreeGone>().key == world.key(0));
}

TEST_CASE(
    "a tree that was proved empty by looking at all processes is told, and one whose child is forgotten") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer observer = observers.next();
  observer.greet();
  observer.hear<ObserverConfiguration>();
  world.spawn(0, {"t_child", "setsid-grandchild", "pause"}, {});
  world.spawn(1, kIdle, {});
  claim(world, 0);
  observer.hear<MailboxMade>();
  claim(world, 1);
  observer.hear<MailboxMade>();
  world.order(KillTree{world.key(0)});
  CHECK(observer.hear<ChildGone>().key == world.key(0));
  CHECK(observer.hear<TreeGone>().key == world.key(0));
  world.kill_child(1);
  CHECK(observer.hear<ChildGone>().key == world.key(1));
  world.order(ForgetChild{world.key(1)});
  CHECK(observer.hear<TreeGone>().key == world.key(1));
}

TEST_CASE("an observer that is killed has a successor at once and that one is told all but what is read") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer first = observers.next();
  first.greet();
  const std::uint64_t cursors = os::inode_of(first.fds()[0].get());
  first.hear<ObserverConfiguration>();
  for (const std::uint32_t slot : {0U, 1U, 2U}) {
    world.spawn(slot, kIdle, {});
    claim(world, slot);
    CHECK(first.hear<MailboxMade>().key == world.key(slot));
  }
  for (const std::uint32_t slot : {0U, 1U}) {
    world.kill_child(slot);
    world.order(ForgetChild{world.key(slot)});
    CHECK(first.hear<ChildGone>().key == world.key(slot));
    CHECK(first.hear<TreeGone>().key == world.key(slot));
  }
  first.say(MailboxRead{world.key(0)});
  first.say(MailboxRead{world.key(2)});  // no lie is believed
  first.kill();
  Observer second = observers.next();
  CHECK(second.greet().starts == 1);
  CHECK(os::inode_of(second.fds()[0].get()) == cursors);
  CHECK(second.hear<ObserverConfiguration>().size > 0);
  std::vector<std::string> told;
  while (told.size() < 4) {
    const ObserverMessage message = second.hear();
    if (const auto* made = std::get_if<MailboxMade>(&message)) {
      told.push_back(std::to_string(made->key.slot) + " made");
    } else if (const auto* gone = std::get_if<ChildGone>(&message)) {
      told.push_back(std::to_string(gone->key.slot) + " left");
    } else if (const auto* tree = std::get_if<TreeGone>(&message)) {
      told.push_back(std::to_string(tree->key.slot) + " tree");
    }
  }
  // By service and slot no order is promised, within one there is.
  std::stable_sort(told.begin(), told.end(), [](const auto& a, const auto& b) { return a[0] < b[0]; });
  CHECK(told == std::vector<std::string>{"1 made", "1 left", "1 tree", "2 made"});
  world.spawn(3, kIdle, {});
  claim(world, 3);
  CHECK(second.hear<MailboxMade>().key == world.key(3));  // and nothing was left untold before
}

TEST_CASE("an observer that dies again and again is started after a wait that doubles") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  std::vector<Duration> waits;
  Observer observer = observers.next();
  for (int i = 0; i < 3; ++i) {
    const Time killed = now();
    observer.kill();
    observer = observers.next();
    waits.push_back(now() - killed);
  }
  CHECK(waits[1] >= kObserverBackoffMin);
  CHECK(waits[2] >= kObserverBackoffMin * 2);
}

TEST_CASE("an observer that talks nonsense or is of another version is replaced") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer first = observers.next();
  first.say_bytes("nonsense");
  CHECK(first.is_dropped());
  Observer second = observers.next();
  CHECK_FALSE(lives(first.pid()));
  second.say(ObserverHello{kObserverVersion + 1});
  CHECK(second.is_dropped());
  CHECK(observers.next().greet().starts == 2);
}

TEST_CASE("the observer is no child of a service and outlives sweeps and heads") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  const Observer observer = observers.next();
  world.spawn(0, kIdle, {});
  world.order(KillTree{world.key(0)});
  CHECK(world.wait<TreeEmpty>().survivors.empty());
  CHECK(world.take_over().children.size() == 1);
  CHECK(lives(observer.pid()));
  CHECK(target_of(observer.pid(), 0) == "/dev/null");  // no zombie
}

TEST_CASE("an observer that does not read delays nobody and hears the rest later") {
  constexpr int kTimes = 20;
  KeeperWorld world;
  std::vector<std::string> ids;
  for (int i = 0; i < 8; ++i) {
    ids.push_back(std::to_string(i) + std::string(5000, 'x'));
    REQUIRE(world.open(ids.back(), false).error == 0);
  }
  Observers observers(world);
  observers.configure();
  Observer observer = observers.next();
  observer.greet();
  observer.hear<ObserverConfiguration>();
  for (int i = 0; i < kTimes; ++i) {  // 800 kB
    observers.configure("again", ids);
    world.told();
  }
  world.spawn(0, kIdle, {});
  CHECK(claim(world, 0).fds.size() == 2);
  world.kill_child(0);
  world.order(KillTree{world.key(0)});
  world.wait<TreeEmpty>();
  int configurations = 0;
  ObserverMessage message = observer.hear();
  for (; std::holds_alternative<ObserverConfiguration>(message); message = observer.hear()) ++configurations;
  CHECK(configurations > 0);
  CHECK(configurations < kTimes);  // it was full
  REQUIRE(std::holds_alternative<MailboxMade>(message));
  CHECK(observer.hear<ChildGone>().status == SIGKILL);
  CHECK(observer.hear<TreeGone>().key == world.key(0));
}

TEST_CASE("at its end runmain tells all that became of its children and waits for the observer") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer observer = observers.next();
  observer.greet();
  observer.hear<ObserverConfiguration>();
  world.spawn(0, kIdle, {});
  claim(world, 0);
  observer.hear<MailboxMade>();
  world.quit(7);
  CHECK(observer.hear<ChildGone>().key == world.key(0));
  CHECK(observer.hear<TreeGone>().key == world.key(0));
  CHECK(observer.hear<FinishObserving>().budget_ms == 2000);
  observer.say(ObserverFinished{});
  CHECK_FALSE(world.has_exited());
  observer.kill();
  CHECK(world.exit_status() == 7);
}

TEST_CASE("an observer that does not end is killed after its time") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  const Observer observer = observers.next();  // says nothing at all
  const Time begun = now();
  world.quit(0);
  CHECK(world.exit_status() == 0);
  CHECK(now() - begun >= kFinishBudget + kFinishGrace);
}

TEST_CASE("asked again to stop, runmain waits no longer for what its observer sends") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer observer = observers.next();
  observer.greet();
  observer.hear<ObserverConfiguration>();
  const Time begun = now();
  world.quit(5);
  CHECK(observer.hear<FinishObserving>().budget_ms == 2000);
  ::kill(world.pid(), SIGINT);
  CHECK(observer.hear<FinishObserving>().budget_ms == 0);
  ::kill(world.pid(), SIGINT);
  CHECK(world.exit_status() == 5);  // it does not end by itself
  CHECK(now() - begun < kFinishBudget);
}

TEST_CASE("an observer that dies while runmain ends has no successor") {
  KeeperWorld world;
  Observers observers(world);
  observers.configure();
  Observer observer = observers.next();
  observer.greet();
  observer.hear<ObserverConfiguration>();
  const Time begun = now();
  world.quit(0);
  observer.hear<FinishObserving>();
  observer.kill();
  CHECK(world.exit_status() == 0);
  CHECK(now() - begun < kFinishBudget);
}

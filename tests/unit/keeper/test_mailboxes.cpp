// The table of mailboxes: what is made, what is told, and what is let go.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <set>

#include "keeper/mailboxes.hpp"
#include "observer_world.hpp"
#include "os/linux/monotonic.hpp"
#include "os/linux/sockets.hpp"
#include "telemetry/mailbox_memory.hpp"

using namespace runmain;
using namespace runmain::keeper;
using namespace runmain::keeper::test;

namespace {

const std::vector<std::string> kIdle = {"t_child", "pause"};

ChildKey key_of(std::uint32_t slot) { return {ServiceId{1}, slot, 1, 1}; }

bool give(Mailboxes& mailboxes, std::uint32_t slot) {
  return mailboxes.give(key_of(slot), "web", "id", 100 + static_cast<pid_t>(slot)).has_value();
}

// What was told, as text: "made 1", "gone 1 pid 101 status 9", "tree 1".
struct Told {
  std::vector<std::string> all;
  std::size_t room = SIZE_MAX;

  bool operator()(const ObserverMessage& message, const std::vector<int>& fds) {
    if (room == 0) return false;
    --room;
    if (const auto* made = std::get_if<MailboxMade>(&message)) {
      REQUIRE(fds.size() == 2);
      all.push_back("made " + std::to_string(made->key.slot));
    } else if (const auto* gone = std::get_if<ChildGone>(&message)) {
      all.push_back("gone " + std::to_string(gone->key.slot) + " pid " + std::to_string(gone->pid) +
                    " status " + std::to_string(gone->status));
    } else if (const auto* tree = std::get_if<TreeGone>(&message)) {
      all.push_back("tree " + std::to_string(tree->key.slot));
    }
    return true;
  }
};

std::vector<std::string> tell_now(Mailboxes& mailboxes) {
  Told told;
  REQUIRE(mailboxes.tell([&](const auto& message, const auto& fds) { return told(message, fds); }));
  return told.all;
}

// Once the starts have had their time.
std::vector<std::string> tell(Mailboxes& mailboxes) {
  mailboxes.rest(mailboxes.due());
  return tell_now(mailboxes);
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("a mailbox that was made ahead is as any other, and nobody's but its worker's") {
  Mailboxes mailboxes;
  mailboxes.prepare();  // no worker has had one yet: nothing is made
  const auto inode_of = [](const Mailboxes::Fds& fds) { return os::inode_of(fds.memory); };
  std::set<std::uint64_t> inodes;
  for (std::uint32_t slot = 1; slot <= 4; ++slot) {
    const std::string id = "instance-" + std::string(slot, 'x');
    const auto fds = mailboxes.give(key_of(slot), "web", id, 5);
    REQUIRE(fds);
    CHECK(inodes.insert(inode_of(*fds)).second);
    const auto memory = telemetry::MailboxMemory::open(os::UniqueFd(dup(fds->memory)), {});
    REQUIRE(memory);
    CHECK(memory->geometry() == telemetry::standard_geometry(id));
    if (slot % 2 == 0) mailboxes.prepare();
    mailboxes.prepare();
  }
  CHECK(mailboxes.size() == 4);
  CHECK(mailboxes.not_made() == 0);
}

TEST_CASE("a mailbox is what the reader expects of runmain") {
  Mailboxes mailboxes;
  const auto fds = mailboxes.give(key_of(1), "web", "instance-7", 5);
  REQUIRE(fds);
  const auto memory = telemetry::MailboxMemory::open(os::UniqueFd(dup(fds->memory)), {});
  REQUIRE(memory);
  CHECK(memory->geometry() == telemetry::standard_geometry("instance-7"));
  CHECK(fcntl(fds->memory, F_GET_SEALS) >= (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW));
  CHECK((fcntl(fds->memory, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((fcntl(fds->wake, F_GETFL) & O_NONBLOCK) != 0);
  std::uint64_t count = 0;
  CHECK(read(fds->wake, &count, sizeof count) < 0);
}

TEST_CASE("marks are told once, in order, and all again to a new observer") {
  Mailboxes mailboxes;
  give(mailboxes, 1);
  CHECK(tell(mailboxes) == Texts{"made 1"});
  CHECK(tell(mailboxes).empty());
  mailboxes.child_gone(key_of(1), 101, 9, true);
  mailboxes.tree_gone(key_of(1));
  mailboxes.tree_gone(key_of(1));
  mailboxes.child_gone(key_of(2), 102, 9, true);  // has none
  CHECK(tell(mailboxes) == Texts{"gone 1 pid 101 status 9", "tree 1"});
  mailboxes.tell_again();
  CHECK(tell(mailboxes) == Texts{"made 1", "gone 1 pid 101 status 9", "tree 1"});
  CHECK(tell(mailboxes).empty());
}

TEST_CASE("a mailbox is told of when the start had its time, when its child is gone, or at the end") {
  Mailboxes mailboxes;
  CHECK(mailboxes.due() == kNever);
  const Time before = os::monotonic_now();
  give(mailboxes, 1);
  const Time due = mailboxes.due();
  CHECK(due >= before + kMadeTold);
  CHECK(due <= os::monotonic_now() + kMadeTold);
  give(mailboxes, 2);
  CHECK(mailboxes.due() == due);  // starts that come one after another put nothing off
  mailboxes.rest(due - Duration(1));
  CHECK(tell_now(mailboxes).empty());
  SECTION("time") {
    CHECK(tell(mailboxes).size() == 2);
    CHECK(mailboxes.due() == kNever);
    give(mailboxes, 3);
    CHECK(mailboxes.due() > due);
  }
  SECTION("gone") {
    mailboxes.child_gone(key_of(2), 102, 9, true);
    const auto all = tell_now(mailboxes);
    CHECK(all.size() == 3);
    CHECK(std::find(all.begin(), all.end(), "made 2") <
          std::find(all.begin(), all.end(), "gone 2 pid 102 status 9"));
    CHECK(tell(mailboxes).empty());
  }
  SECTION("the end") {
    mailboxes.hasten();
    CHECK(tell_now(mailboxes).size() == 2);
  }
}

TEST_CASE("the death of another main process is told, too") {
  Mailboxes mailboxes;
  give(mailboxes, 1);
  mailboxes.child_gone(key_of(1), 101, 0, true);
  tell(mailboxes);
  mailboxes.child_gone(key_of(1), 777, 9, true);
  CHECK(tell(mailboxes) == Texts{"gone 1 pid 777 status 9"});
}

TEST_CASE("what finds no room is told later, and nothing twice") {
  Mailboxes mailboxes;
  give(mailboxes, 1);
  mailboxes.child_gone(key_of(1), 101, 9, true);
  mailboxes.tree_gone(key_of(1));
  Told told;
  const auto send = [&](const auto& message, const auto& fds) { return told(message, fds); };
  for (std::size_t sent = 0; sent < 3; ++sent) {
    told.room = 0;
    CHECK_FALSE(mailboxes.tell(send));
    told.room = 1;
    CHECK(mailboxes.tell(send) == (sent == 2));
    CHECK(told.all.size() == sent + 1);
  }
  CHECK(told.all == Texts{"made 1", "gone 1 pid 101 status 9", "tree 1"});
}

TEST_CASE("a mailbox that is read is let go once nobody can write to it any more") {
  Mailboxes mailboxes;
  give(mailboxes, 1);
  tell(mailboxes);
  mailboxes.read(key_of(1));
  mailboxes.read(key_of(2));
  CHECK(mailboxes.size() == 1);
  mailboxes.tree_gone(key_of(1));
  mailboxes.read(key_of(1));  // said before it was told
  CHECK(mailboxes.size() == 1);
  tell(mailboxes);
  mailboxes.read(key_of(1));
  CHECK(mailboxes.size() == 0);
  CHECK(mailboxes.lost() == 0);
}

TEST_CASE("beyond the bound the oldest without a process goes, and if there is none, none is made") {
  Mailboxes mailboxes(3);
  for (const std::uint32_t slot : {1U, 2U, 3U}) CHECK(give(mailboxes, slot));
  CHECK_FALSE(give(mailboxes, 4));
  CHECK(give(mailboxes, 2));  // it has one
  CHECK(mailboxes.not_made() == 1);
  CHECK(mailboxes.lost() == 0);
  mailboxes.tree_gone(key_of(3));
  mailboxes.tree_gone(key_of(2));
  tell(mailboxes);
  CHECK(give(mailboxes, 4));
  CHECK(give(mailboxes, 5));
  CHECK_FALSE(give(mailboxes, 6));
  CHECK(mailboxes.lost() == 2);
  CHECK(mailboxes.size() == 3);
  mailboxes.tell_again();
  auto told = tell(mailboxes);
  std::sort(told.begin(), told.end());
  CHECK(told == Texts{"made 1", "made 4", "made 5"});
}

TEST_CASE("the end of a worker without a mailbox is told to each observer, up to a bound") {
  Mailboxes mailboxes;
  mailboxes.tree_gone(key_of(1));
  mailboxes.tree_gone({ServiceId{1}, kBuildSlot, 1, 1});
  give(mailboxes, 2);
  CHECK(tell(mailboxes) == Texts{"made 2", "tree 1"});
  CHECK(tell(mailboxes).empty());
  mailboxes.tree_gone(key_of(3));
  CHECK(tell(mailboxes) == Texts{"tree 3"});
  mailboxes.tell_again();
  CHECK(tell(mailboxes) == Texts{"made 2", "tree 1", "tree 3"});
  for (std::uint32_t slot = 0; slot < kBareTreesMax; ++slot) mailboxes.tree_gone(key_of(100 + slot));
  CHECK(tell(mailboxes).size() == kBareTreesMax);
  mailboxes.tree_gone(key_of(4));
  CHECK(tell(mailboxes) == Texts{"tree 4"});
}

TEST_CASE("mailboxes leave most of the fds to others") {
  CHECK(mailboxes_max() <= kMailboxesMax);
  CHECK(mailboxes_max() > 0);
}

// ---- in the real keeper

TEST_CASE("a claim brings the child's mailbox, and all of its claims the same one") {
  KeeperWorld world;
  world.spawn(0, kIdle, {});
  world.spawn(1, kIdle, {});
  const Granted first = claim(world, 0);
  const Granted second = claim(world, 0);
  const Granted other = claim(world, 1);
  CHECK(first.line.rfind("the role\n", 0) == 0);
  for (const Granted* granted : {&first, &second, &other}) REQUIRE(granted->fds.size() == 2);
  CHECK(os::inode_of(first.fds[0].get()) == os::inode_of(second.fds[0].get()));
  CHECK(os::inode_of(first.fds[0].get()) != os::inode_of(other.fds[0].get()));
  const auto memory = telemetry::MailboxMemory::open(os::UniqueFd(dup(other.fds[0].get())), {});
  REQUIRE(memory);
  CHECK(memory->geometry().instance_id == "instance-1");
  const std::uint64_t one = 1;
  CHECK(write(first.fds[1].get(), &one, sizeof one) == sizeof one);
  std::uint64_t count = 0;
  CHECK(read(second.fds[1].get(), &count, sizeof count) == sizeof count);
}

// Where a line of the keeper's says that the mailbox is; empty if it says nothing.
std::string path_in(const std::string& lines, const std::string& claim) {
  const std::string before = "the role\n{\"v\":1,\"mailbox\":{\"path\":\"";
  const std::string after = "\",\"claim\":" + claim + "}}\n";
  if (lines.rfind(before, 0) != 0 || lines.size() < before.size() + after.size()) return {};
  const std::string rest = lines.substr(before.size());
  if (rest.substr(rest.size() - after.size()) != after) return {};
  return rest.substr(0, rest.size() - after.size());
}

std::uint32_t by_path(const os::UniqueFd& mailbox) {
  std::uint32_t mark = 0;
  REQUIRE(pread(mailbox.get(), &mark, sizeof mark, offsetof(runmain_mailbox, by_path)) == sizeof mark);
  return mark;
}

TEST_CASE("who is to hear it hears the mailbox's path and its number; the reader is woken and told so") {
  KeeperWorld world;
  world.spawn(0, kIdle, {});
  world.spawn(1, kIdle, {});
  const Granted first = claim(world, 0, {}, true, true);
  const os::UniqueFd opened(open(path_in(first.line, "0").c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(opened);
  CHECK(os::inode_of(opened.get()) == os::inode_of(first.fds[0].get()));
  CHECK(by_path(opened) == 1);
  std::uint64_t woken = 0;
  CHECK(read(first.fds[1].get(), &woken, sizeof woken) == sizeof woken);
  CHECK(path_in(claim(world, 0, {}, true, true).line, "1") == path_in(first.line, "0"));
  CHECK(claim(world, 1, {}, false, true).line == "the role\n");
}

TEST_CASE("who is not to hear the mailbox's path hears the role alone, and the reader goes by wakes") {
  KeeperWorld world;
  world.spawn(0, kIdle, {});
  const Granted granted = claim(world, 0);
  CHECK(granted.line == "the role\n");
  CHECK(by_path(granted.fds[0]) == 0);
}

TEST_CASE("a mailbox comes behind all sockets that the line names, or not at all") {
  KeeperWorld world;
  REQUIRE(world.open("http", false).error == 0);
  world.spawn(0, kIdle, {"http"});
  CHECK(claim(world, 0, {"http"}).fds.size() == 3);
  CHECK(claim(world, 0, {"http"}, false).fds.size() == 1);
  CHECK(claim(world, 0, {}, false).fds.empty());
  CHECK(claim(world, 0, {"http", "gone"}).fds.size() == 1);
}

TEST_CASE("a child that is dead or unknown gets no mailbox, but its line") {
  KeeperWorld world;
  world.spawn(0, kIdle, {});
  world.kill_child(0);
  const Granted granted = claim(world, 0);
  CHECK(granted.line == "the role\n");
  CHECK(granted.fds.empty());
  world.spawn(1, kIdle, {});
  world.kill_child(1);
  world.order(ForgetChild{world.key(1)});
  CHECK(claim(world, 1).fds.empty());
}

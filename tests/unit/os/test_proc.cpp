#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "os/linux/pid_cursor.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_list.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

std::vector<pid_t> numbers(pid_t from, pid_t to, pid_t pid_max) {
  std::vector<pid_t> out;
  each_pid_between(from, to, pid_max, [&out](pid_t pid) { out.push_back(pid); });
  return out;
}

}  // namespace

TEST_CASE("pids handed out between two moments are walked in order, also over the wrap") {
  CHECK(numbers(5, 5, 100).empty());
  CHECK(numbers(5, 8, 100) == std::vector<pid_t>{6, 7, 8});
  CHECK(numbers(97, 3, 100) == std::vector<pid_t>{98, 99, 1, 2, 3});
  CHECK(numbers(99, 2, 100) == std::vector<pid_t>{1, 2});
  CHECK(numbers(500, 2, 100) == std::vector<pid_t>{1, 2});  // pid_max was lowered meanwhile
  for (const auto& [from, to] : {std::pair<pid_t, pid_t>{5, 5}, {5, 8}, {97, 3}, {99, 2}, {500, 2}}) {
    CHECK(static_cast<std::size_t>(pids_between(from, to, 100)) == numbers(from, to, 100).size());
  }
}

TEST_CASE("a pid is between two moments exactly when it is walked") {
  for (const auto& [from, to] : {std::pair<pid_t, pid_t>{5, 5}, {5, 8}, {97, 3}, {99, 2}, {0, 99}}) {
    const std::vector<pid_t> walked = numbers(from, to, 100);
    for (pid_t pid = 1; pid < 100; ++pid) {
      CHECK(is_pid_between(pid, from, to) == (std::find(walked.begin(), walked.end(), pid) != walked.end()));
    }
  }
}

TEST_CASE("a mark is covered until the pids may have gone round unseen") {
  const auto at = [](int us) { return Time(std::chrono::microseconds(us)); };
  PidCursor cursor;
  cursor.set_limits(1'000, 64);
  CHECK_FALSE(cursor.covers(PidCursor::Mark{}));
  const auto mark = cursor.look(900, at(0), at(1));
  CHECK(cursor.covers(mark));
  cursor.look(100, at(990), at(999));  // 199 numbers later
  CHECK(cursor.covers(mark));
  cursor.look(800, at(1'900), at(1'901));
  CHECK(cursor.covers(mark));
  SECTION("a whole round, although seen all the way, is too much") {
    cursor.look(901, at(2'000), at(2'001));
    CHECK_FALSE(cursor.covers(mark));
  }
  SECTION("two looks a whole round apart in time") {
    const auto later = cursor.look(800, at(2'000), at(2'001));
    cursor.look(800, at(2'900), at(3'000));
    CHECK_FALSE(cursor.covers(mark));
    CHECK_FALSE(cursor.covers(later));
  }
  SECTION("a look that failed") {
    CHECK_FALSE(cursor.covers(cursor.look(-1, at(2'000), at(2'001))));
    cursor.look(800, at(2'002), at(2'003));
    CHECK_FALSE(cursor.covers(mark));
  }
  SECTION("fewer CPUs need longer for a round") {
    cursor.set_limits(1'000, 2);
    cursor.look(800, at(3'800), at(3'899));
    CHECK(cursor.covers(mark));
    cursor.look(800, at(5'800), at(5'801));
    CHECK_FALSE(cursor.covers(mark));
  }
  SECTION("another pid_max") {
    cursor.set_limits(2'000, 64);
    CHECK_FALSE(cursor.covers(mark));
  }
}

TEST_CASE("a process name cannot forge the state of its process") {
  const std::string rest = " 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 3 0 99";
  const auto plain = parse_stat("12 (cat) S" + rest);
  REQUIRE(plain);
  CHECK(plain->name == "cat");
  CHECK(plain->state == 'S');
  CHECK(plain->threads == 3);
  const auto forged = parse_stat("12 (a) Z 1 (b) R" + rest);
  REQUIRE(forged);
  CHECK(forged->name == "a) Z 1 (b");
  CHECK(forged->state == 'R');
  const auto control = parse_stat("12 (a\n\033[1m) S" + rest);
  REQUIRE(control);
  CHECK(control->name == "a??[1m");
  CHECK_FALSE(parse_stat(""));
  CHECK_FALSE(parse_stat("12 (cat)"));
  CHECK_FALSE(parse_stat("12 )cat( S"));
}

TEST_CASE("only a zombie whose threads are all gone is not living") {
  CHECK((ProcessState{'S', 1, "x"}.living()));
  CHECK((ProcessState{'D', 1, "x"}.living()));
  CHECK((ProcessState{'T', 1, "x"}.living()));
  CHECK_FALSE((ProcessState{'Z', 1, "x"}.living()));
  CHECK_FALSE((ProcessState{'X', 1, "x"}.living()));
  CHECK((ProcessState{'Z', 2, "x"}.living()));
}

TEST_CASE("the state of real processes: ours, a zombie, nobody, and one whose main thread has ended") {
  REQUIRE(process_state(::getpid()));
  CHECK(process_state(::getpid())->living());
  Child zombie = fork_child([] { return 0; });
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(zombie.pid()), &info, WEXITED | WNOWAIT) == 0);
  REQUIRE(process_state(zombie.pid()));
  CHECK_FALSE(process_state(zombie.pid())->living());
  const pid_t pid = zombie.pid();
  zombie.wait();
  CHECK_FALSE(process_state(pid));

  Pipe ready = make_pipe();
  const Child headless = fork_child([&] {
    std::thread([&ready] {
      while (process_state(::getpid())->state != 'Z') std::this_thread::yield();
      if (!write_all(ready.write.get(), "r")) ::_exit(1);
      ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);
    return 0;
  });
  REQUIRE(wait_readable(ready.read.get()));
  CHECK(process_state(headless.pid())->state == 'Z');
  CHECK(process_state(headless.pid())->living());
}

TEST_CASE("the process list is ascending, holds us and our child, and the last pid follows a fork") {
  ProcessList list;
  std::vector<pid_t> pids;
  const auto before = list.last_pid();
  REQUIRE(before.ok());
  const Child child = fork_child([] {
    ::pause();
    return 0;
  });
  const auto after = list.last_pid();
  REQUIRE(after.ok());
  CHECK(pids_between(*before, *after, ProcessList::pid_max()) >= 1);
  CHECK(pids_between(child.pid(), *after, ProcessList::pid_max()) <
        pids_between(*before, *after, ProcessList::pid_max()));
  for (int i = 0; i < 2; ++i) {
    REQUIRE(list.read(pids).ok());
    CHECK(std::is_sorted(pids.begin(), pids.end()));
    CHECK(std::binary_search(pids.begin(), pids.end(), ::getpid()));
    CHECK(std::binary_search(pids.begin(), pids.end(), child.pid()));
  }
}

TEST_CASE("who has a child is told apart from who is alone") {
  const pid_t parent = ::fork();
  if (parent == 0) {
    ::pause();
    ::_exit(0);
  }
  CHECK_FALSE(has_children(parent));
  CHECK(has_children(::getpid()));
  REQUIRE(::kill(parent, SIGKILL) == 0);
  REQUIRE(::waitpid(parent, nullptr, 0) == parent);
  CHECK(has_children(parent));  // nobody tells
  CHECK_FALSE(has_children(::getpid()));
}

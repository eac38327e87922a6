// Holds: git's index.lock in the repository of a watched path.
#include "drive/watch_git.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

struct Repository : Rig {
  Repository() {
    fs::create_directories(folder / ".git");
    fs::create_directories(folder / "src");
    write_file(folder / "src/a.py", "a");
    watch({folder / "src"});
    REQUIRE(rest());
  }
  std::string lock() const { return folder / ".git/index.lock"; }
};

}  // namespace

TEST_CASE("a lock in the repository above the watched path holds while it is there") {
  Repository w;
  write_file(w.lock(), "");
  REQUIRE(w.until([&] { return w.holds.size() == 1; }));
  CHECK(w.holds[0].on);
  CHECK(w.holds[0].service == kWeb);
  write_file(w.folder / "src/a.py", "edited");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.holds.size() == 1);
  fs::rename(w.lock(), w.folder / ".git/index");
  REQUIRE(w.until([&] { return w.holds.size() == 2; }));
  CHECK_FALSE(w.holds[1].on);
}

TEST_CASE("a hold begins before the changes of its batch and ends after them") {
  Repository w;
  std::vector<std::string> order;
  w.watcher = std::make_unique<Watcher>(
      w.loop, w.table,
      WatchCallbacks{[&](core::Changed) { order.emplace_back("changed"); },
                     [&](core::Held h) { order.emplace_back(h.on ? "on" : "off"); }, [](std::string) {}});
  w.watch({w.folder / "src"});
  REQUIRE(w.rest());
  write_file(w.folder / "src/a.py", "1");
  write_file(w.lock(), "");
  REQUIRE(w.until([&] { return order.size() >= 2; }));
  fs::remove(w.lock());
  write_file(w.folder / "src/a.py", "2");
  REQUIRE(w.until([&] { return order.size() >= 4; }));
  CHECK(order == std::vector<std::string>{"on", "changed", "changed", "off"});
}

TEST_CASE("a lock that comes and goes between two turns holds nothing") {
  Repository w;
  write_file(w.lock(), "");
  fs::remove(w.lock());
  REQUIRE(w.rest());
  CHECK(w.holds.empty());
}

TEST_CASE("other files of the repository's folder are neither told nor do they hold") {
  Repository w;
  write_file(w.folder / ".git/HEAD", "ref");
  write_file(w.folder / ".git/config.lock", "x");
  REQUIRE(w.rest());
  CHECK(w.holds.empty());
  CHECK(w.changes.empty());
}

TEST_CASE("a lock that is there at the start holds, an old one is said and does not") {
  Rig w;
  fs::create_directories(w.folder / ".git");
  write_file(w.folder / ".git/index.lock", "");
  SECTION("new") {
    w.watch_folder();
    REQUIRE(w.until([&] { return !w.holds.empty(); }));
    CHECK(w.holds[0].on);
  }
  SECTION("old") {
    run("touch -d '1 minute ago' '" + (w.folder / ".git/index.lock") + "'");
    w.watch_folder();
    REQUIRE(w.until([&] { return w.was_told("index.lock"); }));
    CHECK(w.holds.empty());
    fs::remove(w.folder / ".git/index.lock");
    REQUIRE(w.rest());
    write_file(w.folder / ".git/index.lock", "");
    REQUIRE(w.until([&] { return !w.holds.empty(); }));
  }
}

TEST_CASE("a lock that stays is given up after its time, said once, and may hold anew when it came anew") {
  TempFolder folder;
  GitLocks locks;
  locks.assign({{folder.path(), {kWeb, kApi}}});
  std::vector<std::string> warnings;
  const Time start = os::Loop::now();
  CHECK(locks.update(start, warnings).empty());
  CHECK(locks.next_deadline() == kNever);
  write_file(folder / "index.lock", "");
  CHECK(locks.update(start, warnings).size() == 2);
  CHECK(locks.next_deadline() == start + kLockMax);
  CHECK(locks.update(start + kLockMax - 1ms, warnings).empty());
  const auto off = locks.update(start + kLockMax, warnings);
  REQUIRE(off.size() == 2);
  CHECK_FALSE(off[0].on);
  CHECK(warnings.size() == 1);
  CHECK(locks.next_deadline() == kNever);
  CHECK(locks.update(start + 2 * kLockMax, warnings).empty());
  CHECK(warnings.size() == 1);
  fs::remove(folder / "index.lock");
  CHECK(locks.update(start + 2 * kLockMax, warnings).empty());
  write_file(folder / "index.lock", "");
  CHECK(locks.update(start + 2 * kLockMax, warnings).size() == 2);
}

TEST_CASE("a lock holds for its time also when the wall clock jumps meanwhile") {
  TempFolder folder;
  GitLocks locks;
  locks.assign({{folder.path(), {kWeb}}});
  std::vector<std::string> warnings;
  const Time start = os::Loop::now();
  write_file(folder / "index.lock", "");
  CHECK(locks.update(start, warnings).size() == 1);
  for (const char* when : {"1 hour ago", "next hour"}) {  // by the clock as it is then
    INFO(when);
    run("touch -d '" + std::string(when) + "' '" + (folder / "index.lock") + "'");
    CHECK(locks.update(start + 1s, warnings).empty());
  }
  CHECK(warnings.empty());
  CHECK(locks.update(start + kLockMax, warnings).size() == 1);
}

TEST_CASE("a real git checkout is told within a hold or after it, and holds nothing at its end") {
  Rig w;
  run("cd '" + w.folder.path() +
      "' && git init -q -b main . && git config user.email a@b && git config user.name n && "
      "for i in 1 2 3 4 5; do echo $i > f$i; done && git add . && git commit -qm 1 && git checkout -qb other "
      "&& "
      "for i in 1 2 3; do echo changed > f$i; done && rm f4 && git add -A && git commit -qm 2 && git "
      "checkout -q main");
  w.watch_folder();
  REQUIRE(w.rest());
  run("cd '" + w.folder.path() + "' && git checkout -q other");
  const auto names = w.after_sentinel();
  CHECK(names == Names{"f1", "f2", "f3", "f4"});
  CHECK((w.holds.empty() || !w.holds.back().on));
}

TEST_CASE("the folder of a worktree and of a repository that is made later is found") {
  Rig w;
  fs::create_directories(w.folder / "tree/src");
  fs::create_directories(w.folder / "main/.git/worktrees/tree");
  CHECK(find_git_folder(w.folder / "main/.git") == w.folder / "main/.git");
  CHECK(find_git_folder(w.folder / "tree/src") == find_git_folder(w.folder.path()));
  w.watch({w.folder / "tree"});
  REQUIRE(w.rest());
  write_file(w.folder / "tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
  CHECK(find_git_folder(w.folder / "tree/src") == w.folder / "main/.git/worktrees/tree");
  REQUIRE(w.rest());
  write_file(w.folder / "main/.git/worktrees/tree/index.lock", "");
  REQUIRE(w.until([&] { return w.holds.size() == 1; }));
  fs::remove_all(w.folder / "main");
  REQUIRE(w.until([&] { return w.holds.size() == 2; }));
}

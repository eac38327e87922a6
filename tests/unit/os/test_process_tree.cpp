// Every tree here holds the write end of a pipe in all its processes, so that "all gone" is seen
// independently: the read end is at its end of file.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <thread>

#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;
using namespace std::chrono_literals;

namespace {

constexpr Duration kGuard = 30s;

TagSource& tags() {
  static TagSource source;
  return source;
}

// Orphans come to this process, as they do to the keeper; it reaps whatever died.
class Subreaper {
 public:
  Subreaper() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, &before_);
  }
  ~Subreaper() {
    reap();
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }
  static void reap() {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
  // Until a child died, or 1 ms.
  static void wait() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    const timespec most{0, 1'000'000};
    ::sigtimedwait(&child, nullptr, &most);
    reap();
  }

 private:
  sigset_t before_{};
};

void take_tag(std::uint64_t tag) {
  const struct rlimit limit { tag, tag };
  if (::setrlimit(RLIMIT_RTTIME, &limit) != 0) ::_exit(9);
}

struct Tree {
  std::uint64_t tag = 0;
  Pipe life;
};

// Forks a tagged process that runs `body` with the pipe open; waits until some process of it has written a
// byte.
Tree start_tree(const std::function<void(int pipe)>& body, std::uint64_t tag) {
  Tree tree{tag, make_pipe()};
  const pid_t pid = ::fork();
  if (pid == 0) {
    tree.life.read.reset();
    take_tag(tag);
    body(tree.life.write.get());
    ::_exit(0);
  }
  tree.life.write.reset();
  char c = 0;
  if (::read(tree.life.read.get(), &c, 1) != 1) tree.life.read.reset();
  return tree;
}

[[noreturn]] void say_and_stay(int pipe) {
  if (::write(pipe, "r", 1) != 1) ::_exit(8);
  for (;;) ::pause();
}

void set_sid(int pipe) {
  if (::fork() != 0) return;
  ::setsid();
  say_and_stay(pipe);
}

void double_fork(int pipe) {
  if (::fork() != 0) return;
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  say_and_stay(pipe);
}

void same_group_ignorer(int pipe) {
  if (::fork() != 0) return;
  ::signal(SIGTERM, SIG_IGN);
  say_and_stay(pipe);
}

// Each process forks a child and exits, for ever; a guard ends it should nobody.
[[noreturn]] void fork_chain(int pipe) {
  const Time end = now() + 2 * kGuard;
  for (long link = 0; now() < end; ++link) {
    if (link == 20 && ::write(pipe, "r", 1) != 1) ::_exit(8);
    const pid_t child = ::fork();
    if (child != 0) ::_exit(0);
  }
  ::_exit(0);
}

void four_chains(int pipe) {
  for (int i = 0; i < 4; ++i) {
    if (::fork() == 0) {
      ::setsid();
      fork_chain(pipe);
    }
  }
}

// Kills what has been added; "" when all was proved gone, else the survivors.
std::string settle(TreeKiller& killer) {
  std::string survivors;
  while (!killer.idle()) {
    for (const auto& done : killer.step(now())) {
      for (const std::string& survivor : done.survivors) survivors += survivor + "; ";
    }
    if (!killer.idle()) Subreaper::wait();
  }
  return survivors;
}

std::string kill_tree(const Tree& tree) {
  if (!tree.life.read) return "the tree did not start";
  TreeKiller killer;
  killer.add(tree.tag, now() + kGuard);
  const std::string survivors = settle(killer);
  if (!survivors.empty()) return survivors;
  if (!tagged_processes(tree.tag).empty()) return "a tagged process lives";
  char rest[256];
  while (true) {
    if (at_end(tree.life.read.get())) return "";
    // Bytes of several chains may still be in the pipe.
    const auto said = set_nonblocking(tree.life.read.get(), true);
    if (!said || ::read(tree.life.read.get(), rest, sizeof rest) <= 0) break;
  }
  return at_end(tree.life.read.get()) ? "" : "some process still holds the pipe";
}

void kill_fifty(const std::function<void(int)>& body) {
  const Subreaper subreaper;
  for (int i = 0; i < 50; ++i) {
    const Tree tree = start_tree(body, tags().next());
    const std::string left = kill_tree(tree);
    INFO("round " << i);
    REQUIRE(left == "");
  }
}

// A control group whose processes stand still, whatever signal they get.
class Freezer {
 public:
  Freezer() : usable_(::mkdir(path_.c_str(), 0755) == 0) {}
  ~Freezer() {
    if (!usable_) return;
    write("freezer.state", "THAWED");
    ::rmdir(path_.c_str());
  }
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;
  bool usable() const { return usable_; }
  bool write(const char* file, const char* text) const {
    const UniqueFd fd(::open((path_ + "/" + file).c_str(), O_WRONLY | O_CLOEXEC));
    return fd && write_all(fd.get(), text).ok();
  }
  std::string state() const {
    const auto text = read_file(path_ + "/freezer.state", 100);
    return text ? *text : "";
  }

 private:
  std::string path_ = "/sys/fs/cgroup/freezer/runmain-test-" + std::to_string(::getpid());
  bool usable_;
};

}  // namespace

TEST_CASE("a grandchild with its own session is killed and proved gone, 50 times") { kill_fifty(set_sid); }

TEST_CASE("a double-forked daemon is killed and proved gone, 50 times") { kill_fifty(double_fork); }

TEST_CASE("an orphan in the same group that ignores SIGTERM is killed and proved gone, 50 times") {
  kill_fifty(same_group_ignorer);
}

TEST_CASE("a chain that forks while it is killed is killed and proved gone, 50 times") {
  kill_fifty(fork_chain);
}

TEST_CASE("four fork chains in four sessions are killed and proved gone, 50 times") {
  kill_fifty(four_chains);
}

TEST_CASE("that a tree has gone with its main process is seen from our children, and never wrongly") {
  const Subreaper subreaper;
  const auto none = [](pid_t) { return false; };
  const auto ends = [](int pipe) { (void)!::write(pipe, "r", 1); };
  const Tree bystander = start_tree(double_fork, tags().next());
  for (const auto& body : {std::function<void(int)>(ends), std::function<void(int)>(set_sid),
                           std::function<void(int)>(double_fork), std::function<void(int)>(four_chains)}) {
    for (int i = 0; i < 20; ++i) {
      const Tree tree = start_tree(body, tags().next());
      REQUIRE(tree.life.read);
      bool gone = false;
      for (int look = 0; look < 50 && !gone; ++look) {
        Subreaper::wait();
        gone = is_gone_with_its_main(tree.tag, none);
      }
      if (gone) {
        CHECK(tagged_processes(tree.tag).empty());
        CHECK(kill_tree(tree) == "");
      } else {
        CHECK(kill_tree(tree) == "");
        Subreaper::reap();
        CHECK(is_gone_with_its_main(tree.tag, none));
      }
    }
  }
  CHECK(kill_tree(bystander) == "");
}

TEST_CASE("a zombie with the tag keeps a tree from being seen as gone, another tree's child does not") {
  const Subreaper subreaper;
  const std::uint64_t tag = tags().next();
  const Child zombie = fork_child([tag] {
    take_tag(tag);
    return 0;
  });
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(zombie.pid()), &info, WEXITED | WNOWAIT) == 0);
  const auto none = [](pid_t) { return false; };
  CHECK_FALSE(is_gone_with_its_main(tag, none));
  CHECK(is_gone_with_its_main(tags().next(), none));
  const Child plain = fork_child([] {
    ::pause();
    return 0;
  });
  CHECK_FALSE(is_gone_with_its_main(tags().next(), none));  // without any tag it may be anybody
  CHECK(is_gone_with_its_main(tags().next(), [&](pid_t pid) { return pid == plain.pid(); }));
}

TEST_CASE("one killer serves many trees at once") {
  const Subreaper subreaper;
  std::vector<Tree> trees;
  TreeKiller killer;
  for (int i = 0; i < 30; ++i) {
    trees.push_back(start_tree(i % 6 == 0 ? fork_chain : double_fork, tags().next()));
    REQUIRE(trees.back().life.read);
    killer.add(trees.back().tag, now() + kGuard);
  }
  CHECK(settle(killer) == "");
  for (const Tree& tree : trees) CHECK(at_end(tree.life.read.get()));
}

TEST_CASE("an empty tree is proved in one step") {
  TreeKiller killer;
  killer.add(tags().next(), now() + kGuard);
  const auto done = killer.step(now());
  // A busy machine may hand out pids faster than this process is scheduled; then it takes one more.
  if (done.empty()) {
    CHECK(settle(killer) == "");
  } else {
    CHECK(done.size() == 1);
    CHECK(done[0].survivors.empty());
  }
  CHECK(killer.idle());
}

TEST_CASE("zombies of a tree do not count as living, and are not waited for") {
  const std::uint64_t tag = tags().next();
  const Child zombie = fork_child([tag] {
    take_tag(tag);
    return 0;
  });
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(zombie.pid()), &info, WEXITED | WNOWAIT) == 0);
  CHECK(tag_of(zombie.pid()) == tag);
  CHECK(tagged_processes(tag).empty());
  TreeKiller killer;
  killer.add(tag, now() + kGuard);
  CHECK(settle(killer) == "");
}

TEST_CASE("a process whose main thread has ended is living and is killed") {
  const Subreaper subreaper;
  const Tree tree = start_tree(
      [](int pipe) {
        std::thread([pipe] {
          while (process_state(::getpid())->state != 'Z') std::this_thread::yield();
          say_and_stay(pipe);
        }).detach();
        ::syscall(SYS_exit, 0);
      },
      tags().next());
  REQUIRE(tree.life.read);
  CHECK(tagged_processes(tree.tag).size() == 1);
  CHECK(kill_tree(tree) == "");
}

TEST_CASE("a process with another tag, or none, is untouched") {
  const Subreaper subreaper;
  const Tree ours = start_tree(double_fork, tags().next());
  const Tree other = start_tree(double_fork, tags().next());
  const Child plain = fork_child([] {
    ::pause();
    return 0;
  });
  CHECK(kill_tree(ours) == "");
  CHECK_FALSE(tagged_processes(other.tag).empty());
  CHECK_FALSE(at_end(other.life.read.get()));
  CHECK(process_state(plain.pid())->living());
  CHECK(kill_tree(other) == "");
}

TEST_CASE("without pidfds the trees are killed all the same") {
  const std::string said = in_child(false, [] {
    const Subreaper subreaper;
    if (!forbid_call(SYS_pidfd_open, ENOSYS)) return std::string("seccomp");
    const std::string daemon = kill_tree(start_tree(double_fork, tags().next()));
    return daemon + kill_tree(start_tree(four_chains, tags().next()));
  });
  CHECK(said == "");
}

TEST_CASE("without privileges, processes of others are seen and named as survivors") {
  if (!is_root()) return skip("needs root to start a process of another user");
  const Subreaper subreaper;
  const Tree foreign = start_tree(say_and_stay, tags().next());
  const std::string said = in_child(true, [&foreign] {
    TreeKiller killer;
    killer.add(foreign.tag, now());
    const std::string survivors = settle(killer);
    // Ours are killed meanwhile as ever.
    return survivors + kill_tree(start_tree(fork_chain, tags().next()));
  });
  CHECK(lacks(said, "(belongs to another user); ") == "");
  CHECK(lacks(said, std::to_string(tagged_processes(foreign.tag).at(0)) + " ") == "");
  CHECK(kill_tree(foreign) == "");
}

TEST_CASE("more survivors than can be named are counted") {
  if (!is_root()) return skip("needs root to start processes of another user");
  const Subreaper subreaper;
  const Tree foreign = start_tree(
      [](int pipe) {
        for (std::size_t i = 0; i < kSurvivorsMax + 2; ++i) {
          if (::fork() == 0) {
            for (;;) ::pause();
          }
        }
        say_and_stay(pipe);
      },
      tags().next());
  const std::string said = in_child(true, [&foreign] {
    TreeKiller killer;
    killer.add(foreign.tag, now());
    return settle(killer);
  });
  CHECK(lacks(said, "and 3 more") == "");
  CHECK(kill_tree(foreign) == "");
}

TEST_CASE("a process that cannot die is named with its state") {
  const Freezer freezer;
  if (!freezer.usable()) return skip("needs a version 1 freezer");
  const Subreaper subreaper;
  const Tree tree = start_tree(
      [&freezer](int pipe) {
        if (!freezer.write("cgroup.procs", "0")) ::_exit(7);
        say_and_stay(pipe);
      },
      tags().next());
  REQUIRE(tree.life.read);
  REQUIRE(freezer.write("freezer.state", "FROZEN"));
  while (freezer.state() == "FREEZING\n") std::this_thread::yield();
  REQUIRE(freezer.state() == "FROZEN\n");
  TreeKiller killer;
  killer.add(tree.tag, now() + 30ms);
  const std::string survivors = settle(killer);
  CHECK(freezer.write("freezer.state", "THAWED"));
  CHECK(lacks(survivors, "(uninterruptible, state D)") == "");
  CHECK(kill_tree(tree) == "");
}

TEST_CASE("fork chains are proved gone where the pids wrap all the time") {
  if (!is_root()) return skip("needs root for a pid namespace");
  const std::string said = in_child(false, [] {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return std::string("skip");
    const Child init = fork_child([] {
      if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
          ::mount("proc", "/proc", "proc", 0, nullptr) != 0) {
        return 77;
      }
      const Subreaper subreaper;
      for (int i = 0; i < 50; ++i) {
        // Numbers start anew at 300 after pid_max: the chain is put just before the wrap.
        const UniqueFd last(::open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC));
        const pid_t near = ProcessList::pid_max() - 25 - i;
        if (!last || !write_all(last.get(), std::to_string(near))) return 77;
        if (!kill_tree(start_tree(i % 2 == 0 ? fork_chain : four_chains, tags().next())).empty())
          return 1 + i;
      }
      return 0;
    });
    return std::to_string(WEXITSTATUS(const_cast<Child&>(init).wait()));
  });
  if (said == "skip" || said == "77") return skip("no pid namespace can be made here");
  CHECK(said == "0");
}

TEST_CASE("tags differ, lie in their range, and inside a tagged tree lie below its tag") {
  TagSource one;
  TagSource two;
  const std::uint64_t first = one.next();
  CHECK(one.next() == first - 1);
  CHECK(two.next() != first - 2);
  CHECK(first >= kTagBase);
  CHECK(first < 2 * kTagBase);
  const std::string said = in_child(true, [first] {
    std::uint64_t outer = first;
    for (int level = 0; level < 20; ++level) {
      take_tag(outer);
      if (tag_of(::getpid()) != outer) return std::string("not taken");
      const std::uint64_t inner = TagSource().next();
      if (inner >= outer || inner < kTagBase)
        return std::to_string(inner) + " inside " + std::to_string(outer);
      outer = inner;
    }
    return std::string();
  });
  CHECK(said == "");
}

TEST_CASE("a limit that is no tag is no tag") {
  CHECK(tag_of(::getpid()) == 0);
  const std::string said = in_child(false, [] {
    const struct rlimit small { 200'000, 200'000 };
    if (::setrlimit(RLIMIT_RTTIME, &small) != 0) return std::string("setrlimit");
    return std::to_string(tag_of(::getpid()));
  });
  CHECK(said == "0");
}

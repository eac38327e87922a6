// Who is looked at when a service seems to reload itself, with real processes.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/suspects.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::app;

namespace {

const ServiceId kWeb{0};

// A process with a tag that writes a byte to /dev/null for each one that it is told.
class Writer {
 public:
  explicit Writer(std::uint64_t tag) {
    int in[2], out[2];
    REQUIRE(pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(pipe2(out, O_CLOEXEC) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      const rlimit limit{tag, tag};
      if (setrlimit(RLIMIT_RTTIME, &limit) != 0) _exit(1);
      close(in[1]);
      const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
      char c = 'r';
      do {
        if (c == 'w' && write(null, &c, 1) != 1) _exit(1);
        close(c == 'r' ? out[1] : -1);  // the end of this pipe says that it is there
      } while (read(in[0], &c, 1) == 1);
      _exit(0);
    }
    close(in[0]);
    close(out[1]);
    told_ = in[1];
    char c = 0;
    REQUIRE(read(out[0], &c, 1) == 0);
    close(out[0]);
  }
  ~Writer() {
    close(told_);
    waitpid(pid_, nullptr, 0);
  }
  void write_once() {
    const auto before = os::write_calls(pid_);
    REQUIRE(before);
    REQUIRE(write(told_, "w", 1) == 1);
    while (os::write_calls(pid_) == before) sched_yield();
  }

 private:
  pid_t pid_ = -1;
  int told_ = -1;
};

struct World {
  os::Loop loop;
  std::vector<std::uint64_t> tags;
  bool suspected = true;
  bool at_rest = true;
  int asked = 0;
  Suspects suspects{loop, Suspects::Asks{[this](ServiceId) { return suspected; },
                                         [this] {
                                           ++asked;
                                           return at_rest;
                                         },
                                         [this](ServiceId) { return tags; }}};
  // Turns until somebody has looked once more.
  bool look() {
    const int before = asked;
    for (int i = 0; i < 1000 && asked == before; ++i) loop.turn(std::chrono::milliseconds(10));
    return asked > before;
  }
};

}  // namespace

TEST_CASE("who has not written since the last look is cleared; who has, or has another process, is not") {
  os::TagSource source;
  const std::uint64_t tag = source.next();
  Writer one(tag);
  World w;
  w.tags = {tag};
  CHECK_FALSE(w.suspects.cleared(kWeb));  // nobody has looked
  w.suspects.started(kWeb);
  CHECK_FALSE(w.suspects.cleared(kWeb));
  REQUIRE(w.look());
  CHECK(w.suspects.cleared(kWeb));
  one.write_once();
  CHECK_FALSE(w.suspects.cleared(kWeb));
  REQUIRE(w.look());
  CHECK(w.suspects.cleared(kWeb));
  {
    Writer two(tag);
    CHECK_FALSE(w.suspects.cleared(kWeb));
    REQUIRE(w.look());
    CHECK(w.suspects.cleared(kWeb));
  }
  CHECK_FALSE(w.suspects.cleared(kWeb));
}

TEST_CASE("a process that wrote and ended is missed though nobody has waited for it") {
  os::TagSource source;
  const std::uint64_t tag = source.next();
  Writer one(tag);
  World w;
  w.tags = {tag};
  w.suspects.started(kWeb);
  REQUIRE(w.look());
  const pid_t ended = fork();
  if (ended == 0) {
    const rlimit limit{tag, tag};
    _exit(setrlimit(RLIMIT_RTTIME, &limit) == 0 ? 0 : 1);
  }
  REQUIRE(ended > 0);
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(ended), &info, WEXITED | WNOWAIT) == 0);
  CHECK_FALSE(w.suspects.cleared(kWeb));
  int status = 0;
  REQUIRE(waitpid(ended, &status, 0) == ended);
  CHECK(status == 0);
  CHECK(w.suspects.cleared(kWeb));
}

TEST_CASE("a look while a change is on its way does not count, and the one before it still does") {
  os::TagSource source;
  const std::uint64_t tag = source.next();
  Writer one(tag);
  World w;
  w.tags = {tag};
  w.suspects.started(kWeb);
  w.at_rest = false;
  REQUIRE(w.look());
  CHECK_FALSE(w.suspects.cleared(kWeb));
  w.at_rest = true;
  REQUIRE(w.look());
  w.at_rest = false;
  one.write_once();
  REQUIRE(w.look());
  CHECK_FALSE(w.suspects.cleared(kWeb));
}

TEST_CASE("nobody looks at a service that is not suspected, or no longer") {
  World w;
  w.suspected = false;
  w.suspects.started(kWeb);
  CHECK_FALSE(w.suspects.cleared(kWeb));
  w.suspected = true;
  w.suspects.started(kWeb);
  REQUIRE(w.look());
  CHECK(w.suspects.cleared(kWeb));  // it has no process
  w.suspected = false;
  for (int i = 0; i < 100 && w.suspects.cleared(kWeb); ++i) w.loop.turn(std::chrono::milliseconds(10));
  CHECK_FALSE(w.suspects.cleared(kWeb));
}

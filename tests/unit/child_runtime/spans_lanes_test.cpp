// Lanes: threads that come and go, more threads than lanes, full rings, forks, signals, and the reader's
// wake-up.
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

void make_span(const char* name = "work") { const auto span = runmain::start_as_current_span(name); }

void in_thread(const std::function<void()>& body) { std::thread(body).join(); }

}  // namespace

TEST_CASE("a thread that ends closes its lane, and a freed one is taken again") {
  TestMailbox mailbox({3, 1, 64U << 10U, 16384, 16});
  Child child([&] {
    attach(mailbox);
    in_thread([] { make_span("first"); });
    in_thread([] { make_span("second"); });
    if (mailbox.in_state(RUNMAIN_LANE_CLOSED) != 2) return std::string("not closed");
    if (mailbox.read_all().size() != 2) return std::string("not there");
    mailbox.free_lane(0);
    in_thread([] { make_span("third"); });
    const auto spans = mailbox.read_lane(0);
    if (spans.size() != 1 || spans[0].name != "third") return std::string("not taken again");
    return "round " + std::to_string(mailbox.lane(0).round);
  });
  CHECK(child.finish() == "round 2");
  CHECK(mailbox.torn == 0);
  CHECK(mailbox.lane(0).started == 2);  // goes on
  CHECK(mailbox.dictionary(0).size() == 2);
}

TEST_CASE("threads beyond the lanes share one, and lose nothing") {
  TestMailbox mailbox({4, 2, 1U << 20U, 16384, 64});
  constexpr int kThreads = 10;
  constexpr int kSpans = 200;
  const auto spans = spans_of(mailbox, [] {
    std::vector<std::thread> threads;
    std::atomic<int> here{0};
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        make_span();
        ++here;
        while (here < kThreads) std::this_thread::yield();
        for (int i = 1; i < kSpans; ++i) {
          auto span = runmain::start_as_current_span("work");
          span.set_attribute("id", std::to_string(t) + "/" + std::to_string(i));
        }
      });
    }
    for (std::thread& t : threads) t.join();
  });
  CHECK(mailbox.torn == 0);
  CHECK(spans.size() == kThreads * kSpans);
  std::set<std::string> ids;
  for (const otlp::Span& span : spans) ids.insert(span.get("id"));
  CHECK(ids.size() == kThreads * (kSpans - 1) + 1);
  CHECK(mailbox.lane(2).started + mailbox.lane(3).started >= 8 * kSpans);
  CHECK(mailbox.ended() == kThreads * kSpans);
  CHECK(mailbox.open_names().empty());
}

TEST_CASE("without any lane spans are counted as such") {
  TestMailbox mailbox({2, 1, 64U << 10U, 16384, 16});
  mailbox.lane(0).state = mailbox.lane(1).state = RUNMAIN_LANE_TAKEN;
  CHECK(spans_of(mailbox, [] {
          for (int i = 0; i < 5; ++i) make_span();
        }).empty());
  CHECK(mailbox.header().no_lane == 5);
}

TEST_CASE("a full ring drops and counts exactly, and goes on when there is room") {
  TestMailbox mailbox({2, 1, 4096, 16384, 16});
  std::vector<otlp::Span> spans;
  Child child([&] {
    attach(mailbox);
    for (int i = 0; i < 100; ++i) {
      auto span = runmain::start_span("work");
      span.set_attribute("number", i);
    }
    const std::size_t first = mailbox.read_all().size();
    for (int i = 0; i < 10; ++i) make_span("after");
    const std::size_t second = mailbox.read_all().size();
    return std::to_string(first) + " " + std::to_string(second);
  });
  const std::string text = child.finish();
  const auto first = std::stoul(text);
  CHECK(first > 10);
  CHECK(first < 40);
  CHECK(text.substr(text.find(' ') + 1) == "10");
  CHECK(mailbox.lost(RUNMAIN_LOST_FULL) == 100 - first);
  CHECK(mailbox.started() == 110);
  CHECK(mailbox.ended() == 110);
  CHECK(mailbox.torn == 0);
}

TEST_CASE("records of every size go round the ring") {
  TestMailbox mailbox({2, 1, 8192, 16384, 16});
  Child child([&] {
    attach(mailbox);
    std::size_t read = 0;
    for (std::size_t i = 0; i < 3000; ++i) {
      {
        auto span = runmain::start_span("work");
        span.set_attribute("filler", std::string(i % 997, 'x'));
      }
      for (const otlp::Span& span : mailbox.read_all()) read += span.get("filler").size() == i % 997 ? 1 : 0;
    }
    return std::to_string(read) + "/" + std::to_string(mailbox.torn);
  });
  CHECK(child.finish() == "3000/0");
}

TEST_CASE("a span that is larger than the ring is lost and counted") {
  TestMailbox mailbox({2, 1, 8192, 16384, 16});
  CHECK(spans_of(mailbox, [] {
          auto span = runmain::start_span("work");
          span.set_attribute("filler", std::string(20'000, 'x'));
        }).empty());
  CHECK(mailbox.lost(RUNMAIN_LOST_FULL) == 1);
}

TEST_CASE("more open spans than slots are recorded all the same") {
  TestMailbox mailbox({2, 1, 1U << 20U, 16384, 4});
  Child child([&] {
    attach(mailbox);
    std::vector<runmain::Span> spans;
    for (int i = 0; i < 10; ++i) spans.push_back(runmain::start_span("work"));
    const std::string open = std::to_string(mailbox.open_names().size());
    spans.clear();
    for (int i = 0; i < 4; ++i) spans.push_back(runmain::start_span("again"));
    return open + "/" + std::to_string(mailbox.open_names().size());
  });
  CHECK(child.finish() == "4/4");
  CHECK(mailbox.read_all().size() == 14);
  CHECK(mailbox.lane(0).open_full == 6);
}

TEST_CASE("a slot is free again when its span ends on another thread, also after its own thread's end") {
  TestMailbox mailbox({3, 1, 1U << 20U, 16384, 4});
  Child child([&] {
    attach(mailbox);
    std::string text;
    std::vector<runmain::Span> spans;
    in_thread([&] {
      for (int i = 0; i < 4; ++i) spans.push_back(runmain::start_span("handed over"));
    });
    // The lane of a thread with open spans is not closed: their slots are in it.
    text += std::to_string(mailbox.in_state(RUNMAIN_LANE_CLOSED)) + " ";
    text += std::to_string(mailbox.open_names().size()) + " ";
    make_span("mine");
    spans.clear();
    text += std::to_string(mailbox.open_names().size()) + " ";
    // The next thread goes on with the lane, and finds its slots.
    in_thread([&] {
      for (int i = 0; i < 4; ++i) spans.push_back(runmain::start_span("again"));
      text += std::to_string(mailbox.open_names().size()) + " ";
      spans.clear();
    });
    return text + std::to_string(mailbox.in_state(RUNMAIN_LANE_CLOSED));
  });
  CHECK(child.finish() == "0 4 0 4 1");
  CHECK(mailbox.read_all().size() == 9);
  CHECK(mailbox.started() == 9);
  CHECK(mailbox.ended() == 9);
}

TEST_CASE("a forked child gets a lane and ids of its own, and its parent's open spans are disowned in it") {
  TestMailbox mailbox({6, 1, 1U << 20U, 16384, 16});
  Child child([&] {
    attach(mailbox);
    auto open = runmain::start_as_current_span("parent's");
    const std::string parent_id = otlp::hex({reinterpret_cast<const char*>(open.span_context().span_id), 8});
    const pid_t pid = fork();
    if (pid == 0) {
      if (open.is_recording()) _exit(1);
      open.set_attribute("from", "the child");
      open.update_name("the child's");
      for (int n = 0; n < 100; ++n) open.set_attribute("child." + std::to_string(n), std::string(100, 'x'));
      if (!attach(mailbox)) _exit(2);
      {
        auto own = runmain::start_as_current_span("child's");
        if (!own.is_recording()) _exit(3);
        own.set_attribute("parent", parent_id);
      }
      open.end();
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    make_span("after");
    open.set_attribute("from", "the parent");
    return std::to_string(WEXITSTATUS(status));
  });
  CHECK(child.finish() == "0");
  CHECK(mailbox.torn == 0);
  const auto first = mailbox.read_lane(0);
  const auto second = mailbox.read_lane(1);
  REQUIRE(first.size() == 2);
  REQUIRE(second.size() == 1);
  CHECK(first[1].get("from") == "the parent");
  CHECK(first[1].name == "parent's");
  CHECK(second[0].name == "child's");
  CHECK(second[0].parent == second[0].get("parent"));
  CHECK(second[0].span_id != first[0].span_id);
  CHECK(mailbox.lane(0).pid != mailbox.lane(1).pid);
  CHECK(mailbox.dictionary(0).at(0) != mailbox.dictionary(1).at(0));
}

TEST_CASE("without a mailbox of its own a forked child records nothing") {
  TestMailbox mailbox;
  Child child([&] {
    attach(mailbox);
    make_span();
    const pid_t pid = fork();
    if (pid == 0) {
      make_span("not to be seen");
      _exit(runmain_telemetry_on());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return std::to_string(status);
  });
  CHECK(child.finish() == "0");
  CHECK(mailbox.read_all().size() == 1);
}

#if !defined(__SANITIZE_THREAD__)  // which knows no other fork than fork()
// As a server in C forks, whose language's own hooks never hear of it.
TEST_CASE(
    "a child of _Fork or of a bare clone, which run no hooks, has a lane of its own and nothing of its "
    "parent's") {
  pid_t (*const ways[])() = {
      [] { return _Fork(); },
      [] { return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)); }};
  for (const auto fork_without_hooks : ways) {
    TestMailbox mailbox;
    Child child([&] {
      attach(mailbox);
      auto open = runmain::start_as_current_span("parent's");
      const pid_t pid = fork_without_hooks();
      if (pid == 0) {
        if (runmain_telemetry_on() != 0 || open.is_recording()) _exit(1);
        if (!attach(mailbox)) _exit(2);
        make_span("child's");
        open.end();
        _exit(0);
      }
      int status = -1;
      waitpid(pid, &status, 0);
      return std::to_string(status);
    });
    CHECK(child.finish() == "0");
    CHECK(mailbox.torn == 0);
    const auto first = mailbox.read_lane(0);
    const auto second = mailbox.read_lane(1);
    REQUIRE(first.size() == 1);
    REQUIRE(second.size() == 1);
    CHECK(first[0].name == "parent's");
    CHECK(second[0].name == "child's");
    CHECK(second[0].span_id != first[0].span_id);
    CHECK(mailbox.lane(0).pid != mailbox.lane(1).pid);
  }
}
#endif

// Sanitizers hold locks of their own across a fork beside threads, and TSan does not know that a fork wipes.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST_CASE("forks beside threads in the middle of spans leave both sides whole") {
  TestMailbox mailbox({40, 8, 1U << 20U, 16384, 16});
  constexpr int kForks = 20;
  Child child([&] {
    attach(mailbox);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2000 && !stop; ++i) {
          auto span = runmain::start_as_current_span("busy");
          span.set_attribute("key", std::string(300, 'x'));
          span.set_attribute("key", std::string(301, 'y'));
        }
      });
    }
    int good = 0;
    for (int i = 0; i < kForks; ++i) {
      const pid_t pid = fork();
      if (pid == 0) {
        if (!attach(mailbox)) _exit(1);
        make_span("forked");
        in_thread([] { make_span("forked"); });
        _exit(0);
      }
      int status = -1;
      waitpid(pid, &status, 0);
      good += status == 0 ? 1 : 0;
    }
    stop = true;
    for (std::thread& t : threads) t.join();
    return std::to_string(good);
  });
  CHECK(child.finish() == std::to_string(kForks));
  int forked = 0;
  std::set<std::string> ids;
  const auto spans = mailbox.read_all();
  for (const otlp::Span& span : spans) {
    forked += span.name == "forked" ? 1 : 0;
    ids.insert(span.span_id);
  }
  CHECK(mailbox.torn == 0);
  CHECK(forked == 2 * kForks);
  CHECK(ids.size() == spans.size());
}
#endif

TEST_CASE("a spawned program shares no lane") {
  TestMailbox mailbox;
  Child child([&] {
    attach(mailbox);
    auto span = runmain::start_as_current_span("spawns");
    pid_t pid = -1;
    char program[] = "/bin/sh";
    char option[] = "-c";
    char script[] = "ls -l /proc/self/fd | grep -c 'memfd\\|eventfd'; true";
    char* argv[] = {program, option, script, nullptr};
    int ends[2];
    if (pipe(ends) != 0) return std::string("no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (posix_spawn(&pid, program, &actions, nullptr, argv, environ) != 0) return std::string("not spawned");
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    waitpid(pid, &status, 0);
    char answer[16] = {};
    (void)!read(ends[0], answer, sizeof answer - 1);
    span.set_attribute("fds", answer);
    return std::string(answer);
  });
  CHECK(child.finish() == "0\n");
  CHECK(mailbox.read_all().size() == 1);
  CHECK(mailbox.in_state(RUNMAIN_LANE_TAKEN) == 1);
}

namespace {

std::atomic<int> g_handled{0};
void make_span_in_handler(int) {
  make_span("handler");
  ++g_handled;
}

}  // namespace

TEST_CASE("a signal handler's spans are recorded, or counted where they hit another one's start or end") {
  TestMailbox mailbox({2, 1, 4U << 20U, 16384, 16});
  Child child([&] {
    attach(mailbox);
    make_span("first");
    struct sigaction action {};
    action.sa_handler = make_span_in_handler;
    sigaction(SIGALRM, &action, nullptr);
    const itimerval often{{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &often, nullptr);
    int made = 1;
    while (g_handled < 300) {
      auto span = runmain::start_as_current_span("work");
      span.set_attribute("key", "value");
      ++made;
      if (made % 1000 == 0) mailbox.lane(0).read = mailbox.lane(0).write;
    }
    const itimerval off{};
    setitimer(ITIMER_REAL, &off, nullptr);
    const runmain_lane& lane = mailbox.lane(0);
    const auto all = static_cast<std::uint64_t>(made + g_handled);
    if (lane.started != all || lane.ended != all) return std::string("counted wrongly");
    return std::string(lane.lost[RUNMAIN_LOST_REENTRANT] > 0 ? "some hit" : "none hit");
  });
  const std::string text = child.finish();
  CHECK((text == "some hit" || text == "none hit"));
  mailbox.read_all();
  CHECK(mailbox.torn == 0);
  CHECK(mailbox.open_names().empty());
}

TEST_CASE("the reader is woken once, if it sleeps") {
  TestMailbox mailbox;
  Child child([&] {
    attach(mailbox);
    const auto woken = [&] {
      std::uint64_t n = 0;
      return read(mailbox.wake(), &n, sizeof n) == sizeof n ? n : 0;
    };
    make_span();
    std::string text = std::to_string(woken());
    mailbox.header().asleep = 1;
    make_span();
    make_span();
    text += std::to_string(woken()) + std::to_string(mailbox.header().asleep);
    return text;
  });
  CHECK(child.finish() == "010");
}

TEST_CASE("a wake fd that has become another file is not written to") {
  TestMailbox mailbox;
  Child child([&] {
    attach(mailbox);
    make_span();
    int ends[2];
    if (pipe(ends) != 0) return std::string("no pipe");
    for (int fd = 100; fd < 140; ++fd) {
      if (fcntl(fd, F_GETFD) >= 0) dup2(ends[1], fd);
    }
    mailbox.header().asleep = 1;
    make_span();
    pollfd p{ends[0], POLLIN, 0};
    return std::to_string(poll(&p, 1, 0));
  });
  CHECK(child.finish() == "0");
}

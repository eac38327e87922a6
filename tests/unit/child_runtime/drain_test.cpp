// The drain, requests in flight, and a channel that misbehaves after the grant.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "child_runtime/child_runtime.hpp"
#include "fakes.hpp"
#include "support/catch.hpp"

using namespace fakes;

namespace {

const std::string kDrainLine = "{\"v\":1,\"drain\":{\"budget_ms\":1500}}\n";

// A process with a granted claim, and the supervisor's end of its channel.
struct Granted {
  Channel channel;
  Child child;
  Peer peer;

  explicit Granted(const std::function<std::string()>& body)
      : child([&] {
          supervise(channel.name());
          return runmain::serve() ? body() : "no claim";
        }),
        peer(channel.accept()) {
    peer.line();
    peer.send(role_line());
  }
};

// Waits for the supervisor's word and reads it.
int dispatch_when_told() {
  return wait_for(runmain::channel_fd(), POLLIN) ? runmain::dispatch() : -ETIMEDOUT;
}

void dispatch_until_closed() {
  while (runmain::channel_fd() >= 0 && dispatch_when_told() >= 0) {
  }
}

}  // namespace

TEST_CASE("a drain over the channel calls back once, with the supervisor's patience") {
  Granted g([] {
    std::string told;
    runmain::on_drain(
        [&](std::chrono::milliseconds budget) { told += std::to_string(budget.count()) + " "; });
    const bool before = runmain::draining();
    runmain::ready();
    for (int heard = 0; heard < 2;) heard += dispatch_when_told();
    runmain::drain_requested_by_signal();
    return told + (before ? "early" : "then draining");
  });
  CHECK(g.peer.line() == R"({"v":1,"ready":true})");
  CHECK(g.peer.send(kDrainLine));
  CHECK(g.peer.send(kDrainLine));
  CHECK(g.child.finish() == "1500 then draining");
}

TEST_CASE("a callback that comes after the drain is called at once") {
  Child child([] {
    runmain::drain_requested_by_signal();
    std::string told = "not";
    runmain::on_drain([&](std::chrono::milliseconds budget) { told = std::to_string(budget.count()); });
    return told;
  });
  CHECK(child.finish() == "0");
}

TEST_CASE("the last request to end after a drain says drained, with the counts") {
  Granted g([] {
    { const runmain::InFlight earlier; }
    std::optional<runmain::InFlight> a(std::in_place);
    std::optional<runmain::InFlight> b(std::in_place);
    runmain::on_drain([&](std::chrono::milliseconds) { a.reset(); });
    runmain::drain_requested_by_signal();
    runmain::status("one is left");
    b.reset();
    runmain::drained();
    return std::string();
  });
  CHECK(g.peer.line() == R"({"v":1,"status":"one is left"})");
  CHECK(g.peer.line() == R"({"v":1,"requests":{"done":3,"in_flight":0}})");
  CHECK(g.peer.line() == R"({"v":1,"drained":true})");
  CHECK(g.peer.line() == "closed");
  CHECK(g.child.finish().empty());
}

TEST_CASE("requests that end are reported by themselves, once a second at most") {
  Granted g([] {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const auto enough = begin + std::chrono::milliseconds(RUNMAIN_REPORT_MS + 500);
    while (Clock::now() < enough) runmain::InFlight{};
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
    return std::to_string(took.count());
  });
  long reports = 0;
  std::string line;
  while ((line = g.peer.line()).starts_with(R"({"v":1,"requests":{"done":)")) ++reports;
  CHECK(line == "closed");
  CHECK(reports >= 1);
  CHECK(reports * RUNMAIN_REPORT_MS <= std::stol(g.child.finish()));
}

TEST_CASE("drained is not said while the callback has not returned") {
  Granted g([] {
    runmain::on_drain([](std::chrono::milliseconds) {
      { const runmain::InFlight last; }
      runmain::status("still accepting");
    });
    runmain::drain_requested_by_signal();
    return std::string();
  });
  CHECK(g.peer.line() == R"({"v":1,"status":"still accepting"})");
  CHECK(g.peer.line() == R"({"v":1,"requests":{"done":1,"in_flight":0}})");
  CHECK(g.peer.line() == R"({"v":1,"drained":true})");
  CHECK(g.child.finish().empty());
}

TEST_CASE("a program that counts no requests says drained by itself") {
  Granted g([] {
    runmain::drain_requested_by_signal();
    runmain::status("finishing");
    return std::string(runmain::drained() ? "said" : "failed");
  });
  CHECK(g.peer.line() == R"({"v":1,"status":"finishing"})");
  CHECK(g.peer.line() == R"({"v":1,"requests":{"done":0,"in_flight":0}})");
  CHECK(g.peer.line() == R"({"v":1,"drained":true})");
  CHECK(g.child.finish() == "said");
}

TEST_CASE("requests of many threads are counted and drained is said once, when the last has ended") {
  constexpr int kThreads = 8;
  constexpr int kRequests = 5000;
  Granted g([] {
    std::optional<runmain::InFlight> first(std::in_place);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < kRequests; ++i) const runmain::InFlight request;
      });
    }
    runmain::drain_requested_by_signal();
    for (std::thread& t : threads) t.join();
    const auto before = runmain::counters();
    first.reset();
    const auto after = runmain::counters();
    return std::to_string(before.in_flight) + " " + std::to_string(after.in_flight) + " " +
           std::to_string(after.done);
  });
  CHECK(g.peer.line() == R"({"v":1,"requests":{"done":40001,"in_flight":0}})");
  CHECK(g.peer.line() == R"({"v":1,"drained":true})");
  CHECK(g.peer.line() == "closed");
  CHECK(g.child.finish() == "1 0 " + std::to_string(kThreads * kRequests + 1));
}

TEST_CASE("a drain among ending requests of many threads is never left unsaid") {
  for (int round = 0; round < 20; ++round) {
    Granted g([] {
      std::atomic<bool> go{false};
      std::vector<std::thread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&go] {
          const runmain::InFlight request;
          while (!go.load()) std::this_thread::yield();
        });
      }
      while (runmain::counters().in_flight < 4) std::this_thread::yield();
      std::thread draining([&go] {
        go = true;
        runmain::drain_requested_by_signal();
      });
      for (int i = 0; i < 50; ++i) runmain::status("noise that holds the lock");
      for (std::thread& t : threads) t.join();
      draining.join();
      return std::string();
    });
    int drained = 0;
    for (std::string line = g.peer.line(); line != "closed" && line != "timeout"; line = g.peer.line()) {
      drained += line == R"({"v":1,"drained":true})" ? 1 : 0;
    }
    CHECK(drained == 1);
    CHECK(g.child.finish().empty());
  }
}

TEST_CASE("an end without a begin, or with a ticket from before a fork, counts nothing") {
  Child child([] {
    const std::uint32_t ticket = runmain_request_begin();
    runmain_request_end(ticket + 1);
    const pid_t forked = fork();
    if (forked == 0) {
      runmain_request_end(ticket);
      const auto c = runmain::counters();
      _exit(c.in_flight == 0 && c.done == 0 ? 0 : 1);
    }
    int status = 0;
    waitpid(forked, &status, 0);
    runmain_request_end(ticket);
    runmain_request_end(ticket);
    const auto c = runmain::counters();
    return std::to_string(status) + " " + std::to_string(c.in_flight) + " " + std::to_string(c.done);
  });
  CHECK(child.finish() == "0 0 1");
}

TEST_CASE("a guard that was moved ends its request once") {
  Child child([] {
    {
      runmain::InFlight a;
      runmain::InFlight b(std::move(a));
      runmain::InFlight c;
      c = std::move(b);
    }
    const auto c = runmain::counters();
    return std::to_string(c.in_flight) + " " + std::to_string(c.done);
  });
  CHECK(child.finish() == "0 2");
}

TEST_CASE("a supervisor that does not read blocks nothing: lines are dropped and counted") {
  Granted g([] {
    const std::string text(400, 'x');
    int sent = 0;
    while (runmain_status(text.c_str()) != -ENOBUFS) ++sent;
    runmain_status(text.c_str());
    runmain::drain_requested_by_signal();
    for (int i = 0; i < 100'000; ++i) const runmain::InFlight request;
    const auto c = runmain::counters();
    return std::string(sent > 10 ? "many " : "few ") + std::to_string(c.done) + " done, dropped " +
           (c.dropped_lines >= 2 && c.dropped_lines <= 4 ? "few" : std::to_string(c.dropped_lines));
  });
  CHECK(g.child.finish() == "many 100000 done, dropped few");
}

TEST_CASE("what a slow supervisor has not taken is sent whole and in order when it reads on") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  Granted g([&] {
    int sent = 0;
    while (runmain_status(std::to_string(sent).c_str()) == 0) ++sent;
    if (write(ends[1], &sent, sizeof sent) != sizeof sent) return std::string("pipe");
    dispatch_until_closed();
    return std::to_string(sent);
  });
  REQUIRE(wait_for(ends[0], POLLIN));
  int sent = 0;
  REQUIRE(read(ends[0], &sent, sizeof sent) == sizeof sent);
  int next = 0;
  while (next < sent && g.peer.line() == "{\"v\":1,\"status\":\"" + std::to_string(next) + "\"}") {
    // Reading makes room; a word of ours wakes the child, which then sends on.
    if (++next % 50 == 0) g.peer.send(kDrainLine);
  }
  CHECK(sent > 100);
  CHECK(next == sent);
  g.peer.hang_up();
  CHECK(g.child.finish() == std::to_string(sent));
  close(ends[0]);
  close(ends[1]);
}

TEST_CASE("a channel that closes leaves the role, and what must be told goes to NOTIFY_SOCKET") {
  Notify notify;
  Channel channel;
  Child child([&] {
    setenv("NOTIFY_SOCKET", notify.name().c_str(), 1);
    supervise(channel.name());
    runmain::serve();
    dispatch_until_closed();
    std::string text = runmain::serving() ? "serving " : "idle ";
    text += runmain::channel_fd() == -1 && runmain::dispatch() == -ENOTCONN ? "closed " : "open ";
    text += runmain::ready() ? "told" : "lost";
    return text + (runmain::drained() ? "?" : "");
  });
  Peer peer = channel.accept();
  peer.line();
  peer.send(role_line());
  peer.hang_up();
  CHECK(child.finish() == "serving closed told");
  CHECK(notify.message() == "READY=1");
}

TEST_CASE("a channel that died unseen raises no SIGPIPE, and ready still gets through") {
  Notify notify;
  Channel channel;
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  Child child([&] {
    setenv("NOTIFY_SOCKET", notify.name().c_str(), 1);
    supervise(channel.name());
    runmain::serve();
    wait_for(ends[0], POLLIN);
    return std::to_string(runmain_drained()) + (runmain::ready() ? " told" : " lost");
  });
  Peer peer = channel.accept();
  peer.line();
  peer.send(role_line());
  peer.hang_up();
  REQUIRE(write(ends[1], "x", 1) == 1);
  CHECK(child.finish() == std::to_string(-EPIPE) + " told");
  CHECK(notify.message() == "READY=1");
  close(ends[0]);
  close(ends[1]);
}

TEST_CASE("garbage on the channel is counted, stray fds are closed, an endless line ends it") {
  Granted g([] {
    const int before = open_fds();
    runmain::ready();
    dispatch_until_closed();
    std::string text = open_fds() == before - 1 ? "no leak " : "leak ";
    text += runmain::draining() ? "draining " : "quiet ";
    return text + std::to_string(runmain::counters().ignored_lines) + (runmain::serving() ? " serving" : "");
  });
  const Fd stray = listen_tcp();
  CHECK(g.peer.line() == R"({"v":1,"ready":true})");
  CHECK(g.peer.send("\n{\"v\":1}\n" + role_line(), {stray.get(), stray.get()}));
  CHECK(g.peer.send(std::string(5000, 'x')));
  CHECK(g.child.finish() == "no leak quiet 3 serving");
}

TEST_CASE("the library's own thread hears the drain") {
  Granted g([] {
    std::atomic<int> told{0};
    std::atomic<bool> elsewhere{false};
    const auto here = std::this_thread::get_id();
    runmain::on_drain([&](std::chrono::milliseconds) {
      elsewhere = std::this_thread::get_id() != here;
      ++told;
      told.notify_one();
    });
    if (!runmain::start_listener_thread() || !runmain::start_listener_thread())
      return std::string("no thread");
    runmain::ready();
    told.wait(0);
    return std::to_string(told.load()) + (elsewhere ? " elsewhere" : " here");
  });
  CHECK(g.peer.line() == R"({"v":1,"ready":true})");
  CHECK(g.peer.send(kDrainLine));
  CHECK(g.child.finish() == "1 elsewhere");
}

// A claim whose role comes with a mailbox, and the claims of first spans.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>
#include <thread>

#include "child_runtime/child_runtime.hpp"
#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

// The answer to a claim, with "mailbox":true.
std::string role_with_mailbox(const std::string& listeners = "[]") {
  std::string line = role_line(listeners);
  line.insert(line.size() - 3, R"(,"mailbox":true)");
  return line;
}

// "granted on 1 sockets 2 fds": what a claim has made of this process.
std::string claim_here(const Channel& channel) {
  supervise(channel.name());
  runmain::serving();
  const int before = open_fds();
  const bool granted = static_cast<bool>(runmain::serve());
  const bool on = runmain_telemetry_on() != 0;
  { const auto span = runmain::start_span("work"); }
  return std::string(granted ? "granted" : "not granted") + (on ? " on " : " off ") +
         std::to_string(runmain::listeners().size()) + " sockets " + std::to_string(open_fds() - before) +
         " fds";
}

// The same, with this answer.
std::string claimed_with(const std::string& answer, const std::vector<int>& fds) {
  Channel channel;
  Child child([&] { return claim_here(channel); });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(answer, fds));
  return child.finish();
}

}  // namespace

TEST_CASE("a granted claim brings a mailbox which is there before serve returns") {
  TestMailbox mailbox;
  CHECK(claimed_with(role_with_mailbox(), {mailbox.memfd(), mailbox.wake()}) ==
        "granted on 0 sockets 3 fds");  // with the channel
  const auto spans = mailbox.read_all();
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].name == "work");
  CHECK(otlp::read_attributes(mailbox.dictionary(0).at(0), 1).get("service.instance.id") == "i-1");
}

TEST_CASE("a mailbox is behind the sockets that the line names and what else comes is closed") {
  TestMailbox mailbox;
  const Fd http = listen_tcp();
  const std::string line = role_with_mailbox(R"([{"name":"http","address":"a","kind":"tcp"}])");
  CHECK(claimed_with(line, {http.get(), mailbox.memfd(), mailbox.wake(), http.get(), http.get()}) ==
        "granted on 1 sockets 4 fds");
  CHECK(mailbox.read_all().size() == 1);
}

TEST_CASE("a claim goes on without a mailbox where none or only half of one comes") {
  TestMailbox mailbox;
  const Fd http = listen_tcp();
  const std::string named = R"([{"name":"http","address":"a","kind":"tcp"}])";
  CHECK(claimed_with(role_with_mailbox(), {}) == "granted off 0 sockets 1 fds");
  CHECK(claimed_with(role_with_mailbox(), {mailbox.memfd()}) == "granted off 0 sockets 1 fds");
  CHECK(claimed_with(role_with_mailbox(named), {http.get()}) == "granted off 1 sockets 2 fds");
  CHECK(claimed_with(role_with_mailbox(named), {http.get(), mailbox.memfd()}) ==
        "granted off 1 sockets 2 fds");
}

TEST_CASE("fds that the line does not call a mailbox are closed") {
  TestMailbox mailbox;
  CHECK(claimed_with(role_line(), {mailbox.memfd(), mailbox.wake()}) == "granted off 0 sockets 1 fds");
}

TEST_CASE("a mailbox that is none leaves the role as it is") {
  const Fd file(open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(claimed_with(role_with_mailbox(), {file.get(), file.get()}) == "granted off 0 sockets 1 fds");
}

TEST_CASE("64 sockets and a mailbox come with one claim") {
  TestMailbox mailbox;
  std::string listeners = R"({"name":"a"})";
  for (int i = 1; i < 64; ++i) listeners += R"(,{"name":"a"})";
  const Fd http = listen_tcp();
  std::vector<int> fds(64, http.get());
  fds.insert(fds.end(), {mailbox.memfd(), mailbox.wake()});
  CHECK(claimed_with(role_with_mailbox("[" + listeners + "]"), fds) == "granted on 64 sockets 67 fds");
}

TEST_CASE("a forked child that claims has lanes of its own in the same mailbox") {
  TestMailbox mailbox;
  Channel channel;
  Child child([&] {
    std::string text = claim_here(channel);
    const pid_t forked = fork();
    if (forked == 0) {
      { const auto span = runmain::start_span("claims"); }
      { const auto span = runmain::start_span("forked"); }
      _exit(runmain_telemetry_on());
    }
    int status = 0;
    waitpid(forked, &status, 0);
    { const auto span = runmain::start_span("again"); }
    return text + " " + std::to_string(WEXITSTATUS(status));
  });
  for (int i = 0; i < 2; ++i) {
    Peer peer = channel.accept();
    peer.line();
    CHECK(peer.send(role_with_mailbox(), {mailbox.memfd(), mailbox.wake()}));
  }
  CHECK(child.finish() == "granted on 0 sockets 3 fds 1");
  const auto names = [&](std::uint32_t lane) {
    std::string all;
    for (const otlp::Span& span : mailbox.read_lane(lane)) all += span.name + " ";
    return all;
  };
  CHECK(names(0) == "work again ");
  CHECK(names(1) == "claims forked ");
  CHECK(mailbox.lane(0).pid != mailbox.lane(1).pid);
}

TEST_CASE("the first span claims once and is written when the role is granted") {
  TestMailbox mailbox;
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    { const auto span = runmain::start_span("first"); }
    return std::string(runmain::serving() ? "serving" : "idle");
  });
  Peer peer = channel.accept();
  const std::string claim = peer.line();
  CHECK(claim.find("\"explicit\":false") != std::string::npos);
  CHECK(peer.send(role_with_mailbox(), {mailbox.memfd(), mailbox.wake()}));
  CHECK(child.finish() == "serving");
  const auto spans = mailbox.read_all();
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].name == "first");
}

TEST_CASE("spans of a process that was refused ask nobody again, and serve does") {
  TestMailbox mailbox;
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    std::string text = std::to_string(runmain::listeners().size());
    for (int i = 0; i < 3; ++i) const auto span = runmain::start_span("nobody's");
    text += runmain::serving() ? " serving" : " idle";
    runmain::serve();
    const auto span = runmain::start_span("its own");
    return text + (runmain::serving() ? " serving" : " idle");
  });
  Peer first = channel.accept();
  first.line();
  CHECK(first.send("{\"v\":1,\"refused\":{\"why\":\"no\"}}\n"));
  CHECK(first.line() == "closed");
  Peer second = channel.accept();
  const std::string claim = second.line();
  CHECK(claim.find("\"explicit\":true") != std::string::npos);
  CHECK(second.send(role_with_mailbox(), {mailbox.memfd(), mailbox.wake()}));
  CHECK(child.finish() == "0 idle serving");
  const auto spans = mailbox.read_all();
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].name == "its own");
}

TEST_CASE("spans of threads that begin while another one claims are all written") {
  TestMailbox mailbox({.lanes = 16, .shared = 2});
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([] { const auto span = runmain::start_span("at once"); });
    for (std::thread& thread : threads) thread.join();
    return std::string();
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_with_mailbox(), {mailbox.memfd(), mailbox.wake()}));
  CHECK(child.finish().empty());
  CHECK(mailbox.read_all().size() == 8);
}

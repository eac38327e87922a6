// A process that executes itself after its claim: the same process, so the role is its own (RUNMAIN_HELD,
// docs/contract.md); what it starts has a copy of its environment, and is a helper.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "child_runtime/child_runtime.hpp"
#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

const char* const kAnswerTo =
    "RUNMAIN_TEST_EXECUTED";  // the fd, of this program when it is executed by a test

std::string claim_text() {
  const runmain::ServeResult result = runmain::serve();
  return std::string(result.claim == runmain::Claim::granted   ? "granted"
                     : result.claim == runmain::Claim::refused ? "refused"
                                                               : "other") +
         (runmain::serving() ? " serving" : " idle");
}

std::string nonce_in_environment() {
  const char* token = getenv("RUNMAIN_TOKEN");
  std::string text = token != nullptr ? token : "";
  text = text.substr(0, text.rfind(':'));
  return text.substr(text.rfind(':') + 1);
}

// What this program is after the exec: it runs before main, and instead of it.
const bool g_was_executed = [] {
  const char* fd = getenv(kAnswerTo);
  if (fd == nullptr) return false;
  (void)runmain::serving();
  std::string text = nonce_in_environment() + " ";
  text += claim_text();
  { const auto span = runmain::start_span("after"); }
  _exit(write(std::atoi(fd), text.data(), text.size()) > 0 ? 0 : 1);
}();

[[noreturn]] void execute_self(int answer_to) {
  setenv(kAnswerTo, std::to_string(answer_to).c_str(), 1);
  execl("/proc/self/exe", "executed", static_cast<char*>(nullptr));
  _exit(98);
}

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    read_end = Fd(ends[0]);
    write_end = Fd(ends[1]);
  }
  // In the child: an fd that outlives the exec.
  int for_exec() const { return fcntl(write_end.get(), F_DUPFD, 150); }
  std::string text() {
    write_end.reset();
    std::string out;
    char buffer[256];
    while (wait_for(read_end.get(), POLLIN)) {
      const ssize_t n = read(read_end.get(), buffer, sizeof buffer);
      if (n <= 0) break;
      out.append(buffer, static_cast<std::size_t>(n));
    }
    return out;
  }
  Fd read_end;
  Fd write_end;
};

// Field 22 of /proc/self/stat; the test's name has no blanks.
std::string own_start() {
  std::ifstream file("/proc/self/stat");
  std::istringstream fields((std::string(std::istreambuf_iterator<char>(file), {})));
  std::string field;
  for (int i = 0; i < 22; ++i) fields >> field;
  return field;
}

std::string role_with_mailbox() {
  std::string line = role_line();
  line.insert(line.size() - 3, R"(,"mailbox":true)");
  return line;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a program that executes itself after its claim serves again, and its lanes of before are closed") {
  REQUIRE_FALSE(g_was_executed);
  Channel channel;
  TestMailbox mailbox;
  Pipe answer;
  Child child([&] {
    supervise(channel.name());
    runmain::serve();
    { const auto span = runmain::start_span("before"); }
    (void)runmain_span_start(nullptr, "open", 4, nullptr);
    runmain::scrub_environment();
    execute_self(answer.for_exec());
    return std::string();
  });
  for (int i = 0; i < 2; ++i) {
    Peer peer = channel.accept();
    const std::string claim = peer.line();
    CHECK(contains(claim, "\"nonce\":\"" + kNonce + "\",\"pid\":" + std::to_string(child.pid()) + ","));
    CHECK(peer.send(role_with_mailbox(), {mailbox.memfd(), mailbox.wake()}));
    CHECK(peer.line() == "closed");  // by the exec, and by the end
  }
  // The nonce is back in the environment: what this program starts before it claims may serve.
  CHECK(answer.text() == kNonce + " granted serving");
  CHECK(child.finish().empty());
  CHECK(mailbox.lane(0).state == RUNMAIN_LANE_CLOSED);
  CHECK(mailbox.lane(1).state == RUNMAIN_LANE_TAKEN);
  const auto before = mailbox.read_lane(0);
  const auto after = mailbox.read_lane(1);
  REQUIRE((before.size() == 1 && after.size() == 1));
  CHECK(before[0].name == "before");
  CHECK(after[0].name == "after");
  // What was open is still told to the reader.
  int open = 0;
  for (std::uint32_t i = 0; i < 256; ++i) open += mailbox.slot(0, i).state != 0 ? 1 : 0;
  CHECK(open == 1);
}

TEST_CASE("what a scrubbed process starts is refused, whether or not it executes a program") {
  Channel channel;
  Pipe answer;
  Child child([&] {
    supervise(channel.name());
    std::string text = claim_text();
    runmain::scrub_environment();
    const pid_t forked = fork();
    if (forked == 0) execute_self(answer.for_exec());
    int status = 0;
    waitpid(forked, &status, 0);
    return text + (status == 0 ? "" : " failed");
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_line()));
  CHECK(child.finish() == "granted serving");
  CHECK(answer.text() == std::string(kNonce.size(), '-') + " refused idle");
  CHECK(channel.untouched());
}

TEST_CASE("a scrub leaves who wiped the nonce, as Python and Node do") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    runmain::serve();
    if (getenv("RUNMAIN_HELD") != nullptr) return std::string("before the scrub");
    runmain::scrub_environment();
    const std::string expected = std::to_string(getpid()) + ":" + own_start() + ":" + kNonce;
    return std::string(getenv("RUNMAIN_HELD") == expected && getenv("RUNMAIN_CHANNEL") == channel.name()
                           ? "as they do"
                           : getenv("RUNMAIN_HELD"));
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_line()));
  CHECK(child.finish() == "as they do");
}

TEST_CASE("a scrub leaves LD_PRELOAD as the user has it, without the library that adopts") {
  const auto left_of = [](const std::string& value) {
    Channel channel;
    Child child([&] {
      supervise(channel.name());
      runmain::serve();
      setenv("LD_PRELOAD", value.c_str(), 1);
      runmain::scrub_environment();
      const char* left = getenv("LD_PRELOAD");
      return std::string(left != nullptr ? left : "unset");
    });
    Peer peer = channel.accept();
    peer.line();
    CHECK(peer.send(role_line()));
    return child.finish();
  };
  CHECK(left_of("/lib/librunmain_adopt.so") == "unset");
  CHECK(left_of("/mine.so:/lib/librunmain_adopt.so") == "/mine.so");
  CHECK(left_of("/lib/librunmain_adopt.so /mine.so") == "/mine.so");
  CHECK(left_of("/a.so:/lib/librunmain_adopt.so:/b.so") == "/a.so:/b.so");
  CHECK(left_of("/a.so:/x/not_librunmain_adopt.so") == "/a.so:/x/not_librunmain_adopt.so");
  CHECK(left_of("/librunmain_adopt.so.d/a.so") == "/librunmain_adopt.so.d/a.so");
}

TEST_CASE("a nonce that another process has wiped stays void") {
  // `held` of the pid and the start of the process itself.
  const auto claims_with = [](const std::function<std::string(long, unsigned long long)>& held) {
    Channel channel;
    Child child([&] {
      supervise(channel.name(), std::string(kNonce.size(), '-'));
      setenv("RUNMAIN_HELD", held(getpid(), std::stoull(own_start())).c_str(), 1);
      return runmain::serving() ? "serving" : nonce_in_environment() == kNonce ? "its own" : claim_text();
    });
    const std::string text = child.finish();
    CHECK(channel.untouched());
    return text;
  };
  const auto join = [](long pid, unsigned long long start, const std::string& nonce) {
    return std::to_string(pid) + ":" + std::to_string(start) + ":" + nonce;
  };
  CHECK(claims_with([&](long pid, unsigned long long start) { return join(pid, start, kNonce); }) ==
        "its own");
  CHECK(claims_with([&](long pid, unsigned long long start) { return join(pid + 1, start, kNonce); }) ==
        "refused idle");
  CHECK(claims_with([&](long pid, unsigned long long start) { return join(pid, start + 1, kNonce); }) ==
        "refused idle");
  CHECK(claims_with([&](long pid, unsigned long long start) { return join(pid, start, kNonce + "0"); }) ==
        "refused idle");
  CHECK(claims_with([&](long pid, unsigned long long) { return std::to_string(pid) + ":" + kNonce; }) ==
        "refused idle");
  for (const std::string& wrong : {std::string(), std::string(":::"), kNonce, std::string(4000, ':')})
    CHECK(claims_with([&](long, unsigned long long) { return wrong; }) == "refused idle");
}

// Who serves: the claim, its refusals, hostile answers, and forks.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "child_runtime/child_runtime.hpp"
#include "child_runtime/protocol.h"
#include "fakes.hpp"
#include "support/catch.hpp"

using namespace fakes;

namespace {

// "granted serving http=127.0.0.1:80/tcp" or "unreachable idle (why)"
std::string claim_text() {
  static const char* const kNames[] = {"granted", "unsupervised", "refused", "unreachable"};
  const runmain::ServeResult result = runmain::serve();
  std::string text = kNames[static_cast<int>(result.claim)];
  text += runmain::serving() ? " serving" : " idle";
  for (const runmain::Listener& l : runmain::listeners())
    text += " " + l.name + "=" + l.address + "/" + l.kind;
  return result.why.empty() ? text : text + " (" + result.why + ")";
}

std::string claims_at(const Channel& channel) {
  supervise(channel.name());
  return claim_text();
}

// In a forked process: puts a listening socket at fd 3, as a parent that passes sockets does.
void pass_listener_at_3(const std::string& name) {
  const int fd = listen_tcp().release();
  if (fd != 3) {
    dup2(fd, 3);
    close(fd);
  }
  setenv("LISTEN_FDS", "1", 1);
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  setenv("LISTEN_FDNAMES", name.c_str(), 1);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("without a token the program serves and has no sockets") {
  Child child([] { return claim_text() + (runmain::ready() ? " ready" : ""); });
  CHECK(child.finish() == "unsupervised serving ready");
}

TEST_CASE("a token alone makes nobody serve before the claim") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    return std::string(runmain::serving() ? "serving" : "idle");
  });
  CHECK(child.finish() == "idle");
  CHECK(channel.untouched());
}

TEST_CASE("a granted claim brings the role and the sockets by name") {
  Channel channel;
  Child child([&] {
    std::string text = claims_at(channel);
    const auto role = runmain::role();
    text += " " + role->service + "/" + role->instance_id + "/" + std::to_string(role->slot) + "/" +
            std::to_string(role->generation);
    const auto fd = runmain::listener("admin");
    const bool closes = fd && (fcntl(*fd, F_GETFD) & FD_CLOEXEC) != 0;
    return text + " port " + std::to_string(port_of(fd.value_or(-1))) + (closes ? " cloexec" : "");
  });
  Peer peer = channel.accept();
  CHECK(peer.line() == "{\"v\":1,\"claim\":{\"nonce\":\"" + kNonce +
                           "\",\"pid\":" + std::to_string(child.pid()) +
                           ",\"runtime\":\"cpp\",\"version\":\"" RUNMAIN_VERSION "\",\"explicit\":true}}");
  const Fd http = listen_tcp();
  const Fd admin = listen_tcp();
  const std::string port = std::to_string(port_of(admin.get()));
  CHECK(peer.send(role_line(R"([{"name":"http","address":"a:1","kind":"tcp"},{"name":"admin"}])"),
                  {http.get(), admin.get()}));
  CHECK(child.finish() == "granted serving http=a:1/tcp admin=127.0.0.1:" + port + "/tcp web/i-1/2/7 port " +
                              port + " cloexec");
}

TEST_CASE("taking a listener claims without being told to") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    const bool found = runmain::listener("none").has_value();
    return std::string(found ? "found" : "none") + (runmain::serving() ? " serving" : " idle");
  });
  Peer peer = channel.accept();
  CHECK(contains(peer.line(), "\"explicit\":false"));
  CHECK(peer.send(role_line()));
  CHECK(child.finish() == "none serving");
}

TEST_CASE("a refused process does not serve, gets no sockets, and may ask again") {
  Channel channel;
  Child child([&] {
    pass_listener_at_3("http");
    supervise(channel.name());
    std::string text = claim_text();
    text += runmain_ready() == -EPERM ? " not ready; " : " ready; ";
    return text + claim_text();
  });
  Peer first = channel.accept();
  first.line();
  CHECK(first.send("{\"v\":1,\"refused\":{\"why\":\"slot 2 is served by 77\"}}\n"));
  CHECK(first.line() == "closed");
  Peer second = channel.accept();
  second.line();
  CHECK(second.send(role_line()));
  CHECK(child.finish() == "refused idle (slot 2 is served by 77) not ready; granted serving");
}

TEST_CASE("where nobody answers the sockets come from LISTEN_FDS, and the reason is told") {
  Child child([] {
    pass_listener_at_3("http");
    supervise("/nowhere/channel");
    const std::string text = claim_text();
    return text.substr(0, 32) + text.substr(text.find(" ("));
  });
  CHECK(child.finish() ==
        "unreachable idle http=127.0.0.1: (channel /nowhere/channel: No such file or directory)");
}

TEST_CASE("a channel that closes without an answer is unreachable, and nothing is left open") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    runmain::serving();
    const int before = open_fds();
    const std::string text = claims_at(channel);
    return text + (open_fds() == before ? "" : " leak");
  });
  channel.accept().line();
  CHECK(child.finish() == "unreachable idle (channel: closed without an answer)");
}

TEST_CASE("a supervisor that never answers is given up at the deadline") {
  Channel channel;
  Child child([&] { return claims_at(channel); });
  Peer peer = channel.accept();
  CHECK(contains(peer.line(), "claim"));
  CHECK(peer.line() == "closed");
  CHECK(child.finish() == "unreachable idle (channel: no answer within 5000 ms)");
}

TEST_CASE("lines that say nothing are counted and the answer behind them is taken") {
  Channel channel;
  Child child([&] {
    const std::string text = claims_at(channel);
    return text + " ignored " + std::to_string(runmain::counters().ignored_lines);
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send("garbage\n\n{\"v\":1,\"news\":[1,2]}\n{\"v\":1,\"drain\":{}}\n" + role_line()));
  CHECK(child.finish() == "granted serving ignored 4");
}

TEST_CASE("an answer in small pieces is put together") {
  Channel channel;
  Child child([&] { return claims_at(channel); });
  Peer peer = channel.accept();
  peer.line();
  const Fd http = listen_tcp();
  const std::string answer = role_line(R"([{"name":"http","address":"a","kind":"tcp"}])");
  CHECK(peer.send(answer.substr(0, 1), {http.get()}));
  for (std::size_t at = 1; at < answer.size(); ++at) CHECK(peer.send(answer.substr(at, 1)));
  CHECK(child.finish() == "granted serving http=a/tcp");
}

TEST_CASE("a line of the largest size is read and a longer one ends the connection") {
  const auto outcome = [](std::size_t size) {
    Channel channel;
    Child child([&] { return claims_at(channel); });
    Peer peer = channel.accept();
    peer.line();
    std::string line = role_line();
    line.insert(line.size() - 1, size - line.size(), ' ');
    CHECK(peer.send(line));
    return child.finish();
  };
  CHECK(outcome(RUNMAIN_CHANNEL_LINE_MAX) == "granted serving");
  CHECK(outcome(RUNMAIN_CHANNEL_LINE_MAX + 1) ==
        "unreachable idle (channel: a line of more than 4096 bytes)");
}

TEST_CASE("an answer with fewer sockets than names is no grant, and its sockets are closed") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    runmain::serving();
    const int before = open_fds();
    const std::string text = claims_at(channel);
    return text + (open_fds() == before ? "" : " leak");
  });
  Peer peer = channel.accept();
  peer.line();
  const Fd http = listen_tcp();
  CHECK(peer.send(role_line(R"([{"name":"a"},{"name":"b"}])"), {http.get()}));
  CHECK(child.finish() == "unreachable idle (channel: the answer names 2 sockets and 1 came with it)");
}

TEST_CASE("fds that the answer does not name, and those that are no sockets, are closed") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    runmain::serving();
    const int before = open_fds();
    const std::string text = claims_at(channel);
    return text + " " + std::to_string(open_fds() - before);  // the channel and one listener
  });
  Peer peer = channel.accept();
  peer.line();
  const Fd http = listen_tcp();
  const Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(peer.send(role_line(R"([{"name":"file"},{"name":"http","address":"a"}])"),
                  {file.get(), http.get(), http.get(), file.get()}));
  const std::string text = child.finish();
  CHECK(contains(text, "granted serving http=a/tcp ("));
  CHECK(contains(text, "given as \"file\", is no socket: left out) 2"));
}

TEST_CASE("a drain that comes with the grant is told before serve returns") {
  Channel channel;
  Child child([&] {
    std::string told;
    supervise(channel.name());
    runmain::on_drain([&](std::chrono::milliseconds budget) { told = std::to_string(budget.count()); });
    const std::string text = claims_at(channel);
    return text + " drain " + told;
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_line() + "{\"v\":1,\"drain\":{\"budget_ms\":250}}\n"));
  CHECK(child.finish() == "granted serving drain 250");
}

TEST_CASE("a token that is none, and one that its holder has wiped, claim nothing") {
  const auto with_token = [](const std::string& token) {
    Channel channel;
    Child child([&] {
      supervise(channel.name());
      setenv("RUNMAIN_TOKEN", token.c_str(), 1);
      return claim_text();
    });
    const std::string text = child.finish();
    CHECK(channel.untouched());
    return text;
  };
  const std::string unknown = "unreachable idle (RUNMAIN_TOKEN is none that this library understands)";
  CHECK(with_token("1") == unknown);
  CHECK(with_token("2:web:0:1:abc:5") == unknown);
  CHECK(with_token("1::") == unknown);
  CHECK(with_token("1:web:0:1::5") == unknown);
  CHECK(with_token("1:web:0:1:" + std::string(200, 'a') + ":5") == unknown);
  CHECK(with_token("1:web:0:1:----:5") ==
        "refused idle (the token was claimed by the process that started this one)");
  CHECK(with_token("") == "unsupervised serving");
}

TEST_CASE("a service name with colons does not move the nonce") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    setenv("RUNMAIN_TOKEN", ("1:a:b:c:0:1:" + kNonce + ":5").c_str(), 1);
    return claim_text();
  });
  Peer peer = channel.accept();
  CHECK(contains(peer.line(), kNonce));
  peer.send(role_line());
  CHECK(child.finish() == "granted serving");
}

TEST_CASE("the nonce is not given to a channel that a foreign user holds") {
  if (geteuid() != 0) {
    WARN("needs root to listen as another user");
    return;
  }
  REQUIRE(seteuid(65534) == 0);
  Channel channel;
  REQUIRE(seteuid(0) == 0);
  Child child([&] {
    supervise(channel.name());
    return std::string(setresuid(65533, 65533, 65533) == 0 ? claim_text() : "setresuid");
  });
  Peer peer = channel.accept();
  CHECK(peer.line() == "closed");
  CHECK(child.finish() == "unreachable idle (channel " + channel.name() + ": held by a foreign user)");
}

TEST_CASE("a forked child does not serve, drops the channel, and claims for itself") {
  Channel channel;
  Child child([&] {
    std::string text = claims_at(channel);
    const int channel_fd = runmain::channel_fd();
    int ends[2];
    if (pipe(ends) != 0) return std::string("pipe");
    const pid_t forked = fork();
    if (forked == 0) {
      std::string inner = runmain::serving() ? "serving" : "idle";
      inner += runmain::role() ? " role" : "";
      inner += fcntl(channel_fd, F_GETFD) < 0 && runmain::channel_fd() == -1 ? " closed; " : " open; ";
      inner += claim_text();
      inner += runmain::role() ? " " + runmain::role()->instance_id : "";
      _exit(write(ends[1], inner.data(), inner.size()) > 0 ? 0 : 1);
    }
    char buffer[256];
    const ssize_t n = read(ends[0], buffer, sizeof buffer);
    waitpid(forked, nullptr, 0);
    text += " [" + std::string(buffer, static_cast<std::size_t>(n)) + "] ";
    return text + runmain::role()->instance_id + (runmain::channel_fd() == channel_fd ? " kept" : "");
  });
  Peer first = channel.accept();
  first.line();
  CHECK(first.send(role_line("[]", "i-1")));
  Peer second = channel.accept();
  const std::string claim = second.line();
  CHECK(contains(claim, kNonce));
  CHECK_FALSE(contains(claim, "\"pid\":" + std::to_string(child.pid()) + ","));
  CHECK(second.send(role_line("[]", "i-2")));
  CHECK(child.finish() == "granted serving [idle closed; granted serving i-2] i-1 kept");
}

TEST_CASE("a child forked while another thread claims is not stuck") {
  Channel channel;
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  Child child([&] {
    supervise(channel.name());
    runmain::serving();
    std::thread claiming([] { runmain::serve(); });
    // The supervisor answers only when all forks are done: each of them happens beside a handshake or before
    // it.
    int wrong = 0;
    for (int i = 0; i < 50; ++i) {
      const pid_t forked = fork();
      if (forked == 0) {
        const bool begun = runmain_request_begin() != 0;
        char reason[8];
        runmain_reason(reason, sizeof reason);
        runmain_counters c = runmain::counters();
        _exit(begun && !runmain::serving() && c.in_flight == 1 ? 0 : 1);
      }
      int status = 0;
      waitpid(forked, &status, 0);
      wrong += status == 0 ? 0 : 1;
    }
    const bool told = write(ends[1], "x", 1) == 1;
    claiming.join();
    return std::to_string(wrong) + (told && runmain::serving() ? " serving" : " idle");
  });
  Peer peer = channel.accept();
  CHECK(contains(peer.line(), "claim"));
  CHECK(wait_for(ends[0], POLLIN));
  CHECK(peer.send(role_line()));
  close(ends[0]);
  close(ends[1]);
  CHECK(child.finish() == "0 serving");
}

TEST_CASE("a scrubbed environment leaves helpers refused and this process with its role") {
  Channel channel;
  Child child([&] {
    setenv("NOTIFY_SOCKET", "/nowhere", 1);
    setenv("LISTEN_PID", "1", 1);
    supervise(channel.name());
    if (runmain::scrub_environment()) return std::string("scrubbed before a claim");
    std::string text = claims_at(channel);
    text += runmain::scrub_environment() ? " scrubbed" : " not scrubbed";
    for (const char* name : {"NOTIFY_SOCKET", "LISTEN_PID"}) {
      if (getenv(name) != nullptr) text += std::string(" ") + name;
    }
    const std::string token = getenv("RUNMAIN_TOKEN");
    text += " " + token.substr(0, token.rfind(':'));
    return text + (runmain::serving() ? " serving" : " idle");
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_line()));
  CHECK(child.finish() ==
        "granted serving scrubbed 1:web:2:7:" + std::string(kNonce.size(), '-') + " serving");
}

TEST_CASE("a child forked after the scrub can still claim for itself") {
  Channel channel;
  Child child([&] {
    claims_at(channel);
    runmain::scrub_environment();
    const pid_t forked = fork();
    if (forked == 0) _exit(claim_text() == "granted serving" ? 0 : 1);
    int status = 0;
    waitpid(forked, &status, 0);
    return std::string(status == 0 ? "granted" : "not");
  });
  Peer first = channel.accept();
  first.line();
  first.send(role_line());
  Peer second = channel.accept();
  CHECK(contains(second.line(), kNonce));
  second.send(role_line());
  CHECK(child.finish() == "granted");
}

#include <arpa/inet.h>
#include <netinet/in.h>

#include <string>

#include "drive/readiness_probe.hpp"
#include "os/loop/loop.hpp"
#include "readiness_support.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using runmain::test::listener;

namespace {

// A probe whose server is this process, so that every step of both sides is the test's.
struct Fixture {
  os::Loop loop;
  os::Listener listening;
  std::uint64_t ours = 0;  // the accepted socket that counts as the child's
  std::unique_ptr<Probe> probe;
  os::UniqueFd accepted;
  Time now = os::Loop::now();

  explicit Fixture(const std::string& request = {}) : Fixture(listener(), request) {}
  Fixture(os::Listener l, const std::string& request) : listening(std::move(l)) {
    auto targets = probe_targets(listening.bound);
    REQUIRE(targets);
    probe = std::make_unique<Probe>(
        loop, targets->front(), request, [this](std::uint64_t inode) { return inode == ours; }, [] {}, now);
  }
  std::optional<Probe::Outcome> step() { return probe->step(now); }
  void accept(bool own) {
    accepted.reset(::accept(listening.fd.get(), nullptr, nullptr));
    REQUIRE(accepted);
    if (own) ours = os::inode_of(accepted.get());
  }
  void answer(const std::string& bytes) {
    REQUIRE(send(accepted.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  std::string received() {
    char bytes[4096];
    const ssize_t n = recv(accepted.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    return n > 0 ? std::string(bytes, static_cast<std::size_t>(n)) : std::string();
  }
};

using Outcome = Probe::Outcome;

}  // namespace

TEST_CASE("a connection counts when the tested child has accepted it, not when it is only established") {
  Fixture f;
  CHECK_FALSE(f.step());
  CHECK_FALSE(f.step());
  f.accept(true);
  CHECK(f.step() == Outcome::counted);
}

TEST_CASE("a connection that somebody else accepts is foreign, and gets not a byte") {
  Fixture f("GET / HTTP/1.1\r\n\r\n");
  CHECK_FALSE(f.step());
  f.accept(false);
  CHECK(f.step() == Outcome::foreign);
  CHECK(f.received().empty());
}

TEST_CASE("a request is sent only after the child has accepted, and its status decides") {
  const std::pair<const char*, Outcome> rows[] = {
      {"HTTP/1.1 200 OK\r\n\r\n", Outcome::counted},
      {"HTTP/1.0 204 \r\n", Outcome::counted},
      {"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n", Outcome::counted},
      {"HTTP/1.1 399\r\n", Outcome::counted},
      {"HTTP/1.1 400 Bad\r\n\r\n", Outcome::failed},
      {"HTTP/1.1 503 Busy\r\n\r\n", Outcome::failed},
      {"HTTP/2 200\r\n", Outcome::failed},
      {"SSH-2.0-OpenSSH\r\n", Outcome::failed},
      {"\x15\x03\x01", Outcome::failed},
      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Outcome::counted},
  };
  for (const auto& [text, outcome] : rows) {
    CAPTURE(text);
    Fixture f("GET /health HTTP/1.1\r\n\r\n");
    CHECK_FALSE(f.step());
    f.accept(true);
    CHECK(f.received().empty());
    CHECK_FALSE(f.step());
    CHECK(f.received() == "GET /health HTTP/1.1\r\n\r\n");
    f.answer(text);
    CHECK(f.step() == outcome);
  }
}

TEST_CASE("an answer may come byte by byte, and is over after a second") {
  Fixture f("GET / HTTP/1.1\r\n\r\n");
  f.step();
  f.accept(true);
  CHECK_FALSE(f.step());
  for (const char c : std::string("HTTP/1.1 200")) {
    f.answer(std::string(1, c));
    f.now += std::chrono::milliseconds(50);
    CHECK_FALSE(f.step());
    CHECK(f.probe->next() <= f.now + kProbeTime);
  }
  f.now += kProbeTime;
  CHECK(f.step() == Outcome::failed);
}

TEST_CASE("an endless answer is looked at for 8 KiB and no further") {
  Fixture status("GET / HTTP/1.1\r\n\r\n");
  status.step();
  status.accept(true);
  status.step();
  status.answer("HTTP/1.1 200 OK\r\n\r\n" + std::string(100'000, 'x'));
  CHECK(status.step() == Outcome::counted);

  Fixture hints("GET / HTTP/1.1\r\n\r\n");
  hints.step();
  hints.accept(true);
  hints.step();
  std::string endless;
  while (endless.size() < 2 * kProbeBytes) endless += "HTTP/1.1 100 Continue\r\n\r\n";
  hints.answer(endless);
  CHECK(hints.step() == Outcome::failed);

  Fixture header("GET / HTTP/1.1\r\n\r\n");
  header.step();
  header.accept(true);
  header.step();
  header.answer("HTTP/1.1 103 Early\r\nX: " + std::string(2 * kProbeBytes, 'x'));
  CHECK(header.step() == Outcome::failed);
}

TEST_CASE("a connection that ends without an answer has failed") {
  Fixture f("GET / HTTP/1.1\r\n\r\n");
  f.step();
  f.accept(true);
  CHECK_FALSE(f.step());
  f.accepted.reset();
  CHECK(f.step() == Outcome::failed);
}

TEST_CASE("a connection that was accepted and closed before anybody could look has failed") {
  Fixture f;
  CHECK_FALSE(f.step());
  f.accept(true);
  f.accepted.reset();
  CHECK(f.step() == Outcome::failed);
}

TEST_CASE("a connection that nobody accepts is over after a second, looked at ever more rarely") {
  Fixture f;
  const Time end = f.now + kProbeTime;
  int looks = 0;
  while (f.now < end) {
    REQUIRE_FALSE(f.step());
    REQUIRE(f.probe->next() > f.now);
    f.now = f.probe->next();
    ++looks;
  }
  CHECK(looks < 70);
  CHECK(f.step() == Outcome::failed);
}

TEST_CASE("a port where nobody listens, and a unix socket with a full backlog, fail at once") {
  std::string nobody;
  {
    const os::Listener gone = listener();
    nobody = gone.bound;
  }
  os::Loop loop;
  const Time now = os::Loop::now();
  Probe refused(
      loop, probe_targets(nobody)->front(), {}, [](std::uint64_t) { return true; }, [] {}, now);
  auto outcome = refused.step(now);
  for (int i = 0; i < 100 && !outcome; ++i) {  // the refusal may take a turn
    loop.turn(std::chrono::milliseconds(100));
    outcome = refused.step(now);
  }
  CHECK(outcome == Outcome::failed);

  const os::Listener full =
      listener(os::AddressKind::unix_abstract, "runmain-test-" + std::to_string(getpid()));
  REQUIRE(listen(full.fd.get(), 0) == 0);
  const auto target = probe_targets(full.bound)->front();
  Probe first(
      loop, target, {}, [](std::uint64_t) { return true; }, [] {}, now);
  CHECK_FALSE(first.step(now));
  Probe second(
      loop, target, {}, [](std::uint64_t) { return true; }, [] {}, now);
  CHECK(second.step(now) == Outcome::failed);
}

TEST_CASE("unix sockets, by path and abstract, are probed like TCP") {
  const std::string name = "runmain-test-" + std::to_string(getpid());
  const std::string path = "/tmp/" + name + ".sock";
  for (const auto kind : {os::AddressKind::unix_path, os::AddressKind::unix_abstract}) {
    Fixture f(listener(kind, kind == os::AddressKind::unix_path ? path : name), "GET / HTTP/1.1\r\n\r\n");
    CHECK_FALSE(f.step());
    f.accept(true);
    CHECK_FALSE(f.step());
    f.answer("HTTP/1.1 200 OK\r\n");
    CHECK(f.step() == Outcome::counted);
  }
  unlink(path.c_str());
}

TEST_CASE("an address becomes the places to connect to") {
  const struct {
    const char* address;
    std::vector<std::string> hosts;
  } rows[] = {
      {"127.0.0.1:80", {"127.0.0.1:80"}},
      {"10.1.2.3:65535", {"10.1.2.3:65535"}},
      {"[::1]:80", {"[::1]:80"}},
      {"[fe80::1]:80", {"[fe80::1]:80"}},
      {":80", {"127.0.0.1:80", "[::1]:80"}},
      {"localhost:80", {"127.0.0.1:80", "[::1]:80"}},
      {"0.0.0.0:80", {"127.0.0.1:80"}},
      {"[::]:80", {"[::1]:80", "127.0.0.1:80"}},
      {"unix:/run/x.sock", {"localhost"}},
      {"unix:@x", {"localhost"}},
      {"udp:127.0.0.1:53", {}},
      {"", {}},
      {"80", {}},
      {":", {}},
      {":0", {}},
      {":65536", {}},
      {"127.0.0.1:", {}},
      {"127.0.0.1:8o", {}},
      {"127.0.0.1:80 ", {}},
      {"::1:80", {}},
      {"256.0.0.1:80", {}},
      {"example.org:80", {}},
      {"unix:", {}},
  };
  for (const auto& row : rows) {
    CAPTURE(row.address);
    const auto targets = probe_targets(row.address);
    CHECK(targets.ok() == !row.hosts.empty());
    if (!targets) continue;
    std::vector<std::string> hosts;
    for (const ProbeTarget& t : *targets) hosts.push_back(t.host);
    CHECK(hosts == row.hosts);
  }
  CHECK(probe_targets("unix:/" + std::string(106, 'x')).ok());
  CHECK_FALSE(probe_targets("unix:/" + std::string(107, 'x')).ok());
}

TEST_CASE("a request is one line and its headers, and a path that would make it more is refused") {
  const auto request = probe_request("/health?a=1", "127.0.0.1:80");
  REQUIRE(request);
  CHECK(*request ==
        "GET /health?a=1 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUser-Agent: runmain\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n");
  for (const std::string& path :
       {std::string(), std::string("health"), std::string("/a b"), std::string("/a\r\nX: y"),
        std::string("/\x7f"), std::string("/a\0b", 4), std::string(kProbePathMax + 1, '/')}) {
    CAPTURE(path.substr(0, 20));
    CHECK_FALSE(probe_request(path, "h"));
  }
  CHECK(probe_request(std::string(kProbePathMax, '/'), "h"));
}

TEST_CASE("the status of an answer is told as soon as it is certain") {
  const std::string full = "HTTP/1.1 200 OK";
  for (std::size_t n = 0; n <= 12; ++n) CHECK_FALSE(http_status(full.substr(0, n)).has_value());
  CHECK(http_status(full.substr(0, 13)) == 200);
  const std::pair<const char*, int> rows[] = {{"HTTP/1.1 2000 ", 0},  {"HTTP/1.1 099 ", 0},
                                              {"HTTP/1.1  200 ", 0},  {"HTTP/1.x 200 ", 0},
                                              {"http/1.1 200 ", 0},   {"X", 0},
                                              {"HTTP/1.1 999\n", 999}};
  for (const auto& [text, status] : rows) {
    CAPTURE(text);
    CHECK(http_status(text) == status);
  }
  CHECK_FALSE(http_status("HTTP/1.1 100 Continue\r\n").has_value());
  CHECK_FALSE(http_status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1").has_value());
}

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "drive/readiness.hpp"
#include "os/loop/loop.hpp"
#include "readiness_support.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace std::chrono_literals;
using runmain::test::Child;
using runmain::test::listener;
using runmain::test::next_tag;
using runmain::test::Pipe;

namespace {

constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const ChildKey kKey{ServiceId{1}, 0, 2, 0};

struct Fixture {
  os::Loop loop;
  std::map<ChildKey, std::vector<core::Proof>> reported;
  std::string address;  // of the latest report
  Readiness readiness{loop, [this](const core::Ready& ready) {
                        reported[ready.key].push_back(ready.proof);
                        address = ready.address;
                      }};

  // Turns the loop until `enough`, for at most 20 s.
  template <class F>
  bool until(F enough) {
    const Time end = os::Loop::now() + 20s;
    while (!enough() && os::Loop::now() < end) loop.turn(100ms);
    return enough();
  }
  std::optional<core::Proof> proof(const ChildKey& key = kKey) {
    until([&] { return reported.count(key) != 0; });
    const auto it = reported.find(key);
    if (it == reported.end()) return std::nullopt;
    CHECK(it->second.size() == 1);
    return it->second.front();
  }
};

ReadinessJob job(core::ReadyKind kind, const Child& child,
                 const std::vector<const os::Listener*>& listeners) {
  ReadinessJob j;
  j.key = kKey;
  j.pid = child.pid();
  j.tag = child.tag();
  j.spec.kind = kind;
  if (kind == core::ReadyKind::http) j.spec.path = "/health";
  for (const os::Listener* l : listeners) j.listeners.push_back({l->bound, l->inode});
  return j;
}

}  // namespace

TEST_CASE("a child that has our listener in an epoll set is ready by that, without a connection") {
  const os::Listener l = listener();
  const Child child(next_tag(), [&] { test::serve_epoll(l.fd.get(), 0, false); });
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::automatic, child, {&l})));
  CHECK(f.proof() == core::Proof::epoll);
  pollfd waiting{l.fd.get(), POLLIN, 0};
  CHECK(poll(&waiting, 1, 0) == 0);
}

TEST_CASE("any of several listeners will do, a datagram one too") {
  const os::Listener tcp = listener();
  const os::Listener udp = listener(os::AddressKind::udp);
  const Child child(next_tag(), [&] { test::serve_epoll(udp.fd.get(), 0, false); });
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::automatic, child, {&tcp, &udp})));
  CHECK(f.proof() == core::Proof::epoll);
}

TEST_CASE("a server behind a wrapper, in a session of its own, is found by the tree's tag") {
  const os::Listener l = listener();
  const Child wrapper(next_tag(), [&] {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setsid();
      test::serve_epoll(l.fd.get(), 0, false);
    }
    for (;;) pause();
  });
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::automatic, wrapper, {&l})));
  CHECK(f.proof() == core::Proof::epoll);
}

TEST_CASE("a server that accepts without epoll is found by a connection that it accepts") {
  const os::Listener l = listener();
  const Child child(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, child, {&l});
  j.since = os::Loop::now() - kProbeAfter;
  REQUIRE(f.readiness.start(j));
  CHECK(f.proof() == core::Proof::probe);
}

TEST_CASE("a child that only lives is ready after a second, as unproven") {
  const os::Listener tcp = listener();
  const os::Listener udp = listener(os::AddressKind::udp);
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  for (const auto& listeners : {std::vector<const os::Listener*>{&tcp}, {&udp}}) {
    Fixture f;
    ReadinessJob j = job(core::ReadyKind::automatic, child, listeners);
    j.since = os::Loop::now() - kUnprovenAfter + 200ms;
    REQUIRE(f.readiness.start(j));
    CHECK(f.proof() == core::Proof::unproven);
    CHECK(os::Loop::now() >= j.since + kUnprovenAfter);
    CHECK(f.readiness.jobs() == 0);
    CHECK(f.readiness.probes() == 0);
  }
}

TEST_CASE("a child that listens nowhere is ready after a second, as unproven") {
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, child, {});
  j.since = os::Loop::now() - kUnprovenAfter + 200ms;
  REQUIRE(f.readiness.start(j));
  CHECK(f.proof() == core::Proof::unproven);
  CHECK(os::Loop::now() >= j.since + kUnprovenAfter);
  CHECK(f.address.empty());
}

TEST_CASE("a program that binds by itself is ready when it listens, and where is told") {
  const Pipe go;
  const Pipe told;
  const Child wrapper(next_tag(), [&] {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setsid();
      go.get();
      const os::Listener own = listener();
      (void)!write(told.write_end.get(), own.bound.data(), own.bound.size());
      for (;;) pause();
    }
    for (;;) pause();
  });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, wrapper, {});
  j.since = os::Loop::now() + 1h;  // time proves nothing here
  REQUIRE(f.readiness.start(j));
  for (int i = 0; i < 5; ++i) f.loop.turn(10ms);
  CHECK(f.reported.empty());
  go.put();
  CHECK(f.proof() == core::Proof::listens);
  CHECK(f.address == told.drain());
}

TEST_CASE("a program that binds another port than the one it was thought to bind is told with its own") {
  std::uint16_t unused = 0;
  {
    const os::Listener free = listener();
    unused = static_cast<std::uint16_t>(std::stoi(free.bound.substr(free.bound.rfind(':') + 1)));
  }
  const Pipe told;
  const Child child(next_tag(), [&] {
    const os::Listener own = listener();
    (void)!write(told.write_end.get(), own.bound.data(), own.bound.size());
    for (;;) pause();
  });
  REQUIRE(told.get() == '1');  // of 127.0.0.1
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, child, {});
  j.port = unused;
  j.since = os::Loop::now() - kUnprovenAfter + 100ms;
  REQUIRE(f.readiness.start(j));
  CHECK(f.proof() == core::Proof::listens);
  CHECK(f.address == "1" + told.drain());
}

TEST_CASE("where a runmain in the tree takes its programs' telemetry is not where the service is") {
  const Pipe go;
  const Pipe told;
  const auto named = [](const char* name) { prctl(PR_SET_NAME, name); };
  const Child keeper(next_tag(), [&] {
    named("runmain-keeper");
    const os::Listener receiver = listener();
    (void)!write(told.write_end.get(), "r", 1);
    go.get();
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      named("runmain-observer");
      for (;;) pause();
    }
    go.get();
    const os::Listener service = listener();
    (void)!write(told.write_end.get(), service.bound.data(), service.bound.size());
    for (;;) pause();
  });
  REQUIRE(told.get() == 'r');
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, keeper, {});
  j.since = os::Loop::now() + 1h;
  REQUIRE(f.readiness.start(j));
  for (int i = 0; i < 5; ++i) f.loop.turn(10ms);
  CHECK(f.reported.empty());  // its observer is not there yet
  go.put();
  for (int i = 0; i < 10; ++i) f.loop.turn(10ms);
  CHECK(f.reported.empty());
  go.put();
  CHECK(f.proof() == core::Proof::listens);
  CHECK(f.address == told.drain());
}

TEST_CASE("a debugger that listens is not the program") {
  const Pipe told;
  const Child child(next_tag(), [&] {
    os::Address address;
    address.host = "127.0.0.1";
    address.port = kDebuggerPorts.front();
    const auto debugger = os::open_listener(address);
    (void)!write(told.write_end.get(), "r", 1);  // where somebody else has the port, nothing listens here
    for (;;) pause();
  });
  REQUIRE(told.get() == 'r');
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, child, {});
  j.since = os::Loop::now() - kUnprovenAfter + 50ms;
  REQUIRE(f.readiness.start(j));
  CHECK(f.proof() == core::Proof::unproven);
}

TEST_CASE("a listener in somebody else's epoll set proves nothing") {
  const os::Listener l = listener();
  const Child old(next_tag(), [&] { test::serve_epoll(l.fd.get(), 0, false); });
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::automatic, child, {&l});
  j.since = os::Loop::now() - kUnprovenAfter + 50ms;
  REQUIRE(f.readiness.start(j));
  CHECK(f.proof() == core::Proof::unproven);
}

TEST_CASE("`after` is ready when its time is over, and not before") {
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::after, child, {});
  j.spec.after = 30ms;
  const Time begin = os::Loop::now();
  REQUIRE(f.readiness.start(j));
  CHECK(f.proof() == core::Proof::elapsed);
  CHECK(os::Loop::now() - begin >= 30ms);
}

TEST_CASE("`notify` waits for READY=1 only") {
  const os::Listener l = listener();
  const Child child(next_tag(), [&] { test::serve_epoll(l.fd.get(), 0, true); });
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::notify, child, {&l})));
  CHECK(f.readiness.jobs() == 0);
}

TEST_CASE("nothing is reported from inside start, and a stopped job reports nothing") {
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::after, child, {});
  REQUIRE(f.readiness.start(j));
  CHECK(f.reported.empty());
  ReadinessJob other = j;
  other.key.slot = 1;
  REQUIRE(f.readiness.start(other));
  f.readiness.stop(kKey);
  f.readiness.stop(kKey);
  CHECK(f.proof(other.key) == core::Proof::elapsed);
  CHECK(f.reported.count(kKey) == 0);
}

TEST_CASE("the old generation's answers prove nothing for the new one, and it never sees a request") {
  const os::Listener l = listener();
  const Pipe told;
  const Pipe go;
  const Child old(next_tag(), [&] { test::serve(l.fd.get(), kOk, told.write_end.get()); });
  for (const auto kind : {core::ReadyKind::tcp, core::ReadyKind::http}) {
    const Child young(next_tag(), [&] {
      go.get();
      test::serve(l.fd.get(), kOk);
    });
    Fixture f;
    REQUIRE(f.readiness.start(job(kind, young, {&l})));
    REQUIRE(f.until([&] { return f.readiness.foreign() >= 3; }));
    CHECK(f.reported.empty());
    go.put();
    CHECK(f.proof() == core::Proof::probe);
  }
  for (int i = 0; i < 6; ++i) CHECK(told.get() == 'c');  // it accepted, and nobody asked it anything
  CHECK(told.drain().find('d') == std::string::npos);
}

TEST_CASE("a new worker gets its turn beside an old one that the kernel always wakes first") {
  const os::Listener l = listener();
  const Pipe told;
  const Child old(next_tag(),
                  [&] { test::serve_epoll(l.fd.get(), EPOLLEXCLUSIVE, true, told.write_end.get()); });
  REQUIRE(told.get() == 'r');
  const Child young(next_tag(),
                    [&] { test::serve_epoll(l.fd.get(), EPOLLEXCLUSIVE, true, told.write_end.get()); });
  REQUIRE(told.get() == 'r');
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::tcp, young, {&l})));
  CHECK(f.proof() == core::Proof::probe);
}

TEST_CASE("http is ready when the child answers well, not while it answers with an error") {
  const os::Listener l = listener();
  const Pipe told;
  const Child child(next_tag(), [&] {
    for (int i = 0;; ++i) {
      const int fd = accept(l.fd.get(), nullptr, nullptr);
      test::read_request(fd);
      const std::string answer = i < 3 ? "HTTP/1.1 503 Busy\r\n\r\n" : kOk;
      (void)!send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      close(fd);
      (void)!write(told.write_end.get(), i < 3 ? "b" : "o", 1);
    }
  });
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::http, child, {&l})));
  CHECK(f.proof() == core::Proof::probe);
  std::string all;
  while (all.size() < 4) all += told.get();
  CHECK(all == "bbbo");
}

TEST_CASE("a redirect is an answer and is not followed") {
  const os::Listener l = listener();
  const Pipe told;
  const Child child(next_tag(), [&] {
    test::serve(l.fd.get(), "HTTP/1.1 302 Found\r\nLocation: /health\r\n\r\n", told.write_end.get());
  });
  Fixture f;
  REQUIRE(f.readiness.start(job(core::ReadyKind::http, child, {&l})));
  CHECK(f.proof() == core::Proof::probe);
  CHECK(told.get() == 'd');
  CHECK(told.drain().empty());
}

TEST_CASE("a server that never ends its answer, and one that never begins, hold nothing up") {
  const os::Listener endless = listener();
  const os::Listener silent = listener();
  const Child babbler(next_tag(), [&] {
    for (;;) {
      const int fd = accept(endless.fd.get(), nullptr, nullptr);
      test::read_request(fd);
      std::string text = "HTTP/1.1 200 OK\r\n\r\n";
      while (send(fd, text.data(), text.size(), MSG_NOSIGNAL) > 0) text.assign(65536, 'x');
      close(fd);
    }
  });
  const Child mute(next_tag(), [&] {
    std::vector<int> held;
    for (;;) held.push_back(accept(silent.fd.get(), nullptr, nullptr));
  });
  Fixture f;
  ReadinessJob other = job(core::ReadyKind::http, mute, {&silent});
  other.key.slot = 1;
  REQUIRE(f.readiness.start(other));
  REQUIRE(f.readiness.start(job(core::ReadyKind::http, babbler, {&endless})));
  CHECK(f.proof() == core::Proof::probe);
  CHECK(f.reported.count(other.key) == 0);
  CHECK(f.readiness.probes() <= 1);
}

TEST_CASE("a port of the program's own is found on v4 and on v6") {
  for (const char* host : {"127.0.0.1", "::1"}) {
    os::Address address;
    address.host = host;
    auto bound = os::open_listener(address);
    if (!bound) continue;  // no v6 here
    const auto port = static_cast<std::uint16_t>(std::stoi(bound->bound.substr(bound->bound.rfind(':') + 1)));
    for (const auto kind : {core::ReadyKind::automatic, core::ReadyKind::tcp, core::ReadyKind::http}) {
      const Child child(next_tag(), [&] { test::serve(bound->fd.get(), kOk); });
      Fixture f;
      ReadinessJob j = job(kind, child, {});
      j.port = port;
      REQUIRE(f.readiness.start(j));
      CHECK(f.proof() == core::Proof::probe);
      CHECK(f.address == bound->bound);
    }
  }
}

TEST_CASE("a program that binds late is refused until it does, and then found") {
  std::string bound;
  std::uint16_t port = 0;
  {
    const os::Listener free = listener();
    bound = free.bound;
    port = static_cast<std::uint16_t>(std::stoi(bound.substr(bound.rfind(':') + 1)));
  }
  const Pipe go;
  const Child child(next_tag(), [&] {
    go.get();
    os::Address address;
    address.host = "127.0.0.1";
    address.port = port;
    auto late = os::open_listener(address);
    if (late) test::serve(late->fd.get(), kOk);
  });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::tcp, child, {});
  j.spec.address = bound;
  REQUIRE(f.readiness.start(j));
  for (int i = 0; i < 5; ++i) f.loop.turn(10ms);
  CHECK(f.reported.empty());
  go.put();
  CHECK(f.proof() == core::Proof::probe);
}

TEST_CASE("a main process that is told later is looked at from then on") {
  const os::Listener l = listener();
  const Child child(next_tag(), [&] { test::serve(l.fd.get(), kOk); });
  Fixture f;
  ReadinessJob j = job(core::ReadyKind::tcp, child, {&l});
  j.pid = getpid();
  j.tag = 0;
  REQUIRE(f.readiness.start(j));
  REQUIRE(f.until([&] { return f.readiness.foreign() > 0; }));
  f.readiness.set_pid(kKey, child.pid());
  CHECK(f.proof() == core::Proof::probe);
}

TEST_CASE("what can never be found out is refused at the start, with the reason") {
  const os::Listener udp = listener(os::AddressKind::udp);
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  Fixture f;
  CHECK_FALSE(f.readiness.start(job(core::ReadyKind::tcp, child, {})));
  CHECK_FALSE(f.readiness.start(job(core::ReadyKind::http, child, {&udp})));
  ReadinessJob address = job(core::ReadyKind::tcp, child, {});
  address.spec.address = "example.org:80";
  CHECK(f.readiness.start(address).error().message == "\"example.org:80\" is no address to connect to");
  ReadinessJob path = job(core::ReadyKind::http, child, {});
  path.port = 1;
  path.spec.path = "/a\r\nX: y";
  CHECK_FALSE(f.readiness.start(path));
  CHECK(f.readiness.jobs() == 0);
}

TEST_CASE("however many wait, no more connections are open than the limit, and stopping closes them") {
  const std::size_t fds = test::open_fds();
  {
    const os::Listener l = listener();
    const Child child(next_tag(), [] {
      for (;;) pause();
    });
    Fixture f;
    for (std::uint32_t slot = 0; slot < kProbesMax + 20; ++slot) {
      ReadinessJob j = job(core::ReadyKind::tcp, child, {&l});
      j.key.slot = slot;
      REQUIRE(f.readiness.start(j));
    }
    REQUIRE(f.until([&] { return f.readiness.probes() == kProbesMax; }));
    for (int i = 0; i < 10; ++i) {
      f.loop.turn(5ms);
      CHECK(f.readiness.probes() <= kProbesMax);
    }
    for (std::uint32_t slot = 0; slot < kProbesMax + 20; ++slot) {
      ChildKey key = kKey;
      key.slot = slot;
      f.readiness.stop(key);
    }
    CHECK(f.readiness.probes() == 0);
    CHECK(f.readiness.jobs() == 0);
    CHECK(f.reported.empty());
  }
  CHECK(test::open_fds() == fds);
}

TEST_CASE("a thousand services without a listener are told with one timer and not one fd") {
  os::Loop loop;
  std::size_t told = 0;
  Readiness* self = nullptr;
  Readiness readiness(loop, [&](const core::Ready& ready) {
    ++told;
    self->stop(ready.key);  // as the core does
  });
  self = &readiness;
  const std::size_t fds = test::open_fds();
  for (std::uint32_t i = 0; i < 1000; ++i) {
    ReadinessJob j;
    j.key = {ServiceId{i}, 0, 1, 0};
    j.pid = getpid();
    j.since = os::Loop::now() - kUnprovenAfter + 20ms;
    REQUIRE(readiness.start(j));
  }
  CHECK(test::open_fds() == fds);
  const Time end = os::Loop::now() + 20s;
  while (told < 1000 && os::Loop::now() < end) loop.turn(100ms);
  CHECK(told == 1000);
  CHECK(readiness.jobs() == 0);
}

TEST_CASE("a report may start the next job of the same child, and end another") {
  const Child child(next_tag(), [] {
    for (;;) pause();
  });
  os::Loop loop;
  std::vector<std::string> order;
  Readiness* self = nullptr;
  ReadinessJob j = job(core::ReadyKind::after, child, {});
  ReadinessJob other = j;
  other.key.slot = 1;
  other.spec.after = 1ms;
  Readiness readiness(loop, [&](const core::Ready& ready) {
    order.push_back(ready.key.text());
    self->stop(other.key);
    if (order.size() < 3) REQUIRE(self->start(j));
  });
  self = &readiness;
  REQUIRE(readiness.start(other));
  REQUIRE(readiness.start(j));
  const Time end = os::Loop::now() + 20s;
  while (order.size() < 3 && os::Loop::now() < end) loop.turn(100ms);
  CHECK(order == std::vector<std::string>{"1:0:2:0", "1:0:2:0", "1:0:2:0"});
}

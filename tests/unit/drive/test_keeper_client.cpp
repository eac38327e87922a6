#include "drive/keeper_client.hpp"

#include <sys/socket.h>

#include <thread>

#include "base/archive.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

struct FakeKeeper {
  os::UniqueFd fd;

  void tell(const keeper::Message& message) const {
    REQUIRE(os::send_message(fd.get(), to_binary(message), {}));
  }
  void tell_signal(std::uint64_t number) const {
    keeper::Message message;
    auto& happening = message.emplace<keeper::Happening>();
    happening.number = number;
    happening.what.emplace<keeper::GotSignal>().signal = 1;
    tell(message);
  }
  void tell_opened(const std::string& id) const {
    keeper::Opened opened;
    opened.id = id;
    tell(opened);
  }
};

struct Pair {
  FakeKeeper keeper;
  os::UniqueFd head;
  Pair() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    keeper.fd.reset(ends[0]);
    head.reset(ends[1]);
  }
};

keeper::OpenListener listener(const std::string& id) {
  keeper::OpenListener wanted;
  wanted.id = id;
  return wanted;
}

}  // namespace

TEST_CASE("happenings that come while an answer is awaited are delivered before the loop sleeps") {
  Pair pair;
  os::Loop loop;
  KeeperClient client(std::move(pair.head));
  std::vector<std::uint64_t> seen;
  client.start(
      loop, [&](const keeper::Happening& h) { seen.push_back(h.number); }, [] {});
  pair.keeper.tell_signal(1);
  pair.keeper.tell_signal(2);
  pair.keeper.tell_opened("a");
  REQUIRE(client.open_listener(listener("a")));
  CHECK(seen.empty());
  client.deliver_early();
  CHECK(seen == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("a happening whose handling awaits an answer does not overtake those that came meanwhile") {
  Pair pair;
  os::Loop loop;
  KeeperClient client(std::move(pair.head));
  std::vector<std::uint64_t> seen;
  client.start(
      loop,
      [&](const keeper::Happening& h) {
        seen.push_back(h.number);
        if (h.number == 1) {
          CHECK(client.open_listener(listener("a")));
        }
        if (h.number == 4) loop.stop();
      },
      [] {});
  for (std::uint64_t n = 1; n <= 3; ++n) pair.keeper.tell_signal(n);
  pair.keeper.tell_opened("a");
  pair.keeper.tell_signal(4);
  loop.run();
  CHECK(seen == std::vector<std::uint64_t>{1, 2, 3, 4});
}

TEST_CASE("a keeper that is slow to read does not make a listener fail") {
  Pair pair;
  KeeperClient client(std::move(pair.head));
  const int small = 4096;
  constexpr int kOrders = 2000;
  REQUIRE(setsockopt(pair.keeper.fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
  for (int i = 0; i < kOrders; ++i) client.acknowledge(static_cast<std::uint64_t>(i));
  client.flush();
  REQUIRE_FALSE(client.idle());
  std::thread slow([&] {
    std::string scratch;
    for (int read = 0; read < kOrders + 1;) {
      if (os::receive_message(pair.keeper.fd.get(), keeper::kMessageMax, scratch)) ++read;
    }
    pair.keeper.tell_opened("a");
  });
  CHECK(client.open_listener(listener("a")));
  slow.join();
}

TEST_CASE("a keeper that is gone is an error for whoever awaits its answer") {
  Pair pair;
  KeeperClient client(std::move(pair.head));
  pair.keeper.fd.reset();
  CHECK_FALSE(client.open_listener(listener("a")));
}

TEST_CASE("the observer's configuration goes to the keeper in memory of its own") {
  Pair pair;
  KeeperClient client(std::move(pair.head));
  const std::string text(100'000, 'c');
  REQUIRE(client.configure_observer({"/libexec/observer", "--quiet"}, {"receiver"}, text));
  client.flush();
  std::string scratch;
  auto got = os::receive_message(pair.keeper.fd.get(), keeper::kMessageMax, scratch);
  REQUIRE(got);
  REQUIRE(got->fds.size() == 1);
  keeper::Request request;
  REQUIRE(from_binary(got->bytes, request));
  const auto& said = std::get<keeper::ConfigureObserver>(request);
  CHECK(said.size == text.size());
  CHECK(said.argv == std::vector<std::string>{"/libexec/observer", "--quiet"});
  CHECK(said.listeners == std::vector<std::string>{"receiver"});
  CHECK(*os::read_file("/proc/self/fd/" + std::to_string(got->fds[0].get()), 1U << 20U) == text);
}

TEST_CASE("a configuration that the keeper would not take is not said") {
  Pair pair;
  KeeperClient client(std::move(pair.head));
  CHECK_FALSE(client.configure_observer({"o"}, {}, std::string(keeper::kObserverConfigurationMax + 1, 'c')));
  CHECK_FALSE(client.configure_observer({std::string(keeper::kMessageMax, 'o')}, {}, "c"));
  CHECK_FALSE(client.configure_observer({"o"}, std::vector<std::string>(keeper::kListenersMax + 1, "l"), ""));
  CHECK(client.idle());
}

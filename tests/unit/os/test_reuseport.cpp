#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "os/linux/listen_queue.hpp"
#include "os/linux/reuseport.hpp"
#include "os/linux/sockets.hpp"
#include "os_help.hpp"
#include "socket_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

using Places = std::vector<std::uint32_t>;

// Sockets 0 … count-1 of one group, on one address.
struct Group {
  std::string host;
  std::uint16_t port = 0;
  std::vector<Listener> sockets;
  ReuseportOrder order;

  explicit Group(std::uint32_t count, std::string where = "127.0.0.1") : host(std::move(where)) {
    for (std::uint32_t i = 0; i < count; ++i) add();
  }
  void add() {
    auto made = open_listener(tcp(host, port), sockets.empty() ? Sharing::begins : Sharing::joins);
    if (!made) FAIL(made.error().text());
    port = port_of(*made);
    order.joined(static_cast<std::uint32_t>(sockets.size()));
    sockets.push_back(std::move(*made));
  }
  // The members get what comes, by the model of the kernel's order.
  void attach(const Places& members, const Places& looks) {
    Places places;
    Places look_places;
    for (const std::uint32_t m : members) places.push_back(order.place_of(m).value());
    for (const std::uint32_t m : looks) look_places.push_back(order.place_of(m).value());
    const auto any = std::find_if(sockets.begin(), sockets.end(),
                                  [](const Listener& l) { return l.fd && is_listening(l.fd.get()); });
    const auto attached = distribute(any->fd.get(), places, look_places);
    if (!attached) FAIL(attached.error().text());
  }
  void attach(const Places& members) { attach(members, members); }
  // How many of these connections each member got; they are accepted.
  std::map<std::uint32_t, int> counts(int connections, int tos = 0) {
    for (int i = 0; i < connections; ++i) {
      const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (tos != 0) REQUIRE(::setsockopt(client.get(), IPPROTO_IP, IP_TOS, &tos, sizeof tos) == 0);
      const sockaddr_in to = v4_address(port);
      REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    }
    std::map<std::uint32_t, int> out;
    for (std::uint32_t m = 0; m < sockets.size(); ++m) {
      if (!sockets[m].fd) continue;
      for (pollfd p{sockets[m].fd.get(), POLLIN, 0}; ::poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;) {
        UniqueFd(::accept4(sockets[m].fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ++out[m];
      }
    }
    return out;
  }
  void shut(std::uint32_t m) { REQUIRE(::shutdown(sockets[m].fd.get(), SHUT_RDWR) == 0); }
};

Places keys_of(const std::map<std::uint32_t, int>& counts) {
  Places out;
  for (const auto& [member, count] : counts) out.push_back(member);
  return out;
}

}  // namespace

TEST_CASE("new connections go at random to the sockets that are named, and to no other") {
  Group group(4);
  group.attach({1, 3});
  const auto two = group.counts(200);
  CHECK(keys_of(two) == Places{1, 3});
  CHECK(std::abs(two.at(1) - two.at(3)) < 90);  // 6 standard deviations
  group.attach({0, 1, 2, 3});
  CHECK(keys_of(group.counts(200)) == Places{0, 1, 2, 3});
  group.attach({2});
  CHECK(keys_of(group.counts(40)) == Places{2});
  group.attach({});
  CHECK(keys_of(group.counts(200)) == Places{0, 1, 2, 3});
}

TEST_CASE("a look reaches sockets that get no clients, clients never do") {
  Group group(3);
  group.attach({0}, {0, 1, 2});
  CHECK(keys_of(group.counts(60)) == Places{0});
  CHECK(keys_of(group.counts(60, kLookTos)) == Places{0, 1, 2});
  group.attach({0, 1}, {2});
  CHECK(keys_of(group.counts(60)) == Places{0, 1});
  CHECK(keys_of(group.counts(60, kLookTos)) == Places{2});
}

TEST_CASE("the same over IPv6, and over IPv4 at a dual-stack group") {
  if (!has_v6()) return skip("no IPv6 here");
  Group group(3, "");
  group.attach({0, 2}, {1});
  CHECK(keys_of(group.counts(60)) == Places{0, 2});
  CHECK(keys_of(group.counts(60, kLookTos)) == Places{1});
  for (int i = 0; i < 20; ++i) {
    const UniqueFd client(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int tos = kLookTos;
    REQUIRE(::setsockopt(client.get(), IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos) == 0);
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    to.sin6_addr = in6addr_loopback;
    to.sin6_port = htons(group.port);
    REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  }
  for (int i = 0; i < 20; ++i) CHECK(connect_v6(group.port));
  CHECK(queued_connections({group.sockets[1].inode}) == 20);
  CHECK(queued_connections({group.sockets[0].inode, group.sockets[2].inode}) == 20);
}

TEST_CASE("where a socket leaves, the last one takes its place; one that comes back is the last") {
  Group group(5);
  group.shut(1);
  group.order.left({1});
  group.attach({4});
  CHECK(keys_of(group.counts(30)) == Places{4});
  REQUIRE(listen_again(group.sockets[1]).ok());
  group.order.joined(1);
  for (const Places& members : {Places{1}, Places{0}, Places{2, 4}, Places{3}}) {
    group.attach(members);
    CHECK(keys_of(group.counts(30)) == members);
  }
  group.sockets[0].fd.reset();
  group.order.left({0});
  group.add();
  for (const Places& members : {Places{1}, Places{2}, Places{3}, Places{4}, Places{5}, Places{1, 5}}) {
    group.attach(members);
    CHECK(keys_of(group.counts(30)) == members);
  }
}

TEST_CASE("after many sockets have left and come back in any order, the model is still the kernel's") {
  Group group(6);
  std::uint32_t random = 7;
  for (int round = 0; round < 60; ++round) {
    random = random * 1664525U + 1013904223U;
    const std::uint32_t m = (random >> 16U) % 6;
    group.shut(m);
    group.order.left({m});
    if (round % 3 == 0) {
      const std::uint32_t other = (m + 1) % 6;
      group.shut(other);
      group.order.left({other});
      REQUIRE(listen_again(group.sockets[other]).ok());
      group.order.joined(other);
    }
    REQUIRE(listen_again(group.sockets[m]).ok());
    group.order.joined(m);
    const std::uint32_t wanted = (random >> 8U) % 6;
    group.attach({wanted});
    REQUIRE(keys_of(group.counts(6)) == Places{wanted});
  }
}

TEST_CASE("sockets that left at one moment make the places unknown, until at most one of the old is there") {
  ReuseportOrder order;
  for (std::uint32_t m = 0; m < 4; ++m) order.joined(m);
  order.left({0, 1});
  CHECK_FALSE(order.known());
  CHECK_FALSE(order.place_of(2));
  order.joined(0);
  order.left({2, 3});
  CHECK(order.known());
  CHECK(order.place_of(0) == 0U);
  order.joined(2);
  CHECK(order.place_of(2) == 1U);
  order.left({});
  order.left({9});
  CHECK(order.known());
}

TEST_CASE("a group whose sockets were all shut down begins anew") {
  Group group(3);
  group.attach({0});
  for (std::uint32_t m = 0; m < 3; ++m) group.shut(m);
  group.order.left({0, 1, 2});
  for (const std::uint32_t m : {2U, 0U, 1U}) {
    REQUIRE(listen_again(group.sockets[m]).ok());
    group.order.joined(m);
  }
  for (std::uint32_t m = 0; m < 3; ++m) {
    group.attach({m});
    CHECK(keys_of(group.counts(20)) == Places{m});
  }
}

TEST_CASE("a listener that was shut down listens again at the port that the kernel had chosen") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  const std::uint16_t port = port_of(*listener);
  REQUIRE(::shutdown(listener->fd.get(), SHUT_RDWR) == 0);
  CHECK_FALSE(is_listening(listener->fd.get()));
  CHECK_FALSE(connect_v4(port));
  REQUIRE(listen_again(*listener).ok());
  CHECK(is_listening(listener->fd.get()));
  CHECK(connect_v4(port));
  const auto fixed = open_listener(tcp("127.0.0.1", port));
  CHECK_FALSE(fixed.ok());
}

TEST_CASE("a unix listener that was shut down cannot listen again") {
  const TempFolder folder;
  const auto listener = open_listener(unix_path(folder.path("a.sock")));
  REQUIRE(listener.ok());
  REQUIRE(::shutdown(listener->fd.get(), SHUT_RDWR) == 0);
  CHECK(listen_again(*listener).error().code == ESHUTDOWN);
}

TEST_CASE("an address that a group has is a fault for whoever begins another one, or binds it alone") {
  Group group(2);
  const auto second = open_listener(tcp("127.0.0.1", group.port), Sharing::begins);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code == EADDRINUSE);
  CHECK(open_listener(tcp("127.0.0.1", group.port)).error().code == EADDRINUSE);
  const auto alone = open_listener(tcp("127.0.0.1"));
  REQUIRE(alone.ok());
  CHECK(open_listener(tcp("127.0.0.1", port_of(*alone)), Sharing::begins).error().code == EADDRINUSE);
}

TEST_CASE("only TCP can be shared by slots") {
  const TempFolder folder;
  CHECK(open_listener(unix_path(folder.path("a")), Sharing::begins).error().code == EINVAL);
  Address udp = tcp("127.0.0.1");
  udp.kind = AddressKind::udp;
  const auto refused = open_listener(udp, Sharing::begins);
  REQUIRE_FALSE(refused.ok());
  CHECK(lacks(refused.error().text(), "only a TCP address") == "");
}

TEST_CASE("a backlog that was made smaller is given back") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  const auto backlog = [&] {
    tcp_info info{};
    socklen_t size = sizeof info;
    REQUIRE(::getsockopt(listener->fd.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    return info.tcpi_sacked;  // of a listener
  };
  const auto before = backlog();
  REQUIRE(::listen(listener->fd.get(), 5) == 0);
  CHECK(backlog() == 5);
  REQUIRE(renew_backlog(listener->fd.get()).ok());
  CHECK(backlog() == before);
}

TEST_CASE("the program is attached in a fraction of a millisecond, also for many slots with gaps") {
  for (const std::uint32_t slots : {4U, 64U}) {
    Group group(slots);
    Places odd;
    Places all;
    for (std::uint32_t m = 0; m < slots; ++m) {
      all.push_back(m);
      if (m % 2 == 1) odd.push_back(m);
    }
    constexpr int kRounds = 200;
    const Time before = now();
    for (int i = 0; i < kRounds; ++i) REQUIRE(distribute(group.sockets[0].fd.get(), odd, all).ok());
    const auto each = std::chrono::duration_cast<std::chrono::microseconds>((now() - before) / kRounds);
    INFO(slots << " slots: attached in " << each.count() << " µs");
    CHECK(each < std::chrono::milliseconds(2));
    for (const std::uint32_t member : keys_of(group.counts(100))) CHECK(member % 2 == 1);
  }
}

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "os/linux/proc.hpp"
#include "os/linux/sockets.hpp"
#include "os_help.hpp"
#include "socket_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

TEST_CASE(
    "a TCP listener on port 0 tells the port it got, is close-on-exec, blocking and known by its inode") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  const std::uint16_t port = port_of(*listener);
  CHECK(port != 0);
  CHECK(listener->bound == "127.0.0.1:" + std::to_string(port));
  CHECK((::fcntl(listener->fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(listener->fd.get(), F_GETFL) & O_NONBLOCK) == 0);
  CHECK(listener->inode == inode_of(listener->fd.get()));
  CHECK(listener->inode != 0);
  CHECK(connect_v4(port));
}

TEST_CASE("the backlog is what the system allows") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  tcp_info info{};
  socklen_t size = sizeof info;
  REQUIRE(::getsockopt(listener->fd.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
  // For a listener the kernel tells its backlog in this field (tcp_get_info()).
  CHECK(info.tcpi_sacked == parse_number(proc_text("/proc/sys/net/core/somaxconn", 32)));
}

TEST_CASE("localhost is 127.0.0.1, and other names are no addresses") {
  const auto listener = open_listener(tcp("localhost"));
  REQUIRE(listener.ok());
  CHECK(listener->bound.rfind("127.0.0.1:", 0) == 0);
  const auto name = open_listener(tcp("example.org", 80));
  REQUIRE_FALSE(name.ok());
  CHECK(name.error().code == EINVAL);
  CHECK(lacks(name.error().text(), "example.org:80") == "");
  CHECK(open_listener(tcp("::1%no-such-interface")).error().code == EINVAL);
}

TEST_CASE("no host means v4 and v6 on one socket") {
  const auto listener = open_listener(tcp(""));
  REQUIRE(listener.ok());
  const std::uint16_t port = port_of(*listener);
  CHECK(connect_v4(port));
  if (!has_v6()) return skip("no IPv6 here");
  CHECK(listener->bound == "[::]:" + std::to_string(port));
  CHECK(connect_v6(port));
}

TEST_CASE("no host means v4 alone where there is no IPv6") {
  const std::string said = in_child(false, [] {
    if (!forbid_call(SYS_socket, EAFNOSUPPORT, AF_INET6)) return std::string("seccomp");
    const auto listener = open_listener(tcp(""));
    if (!listener) return listener.error().text();
    if (listener->bound.rfind("0.0.0.0:", 0) != 0) return listener->bound;
    return std::string(connect_v4(port_of(*listener)) ? "ok" : "not reached");
  });
  CHECK(said == "ok");
}

TEST_CASE("a v6 host is v6 only, so that v4 can have the same port") {
  if (!has_v6()) return skip("no IPv6 here");
  const auto v6 = open_listener(tcp("::"));
  REQUIRE(v6.ok());
  const std::uint16_t port = port_of(*v6);
  CHECK_FALSE(connect_v4(port));
  const auto v4 = open_listener(tcp("127.0.0.1", port));
  CHECK(v4.ok());
  const auto loopback = open_listener(tcp("::1"));
  REQUIRE(loopback.ok());
  CHECK(loopback->bound == "[::1]:" + std::to_string(port_of(*loopback)));
}

TEST_CASE("a port in use names the address and who holds it") {
  const auto first = open_listener(tcp("127.0.0.1"));
  REQUIRE(first.ok());
  const std::uint16_t port = port_of(*first);
  const auto second = open_listener(tcp("127.0.0.1", port));
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code == EADDRINUSE);
  CHECK(lacks(second.error().message, "bind 127.0.0.1:" + std::to_string(port)) == "");
  const std::string us = "pid " + std::to_string(::getpid()) + " (" + process_state(::getpid())->name + ")";
  CHECK(lacks(second.error().hint, us) == "");
  CHECK(holder_of_port(port) == us);
  const auto dual = open_listener(tcp("", port));
  REQUIRE_FALSE(dual.ok());
  CHECK(dual.error().code == EADDRINUSE);
}

TEST_CASE("a free port has no holder") {
  std::uint16_t port = 0;
  {
    const auto listener = open_listener(tcp("127.0.0.1"));
    REQUIRE(listener.ok());
    port = port_of(*listener);
  }
  CHECK(holder_of_port(port).empty());
}

TEST_CASE("a port can be bound again while old connections of it end") {
  auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  const std::uint16_t port = port_of(*listener);
  const UniqueFd client = connect_v4(port);
  REQUIRE(client);
  {
    // The side that closes first keeps the connection in TIME_WAIT.
    const UniqueFd accepted(::accept4(listener->fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(accepted);
  }
  REQUIRE(read_all(client.get(), 0)->empty());
  listener->fd.reset();
  CHECK(open_listener(tcp("127.0.0.1", port)).ok());
}

TEST_CASE("an address that this machine does not have is said so") {
  const auto listener = open_listener(tcp("192.0.2.1", 8000));  // TEST-NET-1 of RFC 5737
  REQUIRE_FALSE(listener.ok());
  CHECK(listener.error().code == EADDRNOTAVAIL);
  CHECK(lacks(listener.error().hint, "no such address") == "");
}

TEST_CASE("a low port without privileges says what it needs") {
  const std::string said = in_child(true, [] {
    const auto listener = open_listener(tcp("127.0.0.1", 1));
    return listener ? "bound" : std::to_string(listener.error().code) + listener.error().hint;
  });
  if (said == "bound") return skip("low ports are open to everyone here");
  CHECK(said == std::to_string(EACCES) + "a port below 1024 needs root or CAP_NET_BIND_SERVICE");
}

TEST_CASE("a UDP socket is bound and receives, and its port cannot be shared in silence") {
  Address address = tcp("127.0.0.1");
  address.kind = AddressKind::udp;
  const auto bound = open_listener(address);
  REQUIRE(bound.ok());
  address.port = port_of(*bound);
  CHECK(bound->bound == "udp:127.0.0.1:" + std::to_string(address.port));
  const UniqueFd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to = v4_address(address.port);
  REQUIRE(::sendto(sender.get(), "hi", 2, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 2);
  REQUIRE(wait_readable(bound->fd.get()));
  char bytes[8];
  CHECK(::recv(bound->fd.get(), bytes, sizeof bytes, 0) == 2);
  const auto again = open_listener(address);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code == EADDRINUSE);
  CHECK(lacks(again.error().hint, "pid " + std::to_string(::getpid())) == "");
}

TEST_CASE("an abstract unix socket is bound without a file, and again when it is free") {
  Address address;
  address.kind = AddressKind::unix_abstract;
  address.path = "runmain-test-" + std::to_string(::getpid());
  {
    const auto listener = open_listener(address);
    REQUIRE(listener.ok());
    CHECK(listener->bound == "unix:@" + address.path);
    CHECK(connect_unix(address));
    CHECK(open_listener(address).error().code == EADDRINUSE);
  }
  CHECK(open_listener(address).ok());
}

TEST_CASE("a unix path is bound with the mode that the umask leaves") {
  const TempFolder folder;
  const Address address = unix_path(folder.path("s"));
  const mode_t before = ::umask(0077);
  const auto listener = open_listener(address);
  ::umask(before);
  REQUIRE(listener.ok());
  CHECK(listener->bound == "unix:" + address.path);
  CHECK(connect_unix(address));
  struct stat s {};
  REQUIRE(::stat(address.path.c_str(), &s) == 0);
  CHECK((s.st_mode & 0777U) == 0700U);
}

TEST_CASE("a stale unix path is replaced") {
  const TempFolder folder;
  const Address address = unix_path(folder.path("s"));
  { REQUIRE(open_listener(address).ok()); }
  struct stat s {};
  REQUIRE(::lstat(address.path.c_str(), &s) == 0);
  const auto listener = open_listener(address);
  REQUIRE(listener.ok());
  CHECK(connect_unix(address));
}

TEST_CASE("a unix path on which somebody listens is not touched, nor one with a full backlog") {
  const TempFolder folder;
  const Address address = unix_path(folder.path("s"));
  const auto living = open_listener(address);
  REQUIRE(living.ok());
  const auto second = open_listener(address);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code == EADDRINUSE);
  CHECK(lacks(second.error().message, "a living process listens there") == "");
  CHECK(connect_unix(address));

  REQUIRE(::listen(living->fd.get(), 0) == 0);
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 10 && (waiting.empty() || waiting.back()); ++i)
    waiting.push_back(connect_unix(address));
  CHECK_FALSE(waiting.back());
  CHECK(open_listener(address).error().code == EADDRINUSE);
  CHECK(::access(address.path.c_str(), F_OK) == 0);
}

TEST_CASE("a datagram socket at a unix path is not taken for a stale one") {
  const TempFolder folder;
  const Address address = unix_path(folder.path("s"));
  const UniqueFd datagram(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, address.path.c_str(), address.path.size() + 1);
  REQUIRE(::bind(datagram.get(), reinterpret_cast<sockaddr*>(&un), sizeof un) == 0);
  CHECK(open_listener(address).error().code == EADDRINUSE);
  CHECK(::access(address.path.c_str(), F_OK) == 0);
}

TEST_CASE("a file, a folder or a link at a unix path is never removed") {
  const TempFolder folder;
  const std::string file = folder.file("file", "precious", 0600);
  CHECK(open_listener(unix_path(file)).error().code == EADDRINUSE);
  CHECK(*read_file(file, 100) == "precious");
  CHECK(open_listener(unix_path(folder.path())).error().code == EADDRINUSE);
  REQUIRE(::symlink("file", folder.path("link").c_str()) == 0);
  CHECK(open_listener(unix_path(folder.path("link"))).error().code == EADDRINUSE);
  struct stat s {};
  CHECK(::lstat(folder.path("link").c_str(), &s) == 0);
}

TEST_CASE("a unix path may have 107 bytes and no more, an abstract name too") {
  const TempFolder folder;
  const std::string base = folder.path("");
  Address address = unix_path(base + std::string(107 - base.size(), 'x'));
  CHECK(open_listener(address).ok());
  address.path += 'x';
  CHECK(open_listener(address).error().code == ENAMETOOLONG);
  address.kind = AddressKind::unix_abstract;
  CHECK(open_listener(address).error().code == ENAMETOOLONG);
  address.path.pop_back();
  CHECK(open_listener(address).ok());
  address.path.clear();
  CHECK(open_listener(address).error().code == EINVAL);
}

TEST_CASE("a unix path in a folder that is not there says so") {
  const auto listener = open_listener(unix_path("/no/such/folder/s"));
  REQUIRE_FALSE(listener.ok());
  CHECK(listener.error().code == ENOENT);
  CHECK(lacks(listener.error().text(), "its folder does not exist") == "");
}

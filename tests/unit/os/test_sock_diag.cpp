#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/linux/sock_diag.hpp"
#include "os/linux/sockets.hpp"
#include "os_help.hpp"
#include "socket_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

// "ok" if the client's other end is nobody before the accept, the accepted socket after it, and unknown when
// that is closed; else what is wrong.
std::string follow(const Listener& listener, const UniqueFd& client) {
  if (!client) return "not connected";
  const auto before = peer_inode(client.get());
  if (!before) return "before: " + before.error().text();
  if (*before != 0) return "accepted too early";
  UniqueFd accepted(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!accepted) return "accept";
  const auto after = peer_inode(client.get());
  if (!after) return "after: " + after.error().text();
  if (*after != inode_of(accepted.get())) return "not the accepted socket";
  const auto ours = peer_inode(accepted.get());
  if (!ours || *ours != inode_of(client.get())) return "not the client's socket";
  if (!process_has_socket(::getpid(), *after)) return "we do not have it";
  accepted.reset();
  if (process_has_socket(::getpid(), *after)) return "we still have it";
  const auto closed = peer_inode(client.get());
  return closed ? "closed, and still " + std::to_string(*closed) : "ok";
}

}  // namespace

TEST_CASE("the other end of a TCP connection is nobody, then the accepted socket, then unknown") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  CHECK(follow(*listener, connect_v4(port_of(*listener))) == "ok");
}

TEST_CASE("the same over IPv6, and over IPv4 at a dual-stack listener") {
  if (!has_v6()) return skip("no IPv6 here");
  const auto v6 = open_listener(tcp("::1"));
  REQUIRE(v6.ok());
  CHECK(follow(*v6, connect_v6(port_of(*v6))) == "ok");
  const auto dual = open_listener(tcp(""));
  REQUIRE(dual.ok());
  CHECK(follow(*dual, connect_v4(port_of(*dual))) == "ok");
  CHECK(follow(*dual, connect_mapped(port_of(*dual))) == "ok");
  const auto v4 = open_listener(tcp("127.0.0.1"));
  REQUIRE(v4.ok());
  CHECK(follow(*v4, connect_mapped(port_of(*v4))) == "ok");
}

TEST_CASE("the same where netlink is not to be had") {
  const std::string said = in_child(false, [] {
    if (!forbid_call(SYS_socket, EPERM, AF_NETLINK)) return std::string("seccomp");
    const auto listener = open_listener(tcp("127.0.0.1"));
    if (!listener) return listener.error().text();
    const std::string v4 = follow(*listener, connect_v4(port_of(*listener)));
    if (v4 != "ok" || !has_v6()) return v4;
    const auto dual = open_listener(tcp(""));
    if (!dual) return dual.error().text();
    const std::string mapped = follow(*dual, connect_v4(port_of(*dual)));
    return mapped == "ok" ? follow(*dual, connect_v6(port_of(*dual))) : "mapped: " + mapped;
  });
  CHECK(said == "ok");
}

TEST_CASE("the same over a unix socket, by path and abstract") {
  const TempFolder folder;
  Address address = unix_path(folder.path("s"));
  const auto listener = open_listener(address);
  REQUIRE(listener.ok());
  CHECK(follow(*listener, connect_unix(address)) == "ok");
  address.kind = AddressKind::unix_abstract;
  address.path = "runmain-test-diag-" + std::to_string(::getpid());
  const auto abstract = open_listener(address);
  REQUIRE(abstract.ok());
  CHECK(follow(*abstract, connect_unix(address)) == "ok");
}

TEST_CASE("a connection that the kernel holds back until data comes is not accepted") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  const int seconds = 5;
  REQUIRE(::setsockopt(listener->fd.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) == 0);
  const UniqueFd client = connect_v4(port_of(*listener));
  REQUIRE(client);
  const auto before = peer_inode(client.get());
  REQUIRE(before.ok());
  CHECK(*before == 0);
  REQUIRE(write_all(client.get(), "x").ok());
  const UniqueFd accepted(::accept4(listener->fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  CHECK(*peer_inode(client.get()) == inode_of(accepted.get()));
}

TEST_CASE("one of many connections is told from the others") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> accepted;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(connect_v4(port_of(*listener)));
    accepted.emplace_back(::accept4(listener->fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  for (std::size_t i = 0; i < clients.size(); ++i) {
    CHECK(*peer_inode(clients[i].get()) == inode_of(accepted[i].get()));
  }
}

TEST_CASE("what is no connected socket has no peer") {
  const auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  CHECK(peer_inode(listener->fd.get()).error().code == ENOTCONN);
  CHECK(peer_inode(-1).error().code == EBADF);
  const Pipe pipe = make_pipe();
  CHECK(peer_inode(pipe.read.get()).error().code == ENOTSOCK);
}

TEST_CASE("a process has a socket, or polls it, only if it really does") {
  auto listener = open_listener(tcp("127.0.0.1"));
  auto other = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  REQUIRE(other.ok());
  const pid_t self = ::getpid();
  CHECK(process_has_socket(self, listener->inode));
  CHECK_FALSE(process_has_socket(self, 0));
  CHECK_FALSE(process_polls_inode(self, listener->inode));
  const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  // Many other fds before it in the same epoll instance.
  std::vector<Pipe> pipes;
  for (int i = 0; i < 200; ++i) {
    pipes.push_back(make_pipe());
    REQUIRE(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pipes.back().read.get(), &event) == 0);
  }
  CHECK_FALSE(process_polls_inode(self, listener->inode));
  REQUIRE(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener->fd.get(), &event) == 0);
  CHECK(process_polls_inode(self, listener->inode));
  CHECK_FALSE(process_polls_inode(self, other->inode));
  CHECK_FALSE(process_polls_inode(self, 0));

  Pipe ready = make_pipe();
  const std::uint64_t inode = other->inode;
  const Child child = fork_child([&] {
    other->fd.reset();
    if (!write_all(ready.write.get(), "r")) return 1;
    ::pause();
    return 0;
  });
  REQUIRE(wait_readable(ready.read.get()));
  CHECK(process_has_socket(child.pid(), listener->inode));
  CHECK_FALSE(process_has_socket(child.pid(), inode));
  const pid_t gone = fork_child([] { return 0; }).pid();
  CHECK_FALSE(process_has_socket(gone, listener->inode));
  CHECK_FALSE(process_polls_inode(gone, listener->inode));
}

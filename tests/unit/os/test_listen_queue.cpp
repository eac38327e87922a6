#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <vector>

#include "os/linux/listen_queue.hpp"
#include "os/linux/sockets.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

Listener open(const Address& address) {
  auto made = open_listener(address);
  if (!made) FAIL(made.error().text());
  return std::move(*made);
}

Address tcp() {
  Address address;
  address.kind = AddressKind::tcp;
  address.host = "127.0.0.1";
  return address;
}

UniqueFd client_of(const Listener& l) {
  sockaddr_storage to{};
  socklen_t size = sizeof to;
  REQUIRE(::getsockname(l.fd.get(), reinterpret_cast<sockaddr*>(&to), &size) == 0);
  UniqueFd fd(::socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), size) == 0);
  return fd;
}

}  // namespace

TEST_CASE("connections that nobody has accepted are counted, TCP and unix, and only at these sockets") {
  const TempFolder folder;
  const Listener a = open(tcp());
  const Listener b = open(tcp());
  Address path;
  path.kind = AddressKind::unix_path;
  path.path = folder.path("s");
  const Listener c = open(path);
  CHECK(queued_connections({a.inode, b.inode, c.inode}) == 0);
  std::vector<UniqueFd> clients;
  for (const Listener* l : {&a, &a, &a, &b, &c, &c}) clients.push_back(client_of(*l));
  CHECK(queued_connections({a.inode}) == 3);
  CHECK(queued_connections({b.inode}) == 1);
  CHECK(queued_connections({c.inode}) == 2);
  CHECK(queued_connections({c.inode, a.inode}) == 5);
  CHECK(queued_connections({}) == 0);
  const UniqueFd one(::accept4(a.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  CHECK(queued_connections({a.inode}) == 2);
}

TEST_CASE("each socket has its queue and its backlog, one more of which have room") {
  const TempFolder folder;
  const Listener a = open(tcp());
  Address path;
  path.kind = AddressKind::unix_path;
  path.path = folder.path("s");
  const Listener b = open(path);
  const Listener idle = open(tcp());
  for (const Listener* l : {&a, &b}) REQUIRE(::listen(l->fd.get(), 2) == 0);
  std::vector<UniqueFd> clients;
  for (const Listener* l : {&a, &a, &a, &b, &b, &b}) clients.push_back(client_of(*l));
  const auto found = listen_queues({a.inode, b.inode, idle.inode, 1});
  REQUIRE(found.size() == 3);
  for (const Listener* l : {&a, &b}) {
    CHECK(found.at(l->inode).waiting == 3);
    CHECK(found.at(l->inode).backlog == 2U);
  }
  CHECK(found.at(idle.inode).waiting == 0);
  CHECK(found.at(idle.inode).backlog > 2U);
  // A client that does not wait.
  const UniqueFd late(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  CHECK(::connect(late.get(), reinterpret_cast<const sockaddr*>(&b.name), b.name_size) != 0);
  CHECK(errno == EAGAIN);
}

TEST_CASE("where netlink is forbidden the queue of a TCP socket is read from proc") {
  const Listener a = open(tcp());
  const UniqueFd client = client_of(a);
  const std::string said = in_child(false, [&]() -> std::string {
    if (!forbid_call(SYS_socket, EPERM, AF_NETLINK)) return "no filter";
    const auto found = listen_queues({a.inode});
    if (found.size() != 1 || found.at(a.inode).backlog) return "a backlog that nobody tells";
    return std::to_string(queued_connections({a.inode}));
  });
  CHECK(said == "1");
}

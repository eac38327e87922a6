#include "socket_help.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace runmain::os::test {

namespace {

UniqueFd connected(int family, int flags, const void* address, socklen_t size) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (fd && ::connect(fd.get(), static_cast<const sockaddr*>(address), size) != 0) fd.reset();
  return fd;
}

UniqueFd connected_v6(const char* host, std::uint16_t port) {
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(port);
  ::inet_pton(AF_INET6, host, &to.sin6_addr);
  return connected(AF_INET6, 0, &to, sizeof to);
}

}  // namespace

Address tcp(const std::string& host, std::uint16_t port) {
  Address address;
  address.host = host;
  address.port = port;
  return address;
}

Address unix_path(const std::string& path) {
  Address address;
  address.kind = AddressKind::unix_path;
  address.path = path;
  return address;
}

sockaddr_in v4_address(std::uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}

bool has_v6() {
  const auto listener = open_listener(tcp("::1"));
  return listener.ok();
}

UniqueFd connect_v4(std::uint16_t port) {
  const sockaddr_in to = v4_address(port);
  return connected(AF_INET, 0, &to, sizeof to);
}

UniqueFd connect_v6(std::uint16_t port) { return connected_v6("::1", port); }

UniqueFd connect_mapped(std::uint16_t port) { return connected_v6("::ffff:127.0.0.1", port); }

UniqueFd connect_unix(const Address& address) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  const bool abstract = address.kind == AddressKind::unix_abstract;
  std::memcpy(to.sun_path + (abstract ? 1 : 0), address.path.data(), address.path.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.path.size() + 1);
  return connected(AF_UNIX, SOCK_NONBLOCK, &to, size);
}

}  // namespace runmain::os::test

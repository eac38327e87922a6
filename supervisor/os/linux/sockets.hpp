// Listening sockets: TCP on v4, v6 and both, unix sockets by path and abstract, UDP.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

// Numbers as core::AddressKind.
enum class AddressKind : std::uint8_t { tcp, unix_path, unix_abstract, udp };

struct Address {
  AddressKind kind = AddressKind::tcp;
  std::string host;  // numeric; empty: every address, v4 and v6 on one socket (v4 only where v6 is off)
  std::uint16_t port = 0;
  std::string path;  // unix_path; unix_abstract without '@'
};

// Whether other sockets may be bound to the same address (SO_REUSEPORT). The first one of a group is bound as
// if it were alone, so that an address that a stranger has is a fault.
enum class Sharing : std::uint8_t { none, begins, joins };

struct Listener {
  UniqueFd fd;
  AddressKind kind = AddressKind::tcp;
  std::string
      bound;  // "127.0.0.1:8000", "[::1]:8000", "unix:/run/web.sock", "unix:@name", "udp:127.0.0.1:53"
  std::uint64_t inode = 0;
  sockaddr_storage name{};  // as bound
  socklen_t name_size = sizeof(sockaddr_storage);
};

// Binds and listens (backlog SOMAXCONN as the system has it), SO_REUSEADDR, close-on-exec, blocking. A stale
// unix path (nobody accepts there: connect(2) says ECONNREFUSED) is replaced; a living one or a file that is
// no socket is EADDRINUSE. On failure message says which call and address, code the errno, hint what to do
// (who holds the port, if /proc tells).
Result<Listener> open_listener(const Address& address, Sharing sharing = Sharing::none);

// A socket that open_listener() has made before this program was executed in its process. `name`: the bytes
// of its Listener's; one that somebody has shut down does not tell it any more.
Listener known_listener(UniqueFd fd, AddressKind kind, std::string bound, std::string_view name);

// Whether it accepts connections (SO_ACCEPTCONN).
bool is_listening(int fd);
// The port as bound; 0 where there is none.
std::uint16_t port_of(const Listener& listener);
// Gives it the backlog of open_listener() again, if it listens. On failure the errno.
Result<void> renew_backlog(int fd);
// After somebody has called shutdown(2) on it: listens again at the same address. What was in its queue is
// lost. On failure the errno: ESHUTDOWN for all but TCP, where the kernel has no way back.
Result<void> listen_again(const Listener& listener);

// "pid 123 (nginx)" for a TCP port in use by a process that we may look at; empty if unknown.
std::string holder_of_port(std::uint16_t port);

// st_ino of an fd's file (0 on failure); for a socket the number in /proc/PID/fd's "socket:[N]".
std::uint64_t inode_of(int fd);

}  // namespace runmain::os

// Listening sockets: TCP on v4, v6 and both, unix sockets by path and abstract, UDP.
#pragma once

#include <cstdint>
#include <string>

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

struct Listener {
  UniqueFd fd;
  std::string
      bound;  // "127.0.0.1:8000", "[::1]:8000", "unix:/run/web.sock", "unix:@name", "udp:127.0.0.1:53"
  std::uint64_t inode = 0;
};

// Binds and listens (backlog SOMAXCONN as the system has it), SO_REUSEADDR, close-on-exec, blocking. A stale
// unix path (nobody accepts there: connect(2) says ECONNREFUSED) is replaced; a living one or a file that is
// no socket is EADDRINUSE. On failure message says which call and address, code the errno, hint what to do
// (who holds the port, if /proc tells).
Result<Listener> open_listener(const Address& address);

// "pid 123 (nginx)" for a TCP port in use by a process that we may look at; empty if unknown.
std::string holder_of_port(std::uint16_t port);

// st_ino of an fd's file (0 on failure); for a socket the number in /proc/PID/fd's "socket:[N]".
std::uint64_t inode_of(int fd);

}  // namespace runmain::os

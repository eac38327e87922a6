// Addresses and clients for the tests of sockets.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "os/linux/sockets.hpp"

namespace runmain::os::test {

Address tcp(const std::string& host, std::uint16_t port = 0);
Address unix_path(const std::string& path);

sockaddr_in v4_address(std::uint16_t port);
bool has_v6();

// Connected clients; empty when nobody listens (or, for unix, the backlog is full).
UniqueFd connect_v4(std::uint16_t port);
UniqueFd connect_v6(std::uint16_t port);
// An IPv6 socket connected to ::ffff:127.0.0.1.
UniqueFd connect_mapped(std::uint16_t port);
UniqueFd connect_unix(const Address& address);

}  // namespace runmain::os::test

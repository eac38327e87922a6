// How many connections wait to be accepted at listening sockets, by the sockets' inodes, without having the
// sockets. Follows sock_diag(7). Invariant: reads only; the answer may be outdated when it is read.
// Non-goal: sockets of other network namespaces; connections whose handshake is not finished.
#pragma once

#include <cstdint>
#include <vector>

namespace runmain::os {

// The sum for the TCP and unix stream sockets among these; others, and those that nobody tells of, count 0.
// Blocks for about a microsecond a listener of the machine.
std::uint32_t queued_connections(const std::vector<std::uint64_t>& inodes);

}  // namespace runmain::os

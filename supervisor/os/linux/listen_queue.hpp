// How many connections wait to be accepted at listening sockets, and how many may, by the sockets' inodes,
// without having the sockets. Follows sock_diag(7). Invariant: reads only; the answer may be outdated when it
// is read. Non-goal: sockets of other network namespaces; connections whose handshake is not finished.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace runmain::os {

struct ListenQueue {
  std::uint32_t waiting = 0;
  std::optional<std::uint32_t> backlog;  // of listen(2); nothing where netlink is forbidden
};

// By inode: the TCP and unix stream sockets among these, without those that nobody tells of. Blocks for about
// a microsecond a listener of the machine.
std::unordered_map<std::uint64_t, ListenQueue> listen_queues(const std::vector<std::uint64_t>& inodes);

// The sum of those that wait.
std::uint32_t queued_connections(const std::vector<std::uint64_t>& inodes);

}  // namespace runmain::os

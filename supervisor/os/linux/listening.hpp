// Where processes listen: TCP sockets in state LISTEN that one of their fds is. Follows proc(5): the links of
// /proc/PID/fd and the tables of /proc/PID/net, which are those of the process's network namespace.
//
// Invariant: reads only; at most kListeningTableMax bytes of each table, in which listeners come first. A
// process that we may not look at listens nowhere. Non-goal: UDP and unix sockets; who accepts.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::os {

inline constexpr std::size_t kListeningTableMax = 256U << 10U;  // about 1,700 listeners
inline constexpr std::size_t kSocketsMax = 4096;                // fds of these processes that are looked at

struct Listening {
  std::string address;  // "127.0.0.1:3000", "[::1]:3000"; ":3000" for every address, v4 and v6
  std::uint16_t port = 0;
  std::uint64_t inode = 0;
};

// In the order of their ports. `pids` are of one network namespace. Those that one of `but_of` has, too, are
// left out. Blocks for about 20 µs a process.
std::vector<Listening> listening_sockets(const std::vector<pid_t>& pids,
                                         const std::vector<pid_t>& but_of = {});

// The listeners in the text of /proc/net/tcp or /proc/net/tcp6.
std::vector<Listening> parse_listening(std::string_view table);

}  // namespace runmain::os

// Who is at the other end of a connection inside this machine, so that a readiness probe counts only if the
// process under test accepted it. Follows sock_diag(7), proc(5) and epoll(7). Invariant: asks the kernel
// about two given ends; nothing is sent over the connection. Non-goal: peers on other machines or in other
// network namespaces (they are "no such socket").
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.hpp"

namespace runmain::os {

// The inode of the socket that `fd`, a connected TCP or unix stream socket of the caller, is connected to. 0:
// nobody has accepted the connection yet. On failure the errno: ENOENT, there is no such socket here (any
// more); ENOTCONN; EAFNOSUPPORT for other kinds. Blocks for microseconds. `fd` stays the caller's.
Result<std::uint64_t> peer_inode(int fd);

// Whether an fd of the process is the socket with this inode. False too when we may not look at the process.
bool process_has_socket(pid_t pid, std::uint64_t inode);

// Whether an epoll instance of the process waits on the socket with this inode, which says that its event
// loop serves this listener. False says nothing: a program may use poll(2), io_uring or a blocking accept(2).
bool process_polls_inode(pid_t pid, std::uint64_t listener_inode);

}  // namespace runmain::os

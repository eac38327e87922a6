// The sockets that a process was given: with a grant, or by LISTEN_FDS.
//
// Invariant: what is in p.sockets is an open socket with close-on-exec. Every function that takes a Process
// needs its lock. Non-goal: owning them; the program closes what it took.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "process.hpp"

namespace runmain::child {

// Adds a socket. False if `fd` is none or there is no room; reason then says so and `fd` stays the caller's.
// An empty name becomes "unknown", an empty address or kind what getsockname(2) says.
bool add_socket(Process& p, int fd, const ListenerText& text);

// Takes what LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES give to this process (sd_listen_fds(3)).
void take_listen_fds(Process& p);

// Address of "/path" or "@abstract" for connect(2); the length, 0 if `name` is neither or too long.
socklen_t unix_address(const char* name, sockaddr_un& out);

}  // namespace runmain::child

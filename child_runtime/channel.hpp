// The channel to the supervisor: a stream socket with lines (protocol.h), fds beside them by SCM_RIGHTS.
//
// Invariant: only claim_role waits, until its deadline; nothing raises SIGPIPE; no line is ever sent in part
// and then given up while the channel lives. Every function needs the Process's lock. Non-goal: reconnecting.
#pragma once

#include <cstdint>

#include "process.hpp"

namespace runmain::child {

inline constexpr int kReadsPerDispatch = 16;  // a supervisor that floods does not hold up the program's loop

// The mailbox that came with a role: the caller's to close. -1: none.
struct MailboxFds {
  int memory = -1;
  int wake = -1;
};

// Claims the role and waits for the answer. On `granted` the channel, the role and the sockets are this
// process's; else reason says why and nothing is left open. Drain lines that came with the grant are still in
// p.in.
ClaimState claim_role(Process& p, bool explicit_call, MailboxFds& mailbox);

// Sends a line, or keeps it for later when the peer is slow. -ENOTCONN without a channel, -EPIPE if the peer
// is gone, -ENOBUFS if too much is waiting (counted).
int send_line(Process& p, LineWriter& line);
// Sends what is waiting. 0, also when the peer is slow, or -EPIPE.
int flush(Process& p);

// Reads what is there without waiting. Returns the number of messages, and sets drain_asked if one of them
// was a drain. Closes the channel at its end.
int read_channel(Process& p, bool& drain_asked);

// Takes the complete lines out of p.in. For what came along with the grant.
int handle_lines(Process& p, bool& drain_asked);

}  // namespace runmain::child

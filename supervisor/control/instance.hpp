// The lock and the sockets in a runtime folder: at most one runmain a configuration.
//
// Invariant: who holds the lock may replace the sockets; the lock lives as long as one copy of its fd, so it
// survives exec and every head, and ends with the keeper however that ends. Source: flock(2), unix(7).
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::control {

// flock(LOCK_EX | LOCK_NB) on the file, made 0600 where it is missing. Error code EWOULDBLOCK: another
// runmain holds it; the message names its pid.
Result<os::UniqueFd> take_lock(const std::string& path);

// Writes the holder's pid into its lock file.
Result<void> write_holder(int lock_fd, pid_t pid);

// The pid in a lock file that is held; 0 if nobody holds it, -1 if the holder has not written its pid yet.
pid_t lock_holder(const std::string& path);

// Binds and listens on a unix stream socket with exactly this mode, in place of whatever socket is there.
// Requires the lock. On failure the errno; a path over 107 bytes is ENAMETOOLONG, a file that is no socket
// EEXIST.
Result<os::UniqueFd> listen_at(const std::string& path, mode_t mode);

}  // namespace runmain::control

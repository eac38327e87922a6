/* Inside of librunmain_adopt.so: programs that bind and listen by themselves get the listeners that runmain
 * holds.
 *
 * Three functions of libc are interposed (ld.so(8), LD_PRELOAD): bind(2), listen(2), shutdown(2). What is
 * ours is known by SO_COOKIE (socket(7), Linux 4.12), so nothing is written down in the process and a fork, a
 * dup or a fd that was passed on are no cases of their own.
 *
 * Invariants: what is read at the start is never written again; nothing is allocated; errno is as the call
 * that the program made would leave it; where anything is in doubt the real function is called. Non-goal: the
 * role. The sockets are asked for without it, and who gets a connection claims by its own runtime
 * (docs/contract.md). Thread: any, in signal handlers too; before main() and after fork(2). */
#ifndef RUNMAIN_ADOPT_H
#define RUNMAIN_ADOPT_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADOPT_LISTENERS_MAX 48 /* keeper/protocol.hpp: kListenersMax */
#define ADOPT_NAME_MAX 108     /* bytes of the channel's name: sun_path of unix(7) */
#define ADOPT_NONCE_MAX 128    /* bytes */
#define ADOPT_TIMEOUT_MS 5000  /* for an answer of the channel; then the real bind(2) */

/* An address of IPv4 is kept as the mapped one of IPv6 (RFC 4291, 2.5.5.2). */
struct adopt_address {
  struct in6_addr host;
  uint16_t port; /* of the host's byte order */
};

struct adopt_listener {
  struct adopt_address address;
  int type;        /* SOCK_STREAM or SOCK_DGRAM */
  uint64_t cookie; /* SO_COOKIE; 0: not known, and never adopted */
};

struct adopt_config {
  struct adopt_listener
      listeners[ADOPT_LISTENERS_MAX]; /* the first one was given as fd 3, the next as 4, … */
  unsigned count;
  char channel[ADOPT_NAME_MAX]; /* RUNMAIN_CHANNEL; empty: none */
  char nonce[ADOPT_NONCE_MAX];  /* of RUNMAIN_TOKEN; empty: none, or wiped */
};

/* Reads RUNMAIN_ADOPT, RUNMAIN_ADOPT_COOKIES, RUNMAIN_CHANNEL and RUNMAIN_TOKEN out of an environment. On
 * success 1; 0: there is nothing to adopt, or it cannot be understood. */
int adopt_read_config(char* const* environment, struct adopt_config* out);

/* The value of a variable in there, or NULL. */
const char* adopt_variable(char* const* environment, const char* name);

/* On success 1; 0: no address of IPv4 or IPv6. */
int adopt_read_address(const struct sockaddr* address, socklen_t size, struct adopt_address* out);

/* The listener that a bind(2) of this address means, for sockets of this type: its number, or -1. Of several
 * that cover it the narrowest. */
int adopt_match(const struct adopt_config* config, const struct adopt_address* wanted, int type);

/* Whether this listener covers only addresses of IPv6, so that `wanted` of IPv4 is none of them. For a socket
 * that is bound to all addresses this is known by the socket alone (IPV6_V6ONLY of ipv6(7)). */
int adopt_is_unreachable(int listener, const struct adopt_address* wanted);

/* SO_COOKIE, or 0. */
uint64_t adopt_cookie(int fd);

/* The listener with this cookie from runmain, a new fd with FD_CLOEXEC, the caller's to close. On failure -1.
 * Waits at most ADOPT_TIMEOUT_MS. */
int adopt_fetch(const struct adopt_config* config, uint64_t cookie);

#endif

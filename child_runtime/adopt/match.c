/* Which listener an address means. */
#include <string.h>

#include "adopt.h"

int adopt_read_address(const struct sockaddr* address, socklen_t size, struct adopt_address* out) {
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  sa_family_t family = AF_UNSPEC;
  if (address == NULL || size < offsetof(struct sockaddr, sa_data)) return 0;
  memcpy(&family, address, sizeof family);
  memset(out, 0, sizeof *out);
  if (family == AF_INET && size >= sizeof v4) {
    memcpy(&v4, address, sizeof v4);
    out->port = ntohs(v4.sin_port);
    out->host.s6_addr[10] = out->host.s6_addr[11] = 0xff;
    memcpy(out->host.s6_addr + 12, &v4.sin_addr, sizeof v4.sin_addr);
    return 1;
  }
  if (family == AF_INET6 && size >= sizeof v6) {
    memcpy(&v6, address, sizeof v6);
    out->port = ntohs(v6.sin6_port);
    out->host = v6.sin6_addr;
    return 1;
  }
  return 0;
}

static int is_v4(const struct in6_addr* host) { return IN6_IS_ADDR_V4MAPPED(host); }

static int is_wildcard(const struct in6_addr* host) {
  static const unsigned char none[4];
  return is_v4(host) ? memcmp(host->s6_addr + 12, none, sizeof none) == 0 : IN6_IS_ADDR_UNSPECIFIED(host);
}

static int is_loopback(const struct in6_addr* host) {
  return is_v4(host) ? host->s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(host);
}

static int is_same(const struct in6_addr* a, const struct in6_addr* b) {
  return memcmp(a, b, sizeof *a) == 0;
}

/* 0: it is none of the listener's; else the more the better.
 *
 * All addresses mean the port, whichever of them the file has named and of whichever family. So does a
 * loopback address where the listener is on the other one: "localhost" is both, servers bind both, and if one
 * of the two were left to the program no second generation could bind it beside the first. */
static int rank(const struct in6_addr* listener, const struct in6_addr* wanted) {
  const int same_family = is_v4(listener) == is_v4(wanted);
  if (is_same(listener, wanted)) return 6;
  if (is_wildcard(listener)) {
    if (same_family) return 5;
    if (is_wildcard(wanted) || is_loopback(wanted)) return 2;
    return is_v4(wanted) ? 4 : 0; /* of both families, if it is no IPv6 alone */
  }
  if (is_wildcard(wanted)) return same_family ? 3 : 1;
  return is_loopback(listener) && is_loopback(wanted) && !same_family ? 1 : 0;
}

int adopt_match(const struct adopt_config* config, const struct adopt_address* wanted, int type) {
  int best = 0;
  int found = -1;
  for (unsigned i = 0; wanted->port != 0 && i < config->count; ++i) {
    const struct adopt_listener* listener = &config->listeners[i];
    const int ranked = rank(&listener->address.host, &wanted->host);
    if (listener->cookie == 0 || listener->type != type || listener->address.port != wanted->port) continue;
    if (ranked <= best) continue;
    best = ranked;
    found = (int)i;
  }
  return found;
}

int adopt_is_unreachable(int listener, const struct adopt_address* wanted) {
  int only = 0;
  socklen_t size = sizeof only;
  if (!is_v4(&wanted->host) || is_wildcard(&wanted->host) || is_loopback(&wanted->host)) return 0;
  return getsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size) == 0 && only != 0;
}

#include "sockets.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace runmain::child {
namespace {

int option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

void describe_inet(const sockaddr_storage& address, const char* prefix, ListenerText& text) {
  char host[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    std::snprintf(text.address, sizeof text.address, "%s%s:%u", prefix, host, ntohs(v4->sin_port));
  } else {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    std::snprintf(text.address, sizeof text.address, "%s[%s]:%u", prefix, host, ntohs(v6->sin6_port));
  }
}

// Fills an empty address and kind from the socket itself.
void describe(int fd, ListenerText& text) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  const bool datagram = option(fd, SO_TYPE) == SOCK_DGRAM;
  const bool local = address.ss_family == AF_UNIX;
  if (text.kind[0] == '\0') copy_text(text.kind, sizeof text.kind, local ? "unix" : datagram ? "udp" : "tcp");
  if (text.address[0] != '\0') return;
  if (!local) {
    describe_inet(address, datagram ? "udp:" : "", text);
    return;
  }
  const auto* name = reinterpret_cast<const sockaddr_un*>(&address);
  const int length = static_cast<int>(size) - static_cast<int>(offsetof(sockaddr_un, sun_path));
  if (length <= 0) return;  // unnamed
  const bool is_abstract = name->sun_path[0] == '\0';
  std::snprintf(text.address, sizeof text.address, "unix:%s%.*s", is_abstract ? "@" : "",
                is_abstract ? length - 1 : length, name->sun_path + (is_abstract ? 1 : 0));
}

// A whole decimal number; -1 if it is none or above `max`.
long parse_number(const char* text, long max) {
  if (text == nullptr || *text < '0' || *text > '9') return -1;
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  return *end == '\0' && errno == 0 && value <= max ? value : -1;
}

// Copies the name number `index` of a list with ':' between.
void name_at(const char* names, long index, char* out, std::size_t size) {
  for (; index > 0 && names != nullptr; --index) {
    names = std::strchr(names, ':');
    if (names != nullptr) ++names;
  }
  const std::size_t length = names != nullptr ? std::strcspn(names, ":") : 0;
  if (length >= size) return;
  if (length > 0) std::memcpy(out, names, length);
  out[length] = '\0';
}

}  // namespace

bool add_socket(Process& p, int fd, const ListenerText& text) {
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) {
    set_reason(p, "fd %d, given as \"%s\", is no socket: left out", fd, text.name);
    return false;
  }
  if (p.socket_count == kListenersMax) {
    set_reason(p, "more than %u sockets were given: the rest is left out", kListenersMax);
    return false;
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  Socket& s = p.sockets[p.socket_count++];
  s.fd = fd;
  s.text = text;
  if (s.text.name[0] == '\0') copy_text(s.text.name, sizeof s.text.name, "unknown");
  describe(fd, s.text);
  return true;
}

void take_listen_fds(Process& p) {
  p.socket_count = 0;
  const char* fds = std::getenv("LISTEN_FDS");
  if (fds == nullptr || parse_number(std::getenv("LISTEN_PID"), INT32_MAX) != getpid()) return;
  const long count = parse_number(fds, kListenersMax);
  if (count < 0) {
    set_reason(p, "LISTEN_FDS=%.32s is no number from 0 to %u: ignored", fds, kListenersMax);
    return;
  }
  const char* names = std::getenv("LISTEN_FDNAMES");
  for (long i = 0; i < count; ++i) {
    ListenerText text{};
    name_at(names, i, text.name, sizeof text.name);
    add_socket(p, RUNMAIN_LISTEN_FDS_START + static_cast<int>(i), text);
  }
}

socklen_t unix_address(const char* name, sockaddr_un& out) {
  const std::size_t length = std::strlen(name);
  if (length < 2 || length >= sizeof out.sun_path || (name[0] != '/' && name[0] != '@')) return 0;
  out = sockaddr_un{};
  out.sun_family = AF_UNIX;
  std::memcpy(out.sun_path, name, length);
  const bool is_abstract = name[0] == '@';
  if (is_abstract) out.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + (is_abstract ? 0 : 1));
}

}  // namespace runmain::child

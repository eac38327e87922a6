#include "os/linux/sockets.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr std::size_t kTableMax = 16U << 20U;  // bytes of /proc/net/tcp that are read: about 100,000 sockets

// An address as bind(2) takes it.
struct Bindable {
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool dual_stack = false;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

std::string host_port(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string text_of(const Address& a) {
  switch (a.kind) {
    case AddressKind::tcp: return host_port(a.host, a.port);
    case AddressKind::udp: return "udp:" + host_port(a.host, a.port);
    case AddressKind::unix_path: return "unix:" + a.path;
    case AddressKind::unix_abstract: return "unix:@" + a.path;
  }
  return {};
}

// The address that a socket really has, in the form of Listener::bound.
std::string bound_text(int fd, const Address& asked) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return text_of(asked);
  Address real = asked;
  char host[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage, sizeof in);
    ::inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
    real.port = ntohs(in.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    ::inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
    real.port = ntohs(in.sin6_port);
  } else {
    return text_of(asked);
  }
  const std::size_t scope = asked.host.find('%');
  real.host = host + (scope == std::string::npos ? "" : asked.host.substr(scope));
  return text_of(real);
}

Bindable make_v4(in_addr address, std::uint16_t port) {
  Bindable out;
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  in.sin_addr = address;
  std::memcpy(&out.storage, &in, sizeof in);
  out.size = sizeof in;
  return out;
}

Bindable make_v6(const in6_addr& address, std::uint16_t port, std::uint32_t scope) {
  Bindable out;
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port);
  in.sin6_addr = address;
  in.sin6_scope_id = scope;
  std::memcpy(&out.storage, &in, sizeof in);
  out.size = sizeof in;
  return out;
}

Error no_address(const Address& a, const char* why) {
  return Error{text_of(a) + ": " + why, {}, "hosts are written as numbers, such as 127.0.0.1 or ::1", EINVAL};
}

// RFC 4007: "fe80::1%eth0" names the interface, by name or number.
std::optional<std::uint32_t> scope_of(const std::string& name) {
  if (const unsigned index = ::if_nametoindex(name.c_str()); index != 0) return index;
  const auto number = parse_number(name);
  if (!number || *number > UINT32_MAX) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

Result<Bindable> inet_address(const Address& a) {
  if (a.host.empty()) {
    Bindable any = make_v6(in6addr_any, a.port, 0);
    any.dual_stack = true;
    return any;
  }
  in_addr v4{};
  if (::inet_pton(AF_INET, a.host == "localhost" ? "127.0.0.1" : a.host.c_str(), &v4) == 1)
    return make_v4(v4, a.port);
  const std::size_t percent = a.host.find('%');
  in6_addr v6{};
  if (::inet_pton(AF_INET6, a.host.substr(0, percent).c_str(), &v6) != 1)
    return no_address(a, "not an address");
  std::uint32_t scope = 0;
  if (percent != std::string::npos) {
    const auto found = scope_of(a.host.substr(percent + 1));
    if (!found) return no_address(a, "no such network interface");
    scope = *found;
  }
  return make_v6(v6, a.port, scope);
}

// unix(7): a path needs its final NUL, an abstract name starts with one and ends where the length says.
Result<Bindable> unix_address(const Address& a) {
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  const bool abstract = a.kind == AddressKind::unix_abstract;
  if (a.path.empty()) return Error{text_of(a) + ": the name is empty", {}, {}, EINVAL};
  if (a.path.size() + 1 > sizeof un.sun_path) {
    return Error{text_of(a) + ": longer than " + std::to_string(sizeof un.sun_path - 1) + " bytes",
                 {},
                 "the kernel allows no longer names of sockets; use a shorter folder",
                 ENAMETOOLONG};
  }
  if (!abstract && a.path.find('\0') != std::string::npos)
    return Error{"unix: a NUL in the path", {}, {}, EINVAL};
  std::memcpy(un.sun_path + (abstract ? 1 : 0), a.path.data(), a.path.size());
  Bindable out;
  std::memcpy(&out.storage, &un, sizeof un);
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + a.path.size() + 1);
  return out;
}

// ---- who holds an address
// ---------------------------------------------------------------------------------------

constexpr std::string_view kListening = "0A";  // TCP_LISTEN; a bound UDP socket is "07"
constexpr std::string_view kUnconnected = "07";

// Inodes of the sockets in a table of proc(5) that wait on `port`:
// "sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …".
void sockets_on_port(const char* table, std::string_view state, std::uint16_t port,
                     std::vector<std::uint64_t>& out) {
  const std::string text = proc_text(table, kTableMax);
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    std::string_view fields[10];
    std::size_t n = 0;
    while (n < 10) {
      const std::size_t begin = line.find_first_not_of(' ');
      if (begin == std::string_view::npos) break;
      line.remove_prefix(begin);
      fields[n] = line.substr(0, line.find(' '));
      line.remove_prefix(fields[n].size());
      ++n;
    }
    if (n < 10 || fields[3] != state) continue;
    const std::size_t colon = fields[1].rfind(':');
    if (colon == std::string_view::npos || parse_number(fields[1].substr(colon + 1), 16) != port) continue;
    if (const auto inode = parse_number(fields[9]); inode && *inode != 0) out.push_back(*inode);
  }
}

std::string holder_of(const std::vector<std::uint64_t>& inodes) {
  if (inodes.empty()) return {};
  std::vector<std::string> links;
  links.reserve(inodes.size());
  for (const std::uint64_t inode : inodes) links.push_back("socket:[" + std::to_string(inode) + "]");
  std::string holder;
  any_process([&](pid_t pid) {
    const bool found = any_fd_of(pid, [&links](int, std::string_view link) {
      return std::find(links.begin(), links.end(), link) != links.end();
    });
    if (!found) return false;
    const auto state = process_state(pid);
    holder = "pid " + std::to_string(pid) + (state ? " (" + state->name + ")" : "");
    return true;
  });
  return holder;
}

std::string holder_of_udp_port(std::uint16_t port) {
  std::vector<std::uint64_t> inodes;
  sockets_on_port("/proc/net/udp", kUnconnected, port, inodes);
  sockets_on_port("/proc/net/udp6", kUnconnected, port, inodes);
  return holder_of(inodes);
}

std::string bind_hint(const Address& a, int error) {
  const bool inet = a.kind == AddressKind::tcp || a.kind == AddressKind::udp;
  if (error == EADDRINUSE && inet) {
    const std::string holder =
        a.kind == AddressKind::tcp ? holder_of_port(a.port) : holder_of_udp_port(a.port);
    return holder.empty() ? "another program has this port" : "the port is held by " + holder;
  }
  if (error == EADDRINUSE) return "another program listens under this name";
  if (error == EACCES && inet) return "a port below 1024 needs root or CAP_NET_BIND_SERVICE";
  if (error == EADDRNOTAVAIL) return "this machine has no such address";
  if (error == ENOENT && a.kind == AddressKind::unix_path) return "its folder does not exist";
  return {};
}

// ---- opening
// ----------------------------------------------------------------------------------------------------

Error call_fault(const char* call, const Address& a, int error) {
  return Error{
      std::string(call) + " " + text_of(a) + ": " + std::strerror(error), {}, bind_hint(a, error), error};
}

Error in_use(const Address& a, const char* why) {
  return Error{
      "bind " + text_of(a) + ": " + why, {}, "give another path, or end the program that has it", EADDRINUSE};
}

// After EADDRINUSE on a path: takes a stale socket away, so that bind may be tried again.
Result<void> clear_stale_path(const Address& a, const Bindable& where) {
  struct stat s {};
  if (::lstat(a.path.c_str(), &s) != 0) {
    if (errno == ENOENT) return {};
    return call_fault("lstat", a, errno);
  }
  if (!S_ISSOCK(s.st_mode)) return in_use(a, "there is a file that is no socket");
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return call_fault("socket", a, errno);
  if (::connect(probe.get(), where.get(), where.size) == 0)
    return in_use(a, "a living process listens there");
  if (errno == ENOENT) return {};
  // EAGAIN: its backlog is full; EPROTOTYPE: it is of another type; EACCES: not ours to judge. All may be
  // alive.
  if (errno != ECONNREFUSED) return in_use(a, "a process seems to use it");
  if (::unlink(a.path.c_str()) != 0 && errno != ENOENT) return call_fault("unlink stale", a, errno);
  return {};
}

int backlog() {
  const auto system = parse_number(proc_text("/proc/sys/net/core/somaxconn", 32));
  const std::uint64_t wanted = std::max<std::uint64_t>(system.value_or(0), SOMAXCONN);
  return static_cast<int>(std::min<std::uint64_t>(wanted, INT32_MAX));
}

Result<UniqueFd> bound_socket(const Address& a, const Bindable& where, Sharing sharing) {
  const int type = a.kind == AddressKind::udp ? SOCK_DGRAM : SOCK_STREAM;
  UniqueFd fd(::socket(where.family(), type | SOCK_CLOEXEC, 0));
  if (!fd) return call_fault("socket", a, errno);
  const int on = 1;
  const int v6_only = where.dual_stack ? 0 : 1;
  // For UDP, SO_REUSEADDR would let two programs share a port in silence.
  if (a.kind == AddressKind::tcp && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return call_fault("setsockopt SO_REUSEADDR", a, errno);
  }
  if (where.family() == AF_INET6 &&
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) != 0) {
    return call_fault("setsockopt IPV6_V6ONLY", a, errno);
  }
  const auto share = [&] { return ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0; };
  if (sharing == Sharing::joins && !share()) return call_fault("setsockopt SO_REUSEPORT", a, errno);
  if (::bind(fd.get(), where.get(), where.size) == 0) {
    // Not before: bind(2) would find a place beside a stranger's socket that may be shared.
    if (sharing == Sharing::begins && !share()) return call_fault("setsockopt SO_REUSEPORT", a, errno);
    return fd;
  }
  if (errno != EADDRINUSE || a.kind != AddressKind::unix_path) return call_fault("bind", a, errno);
  if (auto cleared = clear_stale_path(a, where); !cleared) return cleared.error();
  if (::bind(fd.get(), where.get(), where.size) != 0) return call_fault("bind", a, errno);
  return fd;
}

Result<UniqueFd> bound_inet_socket(const Address& a, Sharing sharing) {
  auto where = inet_address(a);
  if (!where) return where.error();
  auto fd = bound_socket(a, *where, sharing);
  if (fd || !where->dual_stack) return fd;
  const int error = fd.error().code;
  if (error != EAFNOSUPPORT && error != EADDRNOTAVAIL) return fd;
  in_addr any{};
  any.s_addr = htonl(INADDR_ANY);
  return bound_socket(a, make_v4(any, a.port), sharing);  // IPv6 is off
}

Result<UniqueFd> bound_unix_socket(const Address& a) {
  auto where = unix_address(a);
  if (!where) return where.error();
  return bound_socket(a, *where, Sharing::none);
}

}  // namespace

Result<Listener> open_listener(const Address& address, Sharing sharing) {
  const bool inet = address.kind == AddressKind::tcp || address.kind == AddressKind::udp;
  if (sharing != Sharing::none && address.kind != AddressKind::tcp)
    return Error{text_of(address) + ": only a TCP address can have a socket for each worker", {}, {}, EINVAL};
  auto fd = inet ? bound_inet_socket(address, sharing) : bound_unix_socket(address);
  if (!fd) return fd.error();
  if (address.kind != AddressKind::udp && ::listen(fd->get(), backlog()) != 0) {
    // With SO_REUSEADDR two sockets can be bound to one port; only one of them can listen.
    const int error = errno;
    if (address.kind == AddressKind::unix_path) ::unlink(address.path.c_str());
    return call_fault("listen", address, error);
  }
  Listener out;
  out.kind = address.kind;
  out.bound = bound_text(fd->get(), address);
  (void)::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&out.name), &out.name_size);
  out.inode = inode_of(fd->get());
  out.fd = std::move(*fd);
  return out;
}

Listener known_listener(UniqueFd fd, AddressKind kind, std::string bound, std::string_view name) {
  Listener listener;
  listener.kind = kind;
  listener.bound = std::move(bound);
  listener.inode = inode_of(fd.get());
  listener.name_size = static_cast<socklen_t>(std::min(name.size(), sizeof listener.name));
  std::memcpy(&listener.name, name.data(), listener.name_size);
  listener.fd = std::move(fd);
  return listener;
}

bool is_listening(int fd) {
  int on = 0;
  socklen_t size = sizeof on;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) == 0 && on != 0;
}

std::uint16_t port_of(const Listener& listener) {
  const sockaddr_storage& name = listener.name;
  if (name.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(name).sin_port);
  if (name.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(name).sin6_port);
  return 0;
}

Result<void> renew_backlog(int fd) {
  if (!is_listening(fd) || ::listen(fd, backlog()) == 0) return {};
  return Error::from_errno("listen", errno);
}

Result<void> listen_again(const Listener& listener) {
  if (listener.kind != AddressKind::tcp) return Error::from_errno(listener.bound, ESHUTDOWN);
  // A port that the kernel had chosen is let go by shutdown(2), and listen(2) would take another one. EINVAL:
  // one that was asked for is still bound.
  const auto* name = reinterpret_cast<const sockaddr*>(&listener.name);
  if (::bind(listener.fd.get(), name, listener.name_size) != 0 && errno != EINVAL)
    return Error::from_errno("bind " + listener.bound, errno);
  if (::listen(listener.fd.get(), backlog()) != 0)
    return Error::from_errno("listen " + listener.bound, errno);
  return {};
}

std::string holder_of_port(std::uint16_t port) {
  std::vector<std::uint64_t> inodes;
  sockets_on_port("/proc/net/tcp", kListening, port, inodes);
  sockets_on_port("/proc/net/tcp6", kListening, port, inodes);
  return holder_of(inodes);
}

std::uint64_t inode_of(int fd) {
  struct stat s {};
  return ::fstat(fd, &s) == 0 ? s.st_ino : 0;
}

}  // namespace runmain::os

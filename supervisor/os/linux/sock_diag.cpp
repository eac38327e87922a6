#include "os/linux/sock_diag.hpp"

#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "os/linux/fd.hpp"
#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

// The kernel's state numbers (enum in net/tcp_states.h).
constexpr std::uint64_t kEstablished = 1;
constexpr std::uint64_t kSynRecv = 3;
constexpr std::uint64_t kCloseWait = 8;
constexpr std::uint64_t kListen = 10;
constexpr std::uint64_t kNewSynRecv = 12;

constexpr unsigned kShutdownBoth = 3;  // RCV_SHUTDOWN and SEND_SHUTDOWN of the kernel

constexpr std::size_t kAnswerMax = 8192;       // bytes of one netlink answer
constexpr std::size_t kTableMax = 16U << 20U;  // bytes of /proc/net/tcp that are read
constexpr std::size_t kFdinfoMax = 4U << 20U;  // bytes of an epoll's fdinfo: about 50,000 watched fds

// One end of a TCP connection. IPv4 in an IPv6 socket (::ffff:1.2.3.4) is kept as IPv4: that is how the
// kernel finds it, whatever family the other end has.
struct End {
  int family = AF_INET;
  std::array<std::uint32_t, 4> address{};  // network byte order
  std::uint16_t port = 0;                  // network byte order
};

struct Ends {
  End ours;
  End theirs;
};

End end_of(const sockaddr_storage& storage) {
  End out;
  if (storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage, sizeof in);
    out.address[0] = in.sin_addr.s_addr;
    out.port = in.sin_port;
    return out;
  }
  sockaddr_in6 in{};
  std::memcpy(&in, &storage, sizeof in);
  out.port = in.sin6_port;
  if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
    std::memcpy(out.address.data(), in.sin6_addr.s6_addr + 12, 4);
  } else {
    out.family = AF_INET6;
    std::memcpy(out.address.data(), in.sin6_addr.s6_addr, 16);
  }
  return out;
}

// One request and its answer over NETLINK_SOCK_DIAG. The answer's payload begins after its nlmsghdr.
template <class Request>
Result<std::string> ask(const Request& request) {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return Error::from_errno("socket NETLINK_SOCK_DIAG", errno);
  struct {
    nlmsghdr header;
    Request body;
  } message{};
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST;
  message.body = request;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(netlink.get(), &message, sizeof message, 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0) {
    return Error::from_errno("send to NETLINK_SOCK_DIAG", errno);
  }
  std::string answer(kAnswerMax, '\0');
  // The kernel answers within the send; nothing there means that nothing will come.
  const ssize_t n = ::recv(netlink.get(), answer.data(), answer.size(), MSG_DONTWAIT);
  if (n < 0) return Error::from_errno("receive from NETLINK_SOCK_DIAG", errno);
  nlmsghdr header{};
  if (static_cast<std::size_t>(n) < sizeof header) return Error::from_errno("NETLINK_SOCK_DIAG", EPROTO);
  std::memcpy(&header, answer.data(), sizeof header);
  answer.resize(std::min<std::size_t>(static_cast<std::size_t>(n), header.nlmsg_len));
  if (header.nlmsg_type == NLMSG_ERROR) {
    nlmsgerr error{};
    if (answer.size() >= NLMSG_HDRLEN + sizeof error)
      std::memcpy(&error, answer.data() + NLMSG_HDRLEN, sizeof error);
    return Error::from_errno("NETLINK_SOCK_DIAG", error.error == 0 ? EPROTO : -error.error);
  }
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return Error::from_errno("NETLINK_SOCK_DIAG", EPROTO);
  return answer.substr(NLMSG_HDRLEN);
}

// A socket without an inode waits for accept(2), or has been closed and only ends its connection. Where the
// handshake is not finished (TCP_DEFER_ACCEPT), the kernel answers with the listener.
Result<std::uint64_t> inode_in_state(std::uint64_t inode, std::uint64_t state) {
  if (state == kListen) return std::uint64_t{0};
  const bool open = state == kEstablished || state == kSynRecv || state == kNewSynRecv || state == kCloseWait;
  if (inode == 0 && !open) return Error::from_errno("the peer's socket", ENOENT);
  return inode;
}

// The exact lookup of the other end's socket: its source is our peer.
Result<std::uint64_t> tcp_peer_by_netlink(const Ends& ends) {
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<__u8>(ends.theirs.family);
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = ~0U;
  request.id.idiag_sport = ends.theirs.port;
  request.id.idiag_dport = ends.ours.port;
  std::memcpy(request.id.idiag_src, ends.theirs.address.data(), sizeof request.id.idiag_src);
  std::memcpy(request.id.idiag_dst, ends.ours.address.data(), sizeof request.id.idiag_dst);
  request.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  auto answer = ask(request);
  if (!answer) return answer.error();
  inet_diag_msg found{};
  if (answer->size() < sizeof found) return Error::from_errno("inet_diag", EPROTO);
  std::memcpy(&found, answer->data(), sizeof found);
  return inode_in_state(found.idiag_inode, found.idiag_state);
}

// "0100007F:1F40" as in /proc/net/tcp: the address as words of this machine, the port as a number.
std::string table_text(const End& end, bool as_v6) {
  std::array<std::uint32_t, 4> words = end.address;
  std::size_t count = end.family == AF_INET6 ? 4 : 1;
  if (as_v6 && end.family == AF_INET) {
    words = {0, 0, htonl(0xffffU), end.address[0]};
    count = 4;
  }
  std::string out;
  std::array<char, 16> part;
  for (std::size_t i = 0; i < count; ++i) {
    std::snprintf(part.data(), part.size(), "%08X", words[i]);
    out += part.data();
  }
  std::snprintf(part.data(), part.size(), ":%04X", ntohs(end.port));
  return out + part.data();
}

Result<std::uint64_t> tcp_peer_in_table(const char* table, const std::string& pair) {
  const std::string text = proc_text(table, kTableMax);
  const std::size_t at = text.find(pair);
  if (at == std::string::npos) return Error::from_errno("the peer's socket", ENOENT);
  // After the pair: st tx:rx tr:when retrnsmt uid timeout inode.
  std::string_view rest = std::string_view(text).substr(at + pair.size());
  rest = rest.substr(0, rest.find('\n'));
  const auto state = parse_number(rest, 16);
  for (int field = 0; field < 6; ++field) {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
    rest.remove_prefix(std::min(rest.size(), rest.find(' ')));
  }
  const auto inode = parse_number(rest);
  if (!inode || !state) return Error::from_errno(table, EPROTO);
  return inode_in_state(*inode, *state);
}

Result<std::uint64_t> tcp_peer_by_tables(const Ends& ends) {
  const auto pair = [&ends](bool as_v6) {
    return " " + table_text(ends.theirs, as_v6) + " " + table_text(ends.ours, as_v6) + " ";
  };
  if (ends.theirs.family == AF_INET) {
    auto found = tcp_peer_in_table("/proc/net/tcp", pair(false));
    if (found) return found;
  }
  return tcp_peer_in_table("/proc/net/tcp6", pair(true));
}

// The value of an attribute behind a unix_diag_msg.
template <class T>
std::optional<T> attribute_of(std::string_view answer, unsigned type) {
  for (std::size_t at = NLMSG_ALIGN(sizeof(unix_diag_msg)); at + sizeof(rtattr) <= answer.size();) {
    rtattr head{};
    std::memcpy(&head, answer.data() + at, sizeof head);
    if (head.rta_len < sizeof head || head.rta_len > answer.size() - at) break;
    if (head.rta_type == type && head.rta_len >= RTA_LENGTH(sizeof(T))) {
      T value{};
      std::memcpy(&value, answer.data() + at + RTA_LENGTH(0), sizeof value);
      return value;
    }
    at += RTA_ALIGN(head.rta_len);
  }
  return std::nullopt;
}

Result<std::uint64_t> unix_peer(int fd) {
  struct stat own {};
  if (::fstat(fd, &own) != 0) return Error::from_errno("fstat", errno);
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0U;
  request.udiag_ino = static_cast<__u32>(own.st_ino);
  request.udiag_show = UDIAG_SHOW_PEER;
  request.udiag_cookie[0] = ~0U;
  request.udiag_cookie[1] = ~0U;
  auto answer = ask(request);
  if (!answer) return answer.error();
  const auto peer = attribute_of<__u32>(*answer, UNIX_DIAG_PEER);
  // A peer that was closed stays linked, without an inode, and has shut both directions of ours down.
  const bool shut = attribute_of<__u8>(*answer, UNIX_DIAG_SHUTDOWN).value_or(0) == kShutdownBoth;
  if (!peer || (*peer == 0 && shut)) return Error::from_errno("the peer's socket", ENOENT);
  return std::uint64_t{*peer};
}

// Lines "tfd: N events: X data: X pos:N ino:HEX sdev:HEX" of an epoll's fdinfo.
bool watches(std::string_view fdinfo, std::uint64_t inode) {
  constexpr std::string_view kKey = " ino:";
  for (std::size_t at = fdinfo.find(kKey); at != std::string_view::npos; at = fdinfo.find(kKey, at + 1)) {
    if (parse_number(fdinfo.substr(at + kKey.size(), 20), 16) == inode) return true;
  }
  return false;
}

}  // namespace

Result<std::uint64_t> peer_inode(int fd) {
  sockaddr_storage ours{};
  sockaddr_storage theirs{};
  socklen_t size = sizeof ours;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&ours), &size) != 0) {
    return Error::from_errno("getsockname", errno);
  }
  size = sizeof theirs;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&theirs), &size) != 0) {
    return Error::from_errno("getpeername", errno);
  }
  if (ours.ss_family == AF_UNIX) return unix_peer(fd);
  if (ours.ss_family != AF_INET && ours.ss_family != AF_INET6) return Error::from_errno("peer", EAFNOSUPPORT);
  const Ends ends{end_of(ours), end_of(theirs)};
  auto found = tcp_peer_by_netlink(ends);
  if (found) return found;
  // The kernel may lack inet_diag, which ENOENT says as well, or a filter forbids netlink.
  return tcp_peer_by_tables(ends);
}

bool process_has_socket(pid_t pid, std::uint64_t inode) {
  if (inode == 0) return false;
  const std::string wanted = "socket:[" + std::to_string(inode) + "]";
  return any_fd_of(pid, [&wanted](int, std::string_view link) { return link == wanted; });
}

bool process_polls_inode(pid_t pid, std::uint64_t listener_inode) {
  if (listener_inode == 0) return false;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fdinfo/";
  return any_fd_of(pid, [&](int fd, std::string_view link) {
    if (link != "anon_inode:[eventpoll]") return false;
    return watches(proc_text((folder + std::to_string(fd)).c_str(), kFdinfoMax), listener_inode);
  });
}

}  // namespace runmain::os

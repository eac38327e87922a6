#include "os/linux/listen_queue.hpp"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr unsigned kListenState = 10;           // TCP_LISTEN; unix sockets use the same numbers
constexpr std::size_t kChunk = 32U << 10U;      // bytes of one answer; the kernel never sends more
constexpr std::size_t kTableMax = 256U << 10U;  // bytes of /proc/net/tcp, in which listeners come first
constexpr int kChunksMax = 4096;

// Every message of the answer to one dump.
template <class Request>
Result<void> dump(const Request& request, const std::function<void(std::string_view)>& use) {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return Error::from_errno("socket NETLINK_SOCK_DIAG", errno);
  struct {
    nlmsghdr header;
    Request body;
  } message{};
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.body = request;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(netlink.get(), &message, sizeof message, 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0) {
    return Error::from_errno("send to NETLINK_SOCK_DIAG", errno);
  }
  std::string answer(kChunk, '\0');
  for (int chunk = 0; chunk < kChunksMax; ++chunk) {
    // The kernel goes on with the dump at each receive, so there is always something until its end.
    const ssize_t n = ::recv(netlink.get(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("receive from NETLINK_SOCK_DIAG", errno);
    std::string_view rest(answer.data(), static_cast<std::size_t>(n));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header{};
      std::memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) break;
      if (header.nlmsg_type == NLMSG_DONE) return {};
      if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        if (header.nlmsg_len >= NLMSG_HDRLEN + sizeof error)
          std::memcpy(&error, rest.data() + NLMSG_HDRLEN, sizeof error);
        return Error::from_errno("NETLINK_SOCK_DIAG", error.error == 0 ? EPROTO : -error.error);
      }
      use(rest.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN));
      rest.remove_prefix(std::min(rest.size(), static_cast<std::size_t>(NLMSG_ALIGN(header.nlmsg_len))));
    }
  }
  return Error::from_errno("NETLINK_SOCK_DIAG", EMSGSIZE);
}

using Queues = std::unordered_map<std::uint64_t, ListenQueue>;
using Wanted = std::vector<std::uint64_t>;  // sorted

bool has(const Wanted& wanted, std::uint64_t inode) {
  return inode != 0 && std::binary_search(wanted.begin(), wanted.end(), inode);
}

// On failure some may be in `found` already; they are right.
Result<void> tcp_by_netlink(const Wanted& wanted, Queues& found) {
  for (const int family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = static_cast<__u8>(family);
    request.sdiag_protocol = IPPROTO_TCP;
    request.idiag_states = 1U << kListenState;
    auto done = dump(request, [&](std::string_view answer) {
      inet_diag_msg told{};
      if (answer.size() < sizeof told) return;
      std::memcpy(&told, answer.data(), sizeof told);
      // Of a listener: its accept queue, and the most that may be in it.
      if (has(wanted, told.idiag_inode)) found[told.idiag_inode] = {told.idiag_rqueue, told.idiag_wqueue};
    });
    if (!done) return done;
  }
  return {};
}

// Lines "sl local remote st tx:rx …": of a listener, rx is the length of its accept queue.
void tcp_by_tables(const Wanted& wanted, Queues& found) {
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const std::string text = proc_text(table, kTableMax);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.size(), text.find('\n', at));
      std::string_view line = std::string_view(text).substr(at, end - at);
      at = end + 1;
      std::array<std::string_view, 10> words;
      for (std::string_view& word : words) {
        line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
        word = line.substr(0, line.find(' '));
        line.remove_prefix(word.size());
      }
      const std::uint64_t inode = parse_number(words[9]).value_or(0);
      const std::size_t colon = words[4].find(':');
      if (words[3] != "0A" || !has(wanted, inode) || colon == std::string_view::npos) continue;
      const auto waiting = parse_number(words[4].substr(colon + 1), 16).value_or(0);
      found[inode] = {static_cast<std::uint32_t>(waiting), std::nullopt};
    }
  }
}

void unix_by_netlink(const Wanted& wanted, Queues& found) {
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = 1U << kListenState;
  request.udiag_show = UDIAG_SHOW_RQLEN;
  (void)dump(request, [&](std::string_view answer) {
    unix_diag_msg told{};
    if (answer.size() < sizeof told) return;
    std::memcpy(&told, answer.data(), sizeof told);
    if (!has(wanted, told.udiag_ino)) return;
    for (std::size_t at = NLMSG_ALIGN(sizeof told); at + sizeof(nlattr) <= answer.size();) {
      nlattr head{};
      std::memcpy(&head, answer.data() + at, sizeof head);
      if (head.nla_len < sizeof head || head.nla_len > answer.size() - at) break;
      if (head.nla_type == UNIX_DIAG_RQLEN && head.nla_len >= NLA_HDRLEN + sizeof(unix_diag_rqlen)) {
        unix_diag_rqlen queue{};
        std::memcpy(&queue, answer.data() + at + NLA_HDRLEN, sizeof queue);
        found[told.udiag_ino] = {queue.udiag_rqueue, queue.udiag_wqueue};
      }
      at += NLA_ALIGN(head.nla_len);
    }
  });
}

}  // namespace

Queues listen_queues(const std::vector<std::uint64_t>& inodes) {
  Queues found;
  Wanted wanted = inodes;
  std::sort(wanted.begin(), wanted.end());
  if (!tcp_by_netlink(wanted, found)) tcp_by_tables(wanted, found);  // a filter may forbid netlink
  unix_by_netlink(wanted, found);
  return found;
}

std::uint32_t queued_connections(const std::vector<std::uint64_t>& inodes) {
  std::uint32_t sum = 0;
  for (const auto& [inode, queue] : listen_queues(inodes)) sum += queue.waiting;
  return sum;
}

}  // namespace runmain::os

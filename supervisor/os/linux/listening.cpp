#include "os/linux/listening.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <unordered_set>

#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr std::uint64_t kListen = 10;  // TCP_LISTEN of the kernel
constexpr std::string_view kSocketLink = "socket:[";

// The blank-separated field number `n` of a line, from 0 on.
std::string_view field(std::string_view line, int n) {
  for (;; --n) {
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
    const std::size_t end = std::min(line.size(), line.find(' '));
    if (n == 0) return line.substr(0, end);
    if (line.empty()) return {};
    line.remove_prefix(end);
  }
}

// "0100007F" or 32 such digits: words of this machine whose bytes are in network order.
std::string host_of(std::string_view hex) {
  std::array<std::uint32_t, 4> words{};
  const std::size_t count = hex.size() / 8;
  for (std::size_t i = 0; i < count && i < words.size(); ++i)
    words[i] = static_cast<std::uint32_t>(parse_number(hex.substr(i * 8, 8), 16).value_or(0));
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (count == 1) {
    inet_ntop(AF_INET, words.data(), text.data(), text.size());
    return text.data();
  }
  in6_addr address{};
  std::memcpy(&address, words.data(), sizeof address);
  if (IN6_IS_ADDR_UNSPECIFIED(&address)) return {};
  inet_ntop(AF_INET6, &address, text.data(), text.size());
  return "[" + std::string(text.data()) + "]";
}

// A line "sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …".
std::optional<Listening> parse_line(std::string_view line) {
  if (parse_number(field(line, 3), 16) != kListen) return std::nullopt;
  const std::string_view local = field(line, 1);
  const std::size_t colon = local.find(':');
  const auto inode = parse_number(field(line, 9));
  if ((colon != 8 && colon != 32) || !inode) return std::nullopt;
  const auto port = parse_number(local.substr(colon + 1), 16);
  if (!port || *port == 0 || *port > 0xffff) return std::nullopt;
  Listening out;
  out.port = static_cast<std::uint16_t>(*port);
  out.inode = *inode;
  out.address = host_of(local.substr(0, colon)) + ":" + std::to_string(*port);
  return out;
}

std::unordered_set<std::uint64_t> sockets_of(const std::vector<pid_t>& pids) {
  std::unordered_set<std::uint64_t> inodes;
  for (const pid_t pid : pids) {
    const bool full = any_fd_of(pid, [&inodes](int, std::string_view link) {
      if (link.substr(0, kSocketLink.size()) != kSocketLink) return false;
      if (const auto inode = parse_number(link.substr(kSocketLink.size()))) inodes.insert(*inode);
      return inodes.size() >= kSocketsMax;
    });
    if (full) break;
  }
  return inodes;
}

}  // namespace

std::vector<Listening> parse_listening(std::string_view table) {
  std::vector<Listening> out;
  table.remove_prefix(std::min(table.size(), table.find('\n')));  // the headline
  while (!table.empty()) {
    table.remove_prefix(1);
    const std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(line.size());
    auto found = parse_line(line);
    if (found) out.push_back(std::move(*found));
  }
  return out;
}

std::vector<Listening> listening_sockets(const std::vector<pid_t>& pids, const std::vector<pid_t>& but_of) {
  auto inodes = sockets_of(pids);
  for (const std::uint64_t inode : sockets_of(but_of)) inodes.erase(inode);
  if (inodes.empty()) return {};
  std::vector<Listening> out;
  const std::string folder = "/proc/" + std::to_string(pids.front()) + "/net/";
  for (const char* name : {"tcp", "tcp6"}) {
    for (Listening& l : parse_listening(proc_text((folder + name).c_str(), kListeningTableMax))) {
      if (inodes.contains(l.inode)) out.push_back(std::move(l));
    }
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Listening& a, const Listening& b) { return a.port < b.port; });
  return out;
}

}  // namespace runmain::os

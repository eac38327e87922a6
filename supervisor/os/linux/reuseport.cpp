#include "os/linux/reuseport.hpp"

#include <linux/filter.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace runmain::os {

namespace {

using Program = std::vector<sock_filter>;

constexpr std::uint32_t kNobody = 0xffffffffU;  // a place that is not there
// The first 16 bits of an IP header with kLookTos: version 4 and the usual header length; version 6.
constexpr std::uint32_t kLookV4 = 0x4500U | kLookTos;
constexpr std::uint32_t kLookV6 = 0x6000U | (std::uint32_t{kLookTos} << 4U);

sock_filter statement(int code, std::uint32_t k) { return {static_cast<std::uint16_t>(code), 0, 0, k}; }

sock_filter jump(int code, std::uint32_t k, std::uint8_t if_true, std::uint8_t if_false) {
  return {static_cast<std::uint16_t>(code), if_true, if_false, k};
}

// Returns one of the places at random: a number below their count, moved over the gaps between them.
void choose(Program& p, std::vector<std::uint32_t> places) {
  if (places.empty()) return p.push_back(statement(BPF_RET | BPF_K, kNobody));
  std::sort(places.begin(), places.end());
  p.push_back(statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_RANDOM)));
  p.push_back(statement(BPF_ALU | BPF_MOD | BPF_K, static_cast<std::uint32_t>(places.size())));
  for (std::size_t first = 0; first < places.size();) {
    std::size_t end = first + 1;
    while (end < places.size() && places[end] == places[end - 1] + 1) ++end;
    // Numbers from `first` up to `end` stand for places in a row.
    p.push_back(jump(BPF_JMP | BPF_JGE | BPF_K, static_cast<std::uint32_t>(end), 2, 0));
    p.push_back(statement(BPF_ALU | BPF_ADD | BPF_K, places[first] - static_cast<std::uint32_t>(first)));
    p.push_back(statement(BPF_RET | BPF_A, 0));
    first = end;
  }
  p.push_back(statement(BPF_RET | BPF_K, kNobody));  // not reached; a program must end with a return
}

}  // namespace

void ReuseportOrder::left(const std::vector<std::uint32_t>& members) {
  std::size_t gone = 0;
  for (const std::uint32_t member : members) {
    const auto at = std::find(places_.begin(), places_.end(), member);
    if (at == places_.end()) continue;
    *at = places_.back();
    places_.pop_back();
    ++gone;
  }
  if (gone > 1) known_ = false;
  if (places_.size() <= 1) known_ = true;
}

std::optional<std::uint32_t> ReuseportOrder::place_of(std::uint32_t member) const {
  const auto at = std::find(places_.begin(), places_.end(), member);
  if (!known_ || at == places_.end()) return std::nullopt;
  return static_cast<std::uint32_t>(at - places_.begin());
}

Result<void> distribute(int fd, const std::vector<std::uint32_t>& clients,
                        const std::vector<std::uint32_t>& looks) {
  Program program;
  if (looks != clients) {
    Program for_looks;
    choose(for_looks, looks);
    const auto over = static_cast<std::uint32_t>(for_looks.size());
    program.push_back(statement(BPF_LD | BPF_H | BPF_ABS, static_cast<std::uint32_t>(SKF_NET_OFF)));
    program.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, kLookV4, 2, 0));
    program.push_back(statement(BPF_ALU | BPF_AND | BPF_K, 0xfff0U));
    program.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, kLookV6, 0, 1));
    program.push_back(jump(BPF_JMP | BPF_JA, 1, 0, 0));     // a look: over the next one
    program.push_back(jump(BPF_JMP | BPF_JA, over, 0, 0));  // none
    program.insert(program.end(), for_looks.begin(), for_looks.end());
  }
  choose(program, clients);
  if (program.size() > BPF_MAXINSNS) return Error::from_errno("SO_ATTACH_REUSEPORT_CBPF", ENOMEM);
  const sock_fprog attached{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) != 0) {
    return Error::from_errno("SO_ATTACH_REUSEPORT_CBPF", errno);
  }
  return {};
}

}  // namespace runmain::os

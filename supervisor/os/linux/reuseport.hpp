// A group of TCP listeners that share an address by SO_REUSEPORT (socket(7)), and which of them gets a new
// connection: a classic BPF program, random over some of them, that needs no privilege and is replaced at
// once.
//
// The program names a socket by its place in the kernel's array: the order of listen(2), and where one
// leaves (close(2), shutdown(2)) the last one moves to its place. Invariant: nobody else joins the group or
// leaves it (a process of the same user could; the first socket is bound so that it cannot find one there).
// Non-goal: UDP, where one peer's datagrams would be scattered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"

namespace runmain::os {

// Connections whose packets carry this IP_TOS or IPV6_TCLASS may be sent to other places than the rest: so a
// look at a worker reaches one that gets no clients yet. The value is a DSCP of
// the pool for local use (RFC 2474); a client with the same one is only served a little later.
inline constexpr int kLookTos = 0x6c;

// Where each member of a group is in the kernel's array.
class ReuseportOrder {
 public:
  ReuseportOrder() = default;
  // As it was told by places() and known().
  ReuseportOrder(std::vector<std::uint32_t> places, bool known) : places_(std::move(places)), known_(known) {}
  const std::vector<std::uint32_t>& places() const { return places_; }
  void joined(std::uint32_t member) { places_.push_back(member); }
  // These have left since the last look, nobody knows in which order: from the second one on it matters, and
  // the places of the others are not known any more, until all but one of them have left.
  void left(const std::vector<std::uint32_t>& members);
  // nullopt: it is not there, or the place is not known.
  std::optional<std::uint32_t> place_of(std::uint32_t member) const;
  bool known() const { return known_; }
  // Somebody has left at a moment that is not known.
  void lose() { known_ = places_.size() <= 1; }

 private:
  std::vector<std::uint32_t> places_;
  bool known_ = true;
};

// Attaches the program to the group that `fd`, one of its listening sockets, is in. New connections go to
// `clients`, those with kLookTos to `looks`; none: the kernel chooses, by the hash of the addresses, as it
// does for a place that is not there. On failure the errno (ENOMEM: longer than net.core.optmem_max allows).
Result<void> distribute(int fd, const std::vector<std::uint32_t>& clients,
                        const std::vector<std::uint32_t>& looks);

}  // namespace runmain::os

// The minimum of many deadlines: a tree whose leaves are the services' and whose root is the machine's.
//
// Invariant: each node is the minimum of its two children. min() is one load, set() walks one path up and
// stops where nothing changes. Non-goal: an order among the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/time.hpp"

namespace runmain::core {

class Deadlines {
 public:
  // Room for `count` deadlines, all kNever.
  void reset(std::size_t count) {
    leaves_ = 1;
    while (leaves_ < count) leaves_ *= 2;
    nodes_.assign(2 * leaves_, kNever);
  }

  // Room for at least `count`; those that are set stay.
  void grow(std::size_t count) {
    if (count <= leaves_ && !nodes_.empty()) return;
    const Deadlines old = *this;
    reset(count);
    for (std::size_t i = 0; i < old.leaves_ && !old.nodes_.empty(); ++i) set(i, old.nodes_[old.leaves_ + i]);
  }

  Time min() const { return nodes_.empty() ? kNever : nodes_[1]; }

  // Both require index < the room.
  Time at(std::size_t index) const { return nodes_[leaves_ + index]; }
  void set(std::size_t index, Time t) {
    std::size_t at = leaves_ + index;
    if (nodes_[at] == t) return;
    nodes_[at] = t;
    for (at /= 2; at >= 1; at /= 2) {
      const Time least = nodes_[2 * at] < nodes_[2 * at + 1] ? nodes_[2 * at] : nodes_[2 * at + 1];
      if (nodes_[at] == least) return;
      nodes_[at] = least;
    }
  }

  // Appends the indexes of those that are not after `now`, in rising order.
  void reached(Time now, std::vector<std::uint32_t>& out) const {
    if (!nodes_.empty()) collect(1, now, out);
  }

 private:
  void collect(std::size_t at, Time now, std::vector<std::uint32_t>& out) const {
    if (nodes_[at] > now) return;
    if (at >= leaves_) {
      out.push_back(static_cast<std::uint32_t>(at - leaves_));
      return;
    }
    collect(2 * at, now, out);
    collect(2 * at + 1, now, out);
  }

  std::size_t leaves_ = 1;
  std::vector<Time> nodes_;
};

}  // namespace runmain::core

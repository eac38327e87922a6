// The queue of what the head has not yet acknowledged, and the fds that wait with it (a notify BARRIER's).
// Invariant: numbers have no gap; an item leaves only by acknowledge(); a new head is told all that is there.
// Bound: what can be pending is bounded at its sources (one start, one death and one sweep a child,
// kNotifyPendingMax datagrams a child, kLinesPendingMax lines a connection, kSignalsPendingMax signals (twice
// that with stops), one Frozen a child, two ListenerShut a socket, one SlotClosed an order and slot).
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "keeper/keeper_state.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"

namespace runmain::keeper {

class Happenings {
 public:
  struct Item {
    std::uint64_t number = 0;
    What what;
    std::vector<os::UniqueFd> held;
  };

  std::uint64_t push(What what, std::vector<os::UniqueFd> held = {}) {
    items_.push_back({++last_, std::move(what), std::move(held)});
    return last_;
  }

  // Calls `gone(What)` for every item up to and with `number`, and drops it.
  template <class F>
  void acknowledge(std::uint64_t number, F&& gone) {
    while (!items_.empty() && items_.front().number <= number) {
      Item item = std::move(items_.front());
      items_.pop_front();
      if (unsent_ > 0) --unsent_;
      gone(item.what);
    }
    if (unsent_ > items_.size()) unsent_ = items_.size();
  }

  // The next item that this head has not been told, or nullptr; sent() moves on.
  const Item* next() const { return unsent_ < items_.size() ? &items_[unsent_] : nullptr; }
  void sent() { ++unsent_; }
  void tell_again() { unsent_ = 0; }
  std::size_t size() const { return items_.size(); }

  // For an upgrade (keeper_state.hpp). restore(): into an empty one.
  HappeningsState save() const;
  void restore(const HappeningsState& state);

 private:
  std::deque<Item> items_;
  std::size_t unsent_ = 0;  // items_[0 … unsent_) have been sent to the living head
  std::uint64_t last_ = 0;
};

}  // namespace runmain::keeper

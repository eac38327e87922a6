#include "app/uncounted.hpp"

#include <algorithm>
#include <utility>

namespace runmain::app {

Uncounted::Uncounted(os::Loop& loop, Asks asks)
    : asks_(std::move(asks)), timer_(loop.timer([this] { on_timer(); })) {}

void Uncounted::on_fact(const core::Fact& fact) {
  if (fact.type == core::FactType::child_claimed) {
    settled_.insert(fact.service);
    waits_.erase(fact.service);
    return arm();
  }
  if (fact.type != core::FactType::child_ready || settled_.contains(fact.service)) return;
  if (!asks_.wants_counts(fact.service)) return;
  if (waits_.try_emplace(fact.service, os::Loop::now() + asks_.within).second) arm();
}

void Uncounted::on_timer() {
  const Time now = os::Loop::now();
  for (auto it = waits_.begin(); it != waits_.end();) {
    const auto [service, when] = *it;
    if (when > now) {
      ++it;
      continue;
    }
    it = waits_.erase(it);
    if (!asks_.wants_counts(service)) continue;
    settled_.insert(service);
    if (!asks_.has_told(service)) asks_.warn(service);
  }
  arm();
}

void Uncounted::arm() {
  Time first = kNever;
  for (const auto& [service, when] : waits_) first = std::min(first, when);
  timer_->set(first);
}

}  // namespace runmain::app

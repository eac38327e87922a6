#include "control/last_words.hpp"

#include <algorithm>

namespace runmain::control {
namespace {

using core::Fact;
using core::FactType;

bool is_failure(FactType type) {
  return type == FactType::reload_failed || type == FactType::reload_build_failed ||
         type == FactType::service_failed || type == FactType::slot_failed;
}

bool is_end_of_a_worker(FactType type) {
  return type == FactType::child_exited || type == FactType::child_not_ready || type == FactType::child_hung;
}

}  // namespace

std::optional<ChildKey> failed_start(const core::ServiceView& service, Time since) {
  const auto& history = service.history;
  const auto failure = std::find_if(history.rbegin(), history.rend(), [&](const Fact& fact) {
    return is_failure(fact.type) && fact.time >= since;
  });
  if (failure == history.rend()) return std::nullopt;
  const std::uint32_t generation = failure->generation;
  const auto end = std::find_if(failure, history.rend(), [&](const Fact& fact) {
    return is_end_of_a_worker(fact.type) && fact.generation == generation;
  });
  const std::uint32_t slot = end == history.rend() ? kNoSlot : end->slot;
  return ChildKey{service.id, slot, generation, 0};
}

}  // namespace runmain::control

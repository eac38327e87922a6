#include "core/loop_breaker.hpp"

#include <algorithm>

namespace runmain::core {

void LoopBreaker::reload_begins(Time now) {
  ++starts;
  started = now;
}

void LoopBreaker::forgive() {
  paths.clear();
  reloads = pardons = 0;
  broken = told = false;
}

bool LoopBreaker::suspects_only(const Changed& change) const {
  return std::all_of(change.paths.begin(), change.paths.end(), [this](const std::string& path) {
    return std::find(paths.begin(), paths.end(), path) != paths.end();
  });
}

LoopBreaker::Says LoopBreaker::judge(const Changed& change, bool starting, Time now) {
  const bool all_named = !change.unknown && !change.paths.empty() && change.count <= change.paths.size();
  const bool same = all_named && suspects_only(change);
  // Somebody else's edit of another file says nothing about who writes the suspects.
  if (change.by_others && (same || !broken) && pardons < kLoopPardonsMax) {
    const std::uint32_t so_far = pardons + 1;
    forgive();
    pardons = so_far;
    return Says::reload;
  }
  if (broken) {
    if (same) return Says::broken;
    // Somebody else's change; but if the suspects follow its start as well, once is enough.
    broken = false;
    reloads = kLoopReloads - 1;
    return Says::reload;
  }
  if (!all_named || !(starting || now - started <= kLoopSoon)) {
    forgive();
    return Says::reload;
  }
  const bool counted_already = counted == starts && reloads > 0;
  if (!same) {
    // One start may write several files, one after the other; another file after another start is no loop.
    if (!counted_already && !paths.empty()) forgive();
    for (const std::string& path : change.paths) {
      if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
    }
    if (paths.size() > kLoopPathsMax) forgive();
  }
  if (paths.empty() || (counted_already && same)) return Says::reload;
  reloads = same ? reloads + 1 : 1;
  counted = starts;
  if (reloads < kLoopReloads) return Says::reload;
  broken = true;
  return std::exchange(told, true) ? Says::broken : Says::broken_now;
}

}  // namespace runmain::core

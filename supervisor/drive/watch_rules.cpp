// Ignore files that change while we watch: what is hidden now is let go, what is revealed is watched and
// taken as it is.
#include <algorithm>

#include "drive/watch_impl.hpp"

namespace runmain::drive {

bool Watcher::Impl::is_source(const std::string& folder, const std::string& name) {
  if (name == kGitignoreName || name == kIgnoreName || name == kGitName) return true;
  const WatchedFolder* watched = tree_.find(folder);
  return watched != nullptr && (watched->purpose & kForRules) != 0 && roots_.files().is_source(folder, name);
}

// An ignore file came, went or was written. Editors delete and rename before they write: only what was closed
// or moved here is read at once.
void Watcher::Impl::on_source(const std::string& folder, const std::string& name, std::uint32_t mask) {
  if (name == kGitName && (mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) == 0) return;
  if ((mask & IN_ATTRIB) != 0) return;
  const bool whole = (mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0;
  sources_[folder] = os::Loop::now() + (whole ? Duration{} : kGrace);
}

Time Watcher::Impl::next_rules() const {
  Time next = kNever;
  for (const auto& [folder, due] : sources_) next = std::min(next, due);
  return next;
}

void Watcher::Impl::refresh_rules(Time now) {
  std::set<std::string> due;
  for (const auto& [folder, when] : sources_) {
    if (when <= now) due.insert(folder);
  }
  if (!due.empty()) learn_sources(due);
  if (sweep_dirty_) sweep();
  sweep_dirty_ = false;
  for (std::string& problem : roots_.files().take_problems()) callbacks_.tell(std::move(problem));
}

// Reads the ignore files above the roots, and those of these folders.
void Watcher::Impl::learn_sources(const std::set<std::string>& due) {
  roots_.files().take_since();
  std::set<std::string> changed = roots_.learn_sources();
  for (const std::string& folder : due) {
    sources_.erase(folder);
    if (roots_.files().learn(folder)) changed.insert(folder);
  }
  const std::int64_t since = roots_.files().take_since();
  for (const std::string& folder : changed) rules_changed(folder, since);
}

// They count for all that is watched below their folder.
void Watcher::Impl::rules_changed(const std::string& folder, std::int64_t since_ns) {
  sweep_dirty_ = repositories_dirty_ = true;
  std::set<std::string> tops;
  for (const Root& root : roots_.all()) {
    if (root.shape != RootShape::folder) continue;
    if (is_at_or_below(root.path, folder)) tops.insert(root.path);
    if (is_at_or_below(folder, root.path)) tops.insert(folder);
  }
  gate_.start_budget();
  for (const std::string& top : tops) scan(top, Why::revealed, since_ns);
}

}  // namespace runmain::drive

// What the folders say: first scans, new folders, overflow and polling are one walk that compares with the
// table.
#include <algorithm>

#include "drive/watch_impl.hpp"

namespace runmain::drive {

// Walks from `top` through all folders that some root sees. Each is watched before it is listed: what comes
// after the listing is told by an event.
void Watcher::Impl::scan(const std::string& top, Why why, std::int64_t since_ns) {
  const std::uint32_t mark = ++scan_;
  std::vector<Step> stack;
  stack.push_back({top, roots_.seeing(top), why, since_ns});
  while (!stack.empty()) {
    Step step = std::move(stack.back());
    stack.pop_back();
    if (!step.seers.empty()) scan_folder(std::move(step), stack);
  }
  if (why != Why::adopt) drop_unseen(top, mark);
}

void Watcher::Impl::scan_folder(Step step, std::vector<Step>& stack) {
  const std::string& path = step.path;
  const WatchedFolder* before = tree_.find(path);
  const bool seen_before = before != nullptr && (before->purpose & kForTree) != 0 && before->mark != 0;
  const bool by_poll =
      std::any_of(step.seers.begin(), step.seers.end(), [](const Root* r) { return r->poll; });
  const auto added = tree_.ensure(path, kForTree, by_poll);
  if (added == WatchTree::Added::full && step.why != Why::adopt) note_unknown(path);
  if (added != WatchTree::Added::watched && added != WatchTree::Added::polled) return;
  if (WatchedFolder* watched = tree_.find(path); watched != nullptr) watched->mark = scan_;
  const auto known = table_.folders().find(path);
  if (known != table_.folders().end()) known->second.mark = scan_;

  const auto folder = os::Folder::open(path);
  if (!folder) {
    unreadable(path, folder.error());
    return;
  }
  if (folder.value().fd() >= 0) tree_.set_remote(path, os::remote_file_system(folder.value().fd()));
  // All names first: the rules of the folder are among them.
  std::vector<std::pair<std::string, os::EntryType>> entries;
  IgnoreNames names;
  const auto listed = folder.value().list([&](const std::string& name, os::EntryType type) {
    names.add(name);
    if (type != os::EntryType::other) entries.emplace_back(name, type);
    return true;
  });
  if (!listed) {
    unreadable(path, listed.error());
    return;
  }
  learn(step, names, seen_before);
  scan_entries(folder.value(), step, stack, entries);
  if (step.why != Why::adopt) wait_for_unseen(path);
}

void Watcher::Impl::scan_entries(const os::Folder& folder, const Step& step, std::vector<Step>& stack,
                                 const std::vector<std::pair<std::string, os::EntryType>>& entries) {
  const std::vector<View> views = roots_.views(step.seers, step.path);
  gate_.reveal_since(step.since_ns);
  for (const auto& [name, type] : entries) {
    const std::string path = join_path(step.path, name);
    if (type == os::EntryType::folder) {
      Seers seers = roots_.seeing_child(views, path);
      if (!seers.empty()) stack.push_back({path, std::move(seers), step.why, step.since_ns});
    } else if (std::any_of(views.begin(), views.end(), [&](const View& v) { return v.wants_file(path); })) {
      scan_file(folder, step.path, name, step.why);
    }
  }
}

// Rules that are new in a folder that was seen before may reveal old files in it, and hide others.
void Watcher::Impl::learn(Step& step, IgnoreNames names, bool known) {
  const bool changed = roots_.files().learn(step.path, names);
  const std::int64_t since = roots_.files().take_since();
  if (!changed || !known || step.why == Why::adopt) return;
  sweep_dirty_ = true;
  step.why = Why::revealed;
  step.since_ns = std::max(step.since_ns, since);
}

void Watcher::Impl::unreadable(const std::string& path, const Error& error) {
  if (error.code == ENOENT || error.code == ENOTDIR) {
    tree_.release(path, kForTree);  // without a watch, nothing would tell that it is gone
    return;
  }
  tree_.poll_folder(path);
  tree_.tell_once("read " + path,
                  "cannot read folder " + path + ": " + error.text() + ", trying again every second");
}

void Watcher::Impl::scan_file(const os::Folder& folder, const std::string& path, const std::string& name,
                              Why why) {
  // What waits for its grace is not taken as it is: others still have to be told of it.
  if (why == Why::adopt && pending_.count(join_path(path, name)) != 0) return;
  const Verdict verdict = gate_.judge(folder, path, name, why, scan_);
  if (verdict == Verdict::appeared && table_.truncated()) {
    note_unknown(path);  // whether it is new cannot be told
  } else {
    apply(path, name, verdict);
  }
}

// The files that the table has in a folder and that its listing had not.
void Watcher::Impl::wait_for_unseen(const std::string& path) {
  const auto known = table_.folders().find(path);
  if (known == table_.folders().end()) return;
  for (const auto& [name, state] : known->second.files) {
    if (state.mark != scan_) wait_for(join_path(path, name));
  }
}

// The folders below `top` that the scan did not come to: they are gone.
void Watcher::Impl::drop_unseen(const std::string& top, std::uint32_t mark) {
  for (const std::string& path : tree_.below(top)) {
    const WatchedFolder* folder = tree_.find(path);
    if (folder == nullptr || (folder->purpose & kForTree) == 0 || folder->mark == mark) continue;
    if (!roots_.has_own_root_below(top, path)) tree_.release(path, kForTree);
  }
  for (const std::string& path : table_.folders_below(top)) {
    const FileTable::FolderFiles& folder = table_.folders()[path];
    // A folder whose first file comes with this scan has its mark in the file only.
    const bool seen =
        folder.mark == mark || std::any_of(folder.files.begin(), folder.files.end(),
                                           [&](const auto& f) { return f.second.mark == mark; });
    if (!seen && !roots_.has_own_root_below(top, path)) wait_for(path);
  }
}

// Looks at what every root is, watches what that asks for, and looks again until nothing has changed in
// between.
void Watcher::Impl::refresh_roots(Why why_first, std::optional<ServiceId> only) {
  if (!only) roots_dirty_ = false;
  std::set<std::string> last_points;
  for (int round = 0; round < kRefreshRounds; ++round) {
    const auto changed = roots_.look(only);
    const auto points = roots_.points();
    if (round > 0 && changed.empty() && points == last_points) break;
    last_points = points;
    tree_.assign(kForPoint, points);
    for (const Root& root : roots_.all()) {
      if (!root.poll || root.shape == RootShape::folder) continue;
      const bool there = root.shape == RootShape::file;
      tree_.ensure(there ? split_path(root.path).first : root.waiting, kForPoint, true);
    }
    tree_.assign(kForAnchor, roots_.anchors());
    tree_.assign(kForRules, roots_.sources());
    for (Root* root : changed) {
      // Another folder may be at a path that has a watch: a mount, or a swap whose events are still to come.
      const bool renewed = tree_.set_renew(true);
      establish(*root, root->known ? Why::found : why_first);
      tree_.set_renew(renewed);
      root->known = true;
    }
  }
  open_poll();
}

void Watcher::Impl::establish(const Root& root, Why why) {
  const auto [parent, name] = split_path(root.path);
  if (root.shape == RootShape::folder) {
    scan(root.path, why);
    if (table_.find(parent, name) != nullptr) wait_for(root.path);  // it was a file
    return;
  }
  for (const std::string& path : tree_.below(root.path)) {  // it was a folder
    if (roots_.seeing(path).empty()) tree_.release(path, kForTree);
  }
  if (!table_.folders_below(root.path).empty()) wait_for(root.path);
  if (root.shape == RootShape::missing) {
    if (table_.find(parent, name) != nullptr) wait_for(root.path);
    if (why == Why::adopt) callbacks_.tell("watched path " + root.path + " does not exist, waiting for it");
  } else if (const auto folder = os::Folder::open(parent); folder) {
    scan_file(folder.value(), parent, name, why);
  }
}

// What has no watch is looked at: is there one now, and what has changed meanwhile?
void Watcher::Impl::poll() {
  const Time start = os::Loop::now();
  std::vector<std::string> tops;  // a scan goes down: only the uppermost polled folders start one
  std::vector<Root> files;
  for (const auto& [path, folder] : tree_.folders()) {
    if (folder.polled && (tops.empty() || !is_at_or_below(path, tops.back()))) tops.push_back(path);
  }
  for (const Root& root : roots_.all()) {
    const WatchedFolder* parent = tree_.find(split_path(root.path).first);
    if (root.shape == RootShape::file && parent != nullptr && parent->polled) files.push_back(root);
  }
  tree_.poll_again();
  refresh_roots(Why::found);
  poll_mounts();
  for (const std::string& path : tops) scan(path, Why::found);
  for (const Root& root : files) establish(root, Why::found);
  learn_sources();
  locks_dirty_ = true;
  const Duration took = os::Loop::now() - start;
  next_poll_ = os::Loop::now() + std::max(kPollInterval, took * kPollDuty);
}

// Another folder where a file system was unmounted: what was below, or what was mounted since.
void Watcher::Impl::poll_mounts() {
  for (auto& [path, seen] : unmounted_) {
    const auto stat = os::stat_link(path);
    const auto now = stat ? std::pair(stat.value().device, stat.value().inode)
                          : std::pair(std::uint64_t{0}, std::uint64_t{0});
    if (now == seen) continue;
    seen = now;
    const bool renewed = tree_.set_renew(true);
    scan(path, Why::found);
    tree_.set_renew(renewed);
  }
}

}  // namespace runmain::drive

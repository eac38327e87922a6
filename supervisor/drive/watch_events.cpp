// What the kernel says: events become touched names, and, when the batch is read, verdicts and news.
#include <algorithm>
#include <optional>

#include "drive/watch_impl.hpp"

namespace runmain::drive {

void Watcher::Impl::on_readable() {
  read_events();
  finish_batch();
  deliver();
  arm();
}

void Watcher::Impl::read_events() {
  for (int i = 0; i < kReadsPerTurn; ++i) {
    std::size_t count = 0;
    if (!tree_.read([this](const os::InotifyEvent& e) { on_event(e); }, count) || count == 0) return;
    events_ += count;
  }
}

void Watcher::Impl::on_event(const os::InotifyEvent& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    ++overflows_;
    // A storm that goes on must not make us scan without a pause.
    if (rescan_at_ == kNever) rescan_at_ = os::Loop::now() + rescan_took_;
    return;
  }
  if ((event.mask & IN_IGNORED) != 0) {
    tree_.ended(event.wd);
    return;
  }
  for (const std::string& folder : tree_.paths_of(event.wd)) {
    if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0) {
      if ((event.mask & IN_UNMOUNT) != 0) on_unmount(folder);
      on_self(folder);
    } else if (!event.name.empty()) {
      on_name(folder, std::string(event.name), event.mask);
    }
  }
  for (const std::string& file : tree_.files_of(event.wd)) {
    const auto [folder, name] = split_path(file);
    on_name(folder, name, event.mask);
  }
}

// A watched folder is gone, moved or unmounted, and with it what is below. Whether its path leads to
// something now is seen when the batch is read.
void Watcher::Impl::on_self(const std::string& folder) {
  forget_below(folder);
  roots_dirty_ = true;
}

// Of a file system that goes, every folder says so, in any order: the uppermost one is remembered.
void Watcher::Impl::on_unmount(const std::string& folder) {
  const auto above = [&](const auto& known) { return is_at_or_below(folder, known.first); };
  if (std::any_of(unmounted_.begin(), unmounted_.end(), above)) return;
  std::erase_if(unmounted_, [&](const auto& known) { return is_at_or_below(known.first, folder); });
  if (unmounted_.size() < kUnmountedMax) unmounted_[folder] = {0, 0};
}

// Whatever was watched under this path is another folder now, or none. A moved one would keep its watches,
// with a path that is wrong: they end here, and what the table has there waits for its grace.
void Watcher::Impl::forget_below(const std::string& path) {
  for (const std::string& each : tree_.below(path)) {
    const WatchedFolder* folder = tree_.find(each);
    if (folder != nullptr && (folder->purpose & kForLock) != 0) repositories_dirty_ = true;
    tree_.release(each, ~0U);
  }
  roots_.forget_below(path);
  roots_.files().forget_below(path);
  if (!table_.folders_below(path).empty()) wait_for(path);
}

void Watcher::Impl::on_name(const std::string& folder, const std::string& name, std::uint32_t mask) {
  const bool comes_or_goes = (mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) != 0;
  if (locks_.is_lock(folder, name)) locks_dirty_ = true;
  const std::string path = join_path(folder, name);
  if (comes_or_goes && roots_.is_point(path)) roots_dirty_ = true;
  if (comes_or_goes && name == ".git") repositories_dirty_ = true;
  if (is_source(folder, name)) on_source(folder, name, mask);
  if ((mask & IN_ISDIR) != 0) {
    on_folder_name(path, mask);
    return;
  }
  Why why = Why::created;
  if ((mask & IN_ATTRIB) != 0) why = Why::attributes;
  if ((mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0) why = Why::closed;
  Why& latest = touched_.try_emplace({folder, name}, why).first->second;
  if (why != Why::attributes) latest = why;
}

void Watcher::Impl::on_folder_name(const std::string& path, std::uint32_t mask) {
  const bool here = (mask & (IN_CREATE | IN_MOVED_TO)) != 0;
  const bool gone = (mask & (IN_DELETE | IN_MOVED_FROM)) != 0;
  if (here || gone) {
    forget_below(path);
  }
  // Also what is gone is looked for: when two folders change places, each name goes after it has come. A
  // folder that could not be read and now can is like a new one.
  if (here || gone || ((mask & IN_ATTRIB) != 0 && tree_.find(path) == nullptr)) scan(path, Why::found);
}

void Watcher::Impl::finish_batch() {
  if (roots_dirty_) refresh_roots(Why::found);
  refresh_rules(os::Loop::now());
  judge_touched();
}

void Watcher::Impl::judge_touched() {
  const auto touched = std::exchange(touched_, {});
  std::optional<os::Folder> folder;
  const std::string* opened = nullptr;
  for (const auto& [key, why] : touched) {
    const auto& [path, name] = key;
    if (!roots_.wants(path, name)) continue;
    if (opened == nullptr || *opened != path) {
      opened = &path;
      folder.reset();
      if (auto now = os::Folder::open(path); now) folder = std::move(*now);
    }
    if (folder) {
      apply(path, name, gate_.judge(*folder, path, name, why));
    } else if (table_.find(path, name) != nullptr) {
      wait_for(join_path(path, name));
    }
  }
}

void Watcher::Impl::apply(const std::string& folder, const std::string& name, Verdict verdict) {
  const std::string path = join_path(folder, name);
  switch (verdict) {
    case Verdict::none:
    case Verdict::busy: break;
    case Verdict::same: pending_.erase(path); break;
    case Verdict::changed:
      pending_.erase(path);
      note(folder, name);
      break;
    case Verdict::appeared:
    case Verdict::emptied:
    case Verdict::gone: wait_for(path); break;
  }
}

void Watcher::Impl::wait_for(const std::string& path) {
  const Time due = os::Loop::now() + kGrace;
  if (pending_.try_emplace(path, due).second) pending_first_ = std::min(pending_first_, due);
}

void Watcher::Impl::settle_due(Time now) {
  std::vector<std::string> due;
  for (const auto& [path, when] : pending_) {
    if (when <= now + kGraceSlack) due.push_back(path);
  }
  for (const std::string& path : due) {
    pending_.erase(path);
    settle(path);
  }
  pending_first_ = kNever;
  for (const auto& [path, when] : pending_) pending_first_ = std::min(pending_first_, when);
}

// The grace of a file or of a folder with all that the table has below it is over.
void Watcher::Impl::settle(const std::string& path) {
  const auto [parent, own_name] = split_path(path);
  settle_file(parent, own_name);
  for (const std::string& folder : table_.folders_below(path)) {
    std::vector<std::string> names;
    for (const auto& [name, state] : table_.folders()[folder].files) names.push_back(name);
    for (const std::string& name : names) settle_file(folder, name);
  }
}

void Watcher::Impl::settle_file(const std::string& folder, const std::string& name) {
  if (!roots_.wants(folder, name)) return;
  const auto opened = os::Folder::open(folder);
  Verdict verdict = table_.find(folder, name) != nullptr ? Verdict::gone : Verdict::none;
  if (opened) verdict = gate_.judge(opened.value(), folder, name, Why::settled);
  if (verdict == Verdict::gone) {
    table_.erase(folder, name);
    note(folder, name);
  } else if (verdict == Verdict::changed) {
    note(folder, name);
  }
}

void Watcher::Impl::rescan_after_overflow() {
  const Time start = os::Loop::now();
  rescan_at_ = kNever;
  tree_.set_renew(true);
  roots_.forget_below("/");
  refresh_roots(Why::found);
  tree_.set_renew(false);
  locks_dirty_ = repositories_dirty_ = true;
  if (table_.truncated()) note_unknown("/");
  rescan_took_ = os::Loop::now() - start;
  callbacks_.tell("the inotify queue overflowed (fs.inotify.max_queued_events = " +
                  os::inotify_limit("max_queued_events") + "), compared " + std::to_string(table_.size()) +
                  " files again in " + std::to_string(to_ms(rescan_took_)) + " ms, ignoring what was lost");
}

}  // namespace runmain::drive

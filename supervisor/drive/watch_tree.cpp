#include "drive/watch_tree.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "drive/watch_table.hpp"

namespace runmain::drive {
namespace {

constexpr std::size_t kToldMax = 64;  // different warnings of one watcher; more of them tell nothing new

// Not IN_MODIFY: a file that is being written is looked at when it is closed. IN_CREATE is for what is never
// closed: folders, links, second names.
constexpr std::uint32_t kFullMask = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE |
                                    IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW |
                                    IN_EXCL_UNLINK;
constexpr std::uint32_t kAnchorMask = IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW | IN_MASK_ADD;

constexpr std::uint32_t kFileMask = IN_CLOSE_WRITE | IN_DONT_FOLLOW;

std::uint32_t mask_for(unsigned purpose) { return purpose == kForAnchor ? kAnchorMask : kFullMask; }

bool out_of_fds() {
  const os::UniqueFd probe(::open("/", O_RDONLY | O_CLOEXEC));
  return !probe && (errno == EMFILE || errno == ENFILE);
}

}  // namespace

WatchTree::WatchTree(Tell tell, std::size_t max) : tell_(std::move(tell)), max_(max) { make(); }

void WatchTree::make() {
  auto made = os::Inotify::make();
  if (made) {
    inotify_ = std::move(*made);
    return;
  }
  if (made.error().code == EMFILE && !out_of_fds()) {
    tell_once("instances", "no inotify instance is left (fs.inotify.max_user_instances = " +
                               os::inotify_limit("max_user_instances") + "), polling every second instead");
  } else {
    tell_once("instance", made.error().text() + ", polling every second instead");
  }
}

void WatchTree::tell_once(const std::string& key, const std::string& text) {
  if (told_.size() < kToldMax && told_.insert(key).second) tell_(text);
}

void WatchTree::tell_failure(const std::string& path, const Error& error) {
  if (error.code == ENOSPC) {
    tell_once("watches", "no inotify watch is left (fs.inotify.max_user_watches = " +
                             os::inotify_limit("max_user_watches") + ") at " + path +
                             ", polling such folders every second instead");
  } else {
    tell_once("add " + path, "cannot watch " + path + ": " + std::strerror(error.code) +
                                 ", polling it every second instead");
  }
}

WatchTree::Added WatchTree::ensure(const std::string& path, unsigned purpose, std::optional<bool> by_poll) {
  auto entry = folders_.find(path);
  if (entry == folders_.end()) {
    if (folders_.size() >= max_) {
      tell_once("limit", "more than " + std::to_string(max_) + " folders, not watching " + path +
                             " and others, ignoring");
      return Added::full;
    }
    entry = folders_.emplace(path, WatchedFolder{}).first;
  } else {
    const unsigned before = entry->second.purpose;
    const bool wider =
        mask_for(before | purpose) != mask_for(before) || (by_poll && *by_poll != entry->second.by_poll);
    if (!renew_ && !wider && (entry->second.wd >= 0 || entry->second.polled)) {
      entry->second.purpose |= purpose;
      return entry->second.polled ? Added::polled : Added::watched;
    }
  }
  entry->second.purpose |= purpose;
  entry->second.by_poll = by_poll.value_or(entry->second.by_poll);
  const Added added = add(entry, false);
  if (added == Added::missing || added == Added::refused) drop(entry);
  return added;
}

WatchTree::Added WatchTree::add(Entry entry, bool told) {
  WatchedFolder& folder = entry->second;
  const bool anchor = folder.purpose == kForAnchor;
  if (!inotify_ || (folder.by_poll && !anchor)) {
    unlink(entry);
    set_polled(folder, !anchor);
    return Added::polled;
  }
  const auto wd = inotify_->add(entry->first, mask_for(folder.purpose));
  if (wd) {
    set_polled(folder, folder.remote && !anchor);
    if (wd.value() != folder.wd) {
      unlink(entry);
      link(entry, wd.value());
    }
    return Added::watched;
  }
  unlink(entry);
  const int code = wd.error().code;
  if (code == ENOENT || code == ENOTDIR || code == ELOOP) return Added::missing;
  if (anchor) return Added::refused;  // a folder above that we may not read: it will hardly be moved
  if (code == EACCES || code == EPERM) {
    tell_once("access " + entry->first,
              "cannot watch " + entry->first + ": " + std::strerror(code) + ", ignoring");
    return Added::refused;
  }
  if (!told) tell_failure(entry->first, wd.error());
  set_polled(folder, true);
  return Added::polled;
}

void WatchTree::link(Entry entry, int wd) {
  entry->second.wd = wd;
  by_wd_[wd].push_back(entry->first);
}

void WatchTree::unlink(Entry entry) {
  const int wd = std::exchange(entry->second.wd, -1);
  const auto paths = by_wd_.find(wd);
  if (wd < 0 || paths == by_wd_.end()) return;
  std::erase(paths->second, entry->first);
  if (!paths->second.empty()) return;
  by_wd_.erase(paths);
  if (inotify_) inotify_->remove(wd);
}

void WatchTree::set_polled(WatchedFolder& folder, bool on) {
  if (folder.polled == on) return;
  folder.polled = on;
  polled_ += on ? 1 : -1;
}

void WatchTree::drop(Entry entry) {
  const std::string prefix = entry->first + '/';
  for (auto file = linked_.lower_bound(prefix); file != linked_.end() && file->first.rfind(prefix, 0) == 0;) {
    const std::string path = (file++)->first;
    if (path.find('/', prefix.size()) == std::string::npos) release_file(path);
  }
  unlink(entry);
  set_polled(entry->second, false);
  folders_.erase(entry);
}

void WatchTree::release(const std::string& path, unsigned purpose) {
  const auto entry = folders_.find(path);
  if (entry == folders_.end()) return;
  WatchedFolder& folder = entry->second;
  const unsigned before = std::exchange(folder.purpose, folder.purpose & ~purpose);
  if (folder.purpose == 0) {
    drop(entry);
  } else if (folder.purpose == kForAnchor && before != kForAnchor) {
    unlink(entry);  // a watch only grows: a new one asks for less
    set_polled(folder, false);
    if (add(entry, true) != Added::watched) drop(entry);
  }
}

void WatchTree::release_below(const std::string& path, unsigned purpose) {
  for (const std::string& each : below(path)) release(each, purpose);
}

void WatchTree::assign(unsigned purpose, const std::set<std::string>& paths) {
  std::vector<std::string> gone;
  for (const auto& [path, folder] : folders_) {
    if ((folder.purpose & purpose) != 0 && paths.count(path) == 0) gone.push_back(path);
  }
  for (const std::string& path : paths) ensure(path, purpose);
  for (const std::string& path : gone) release(path, purpose);
}

void WatchTree::set_remote(const std::string& path, const char* file_system) {
  WatchedFolder* folder = find(path);
  if (folder == nullptr || folder->remote == (file_system != nullptr)) return;
  folder->remote = file_system != nullptr;
  if (folder->wd >= 0) set_polled(*folder, folder->remote);
  if (folder->remote) {
    tell_once(std::string("remote ") + file_system,
              path + " is on " + file_system +
                  ", where changes made elsewhere are not told, looking every second, too");
  }
}

void WatchTree::poll_folder(const std::string& path) {
  if (WatchedFolder* folder = find(path); folder != nullptr) set_polled(*folder, true);
}

void WatchTree::note_names(const std::string& folder, const std::string& name, std::uint32_t names) {
  if (names < 2 && linked_.empty()) return;
  const std::string path = join_path(folder, name);
  if (names < 2 || !inotify_) return release_file(path);
  const auto known = linked_.find(path);
  if (known == linked_.end() && linked_.size() >= kLinkedMax) {
    return tell_once("linked", "more than " + std::to_string(kLinkedMax) +
                                   " files with several names, edits of " + path +
                                   " and others through another name are not seen, ignoring");
  }
  const auto wd = inotify_->add(path, kFileMask);
  if (wd && known != linked_.end() && known->second == wd.value()) return;
  release_file(path);
  if (!wd) return;  // gone by now, or no watch is left: its folder is told of edits through this name
  linked_[path] = wd.value();
  linked_by_wd_[wd.value()].push_back(path);
}

void WatchTree::release_file(const std::string& path) {
  const auto file = linked_.find(path);
  if (file == linked_.end()) return;
  const auto same = linked_by_wd_.find(file->second);
  linked_.erase(file);
  std::erase(same->second, path);
  if (!same->second.empty()) return;
  if (inotify_) inotify_->remove(same->first);
  linked_by_wd_.erase(same);
}

std::vector<std::string> WatchTree::files_of(int wd) const {
  const auto files = linked_by_wd_.find(wd);
  return files == linked_by_wd_.end() ? std::vector<std::string>() : files->second;
}

void WatchTree::ended(int wd) {
  if (const auto files = linked_by_wd_.find(wd); files != linked_by_wd_.end()) {
    for (const std::string& path : files->second) linked_.erase(path);
    linked_by_wd_.erase(files);
    return;
  }
  const auto paths = by_wd_.find(wd);
  if (paths == by_wd_.end()) return;
  for (const std::string& path : paths->second) {
    const auto entry = folders_.find(path);
    if (entry == folders_.end()) continue;
    set_polled(entry->second, false);
    folders_.erase(entry);
  }
  by_wd_.erase(paths);
}

WatchedFolder* WatchTree::find(const std::string& path) {
  const auto entry = folders_.find(path);
  return entry == folders_.end() ? nullptr : &entry->second;
}

std::vector<std::string> WatchTree::paths_of(int wd) const {
  const auto paths = by_wd_.find(wd);
  return paths == by_wd_.end() ? std::vector<std::string>() : paths->second;
}

std::vector<std::string> WatchTree::below(const std::string& path) const {
  std::vector<std::string> found;
  if (folders_.count(path) != 0) found.push_back(path);
  const std::string prefix = path == "/" ? path : path + '/';
  for (auto it = folders_.lower_bound(prefix); it != folders_.end(); ++it) {
    if (it->first.compare(0, prefix.size(), prefix) != 0) break;
    if (it->first != path) found.push_back(it->first);
  }
  return found;
}

void WatchTree::poll_again() {
  if (!inotify_) {
    make();
    if (!inotify_) return;
    tell_("an inotify instance could be had, no longer polling");
  }
  for (auto entry = folders_.begin(); entry != folders_.end(); ++entry) {
    const bool beside_watch = entry->second.remote && entry->second.wd >= 0;
    if (entry->second.polled && !beside_watch) add(entry, true);
  }
}

bool WatchTree::read(const std::function<void(const os::InotifyEvent&)>& use, std::size_t& count) {
  count = 0;
  if (!inotify_) return false;
  const auto got = inotify_->read(use);
  if (!got) {
    tell_once("read", got.error().text() + ", ignoring");
    return false;
  }
  count = got.value();
  return true;
}

}  // namespace runmain::drive

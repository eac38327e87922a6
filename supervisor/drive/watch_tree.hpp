// The folders that are watched: one inotify instance, one watch a folder however many services want it, and
// what each folder is watched for.
//
// Invariant: a folder is in here exactly as long as it has a purpose; a wd leads to every path of its inode
// (a bind mount gives one inode two paths). A folder that the kernel gives no watch for, or no
// events, is polled, and the reason told once. Only a file with several names has a watch of its own: its
// folder is not told of an edit through another name. Thread: one. Non-goal: recursion, content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "os/linux/inotify.hpp"

namespace runmain::drive {

inline constexpr std::size_t kWatchesMax = 200'000;  // folders; what is below further ones is not watched
inline constexpr std::size_t kLinkedMax = 1000;  // files with several names that have a watch of their own

// Bits. An anchor is only asked whether it is moved itself; all others tell of their entries.
inline constexpr unsigned kForTree = 1;  // its files matter
inline constexpr unsigned kForPoint =
    2;  // one entry matters: a watched file, or a watched path that is missing
inline constexpr unsigned kForLock = 4;    // a repository's folder: index.lock
inline constexpr unsigned kForAnchor = 8;  // above a watched path
inline constexpr unsigned kForRules = 16;  // not in a tree itself: an ignore file

struct WatchedFolder {
  int wd = -1;  // -1: polled, or an anchor without a watch
  unsigned purpose = 0;
  bool polled = false;
  bool by_poll = false;    // somebody wants it polled: the kernel is not asked
  bool remote = false;     // what others change in it is not told: polled beside its watch
  std::uint32_t mark = 0;  // the latest scan that went through it
};

class WatchTree {
 public:
  using Tell = std::function<void(std::string)>;
  WatchTree(Tell tell, std::size_t max);

  // The instance to poll for events, -1 when there is none; changes only in make() and poll_again().
  int fd() const { return inotify_ ? inotify_->fd() : -1; }

  enum class Added : std::uint8_t { watched, polled, missing, refused, full };
  // Watches a folder for one more purpose. missing: it is not there, or is no folder; refused: no permission;
  // full: over our limit. The last two are told, and the folder is not watched.
  // `by_poll`: whether the kernel is not to be asked; without it, as it was.
  Added ensure(const std::string& path, unsigned purpose, std::optional<bool> by_poll = {});
  // While on, ensure asks the kernel again: after an overflow another folder may have taken the path.
  // Returns what it was.
  bool set_renew(bool on) { return std::exchange(renew_, on); }
  void release(const std::string& path, unsigned purpose);
  void release_below(const std::string& path, unsigned purpose);  // `path` included
  // Gives `purpose` to exactly these folders.
  void assign(unsigned purpose, const std::set<std::string>& paths);

  // Says whether the folder is on a remote file system of this name; nullptr: it is not.
  void set_remote(const std::string& path, const char* file_system);
  // The folder cannot be read now: it is scanned again at every poll.
  void poll_folder(const std::string& path);
  // The file has so many names: several, and it is watched itself, as far as there are watches for that.
  void note_names(const std::string& folder, const std::string& name, std::uint32_t names);

  // The kernel ended this watch (IN_IGNORED).
  void ended(int wd);

  WatchedFolder* find(const std::string& path);
  std::vector<std::string> paths_of(int wd) const;
  std::vector<std::string> files_of(int wd) const;  // that are watched themselves
  std::map<std::string, WatchedFolder>& folders() { return folders_; }
  std::vector<std::string> below(const std::string& path) const;  // `path` included

  std::size_t polled_count() const { return polled_; }
  // Tries to get a watch for the folders that are polled; they must be scanned after this, watched or not.
  void poll_again();

  // Tells a warning of this key once in our life.
  void tell_once(const std::string& key, const std::string& text);

  // On failure: told, and false.
  bool read(const std::function<void(const os::InotifyEvent&)>& use, std::size_t& count);

 private:
  using Entry = std::map<std::string, WatchedFolder>::iterator;
  void make();
  Added add(Entry entry, bool told);
  void link(Entry entry, int wd);
  void unlink(Entry entry);
  void set_polled(WatchedFolder& folder, bool on);
  void drop(Entry entry);
  void tell_failure(const std::string& path, const Error& error);
  void release_file(const std::string& path);

  Tell tell_;
  std::size_t max_;
  std::optional<os::Inotify> inotify_;
  std::map<std::string, WatchedFolder> folders_;
  std::unordered_map<int, std::vector<std::string>> by_wd_;
  std::map<std::string, int> linked_;  // files with several names
  std::unordered_map<int, std::vector<std::string>> linked_by_wd_;
  std::set<std::string> told_;
  std::size_t polled_ = 0;
  bool renew_ = false;
};

}  // namespace runmain::drive

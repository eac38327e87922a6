// Watches files for services: tells which ones have new content, and nothing else.
//
//   inotify ──► touched names ──► content gate (table) ──► one Changed a service and batch
//      └─ overflow, new folder, polling: scan against the same table
//
// - Folders are watched, recursively, never files: an atomic save ends the life of a file, not of its folder.
// - A file whose known content changes is told at once. What appears, goes or is emptied is told after kGrace
// if it is
//   so still: editors delete, rename and re-create in between, and temporary files do not live that long.
// - A new folder is watched, then scanned, then what the scan found is told; nothing can fall between.
// - A lost queue (IN_Q_OVERFLOW) is a scan against the table. If the table is full too, Changed.unknown says
// so.
// - A folder that the kernel gives no watch for is scanned every second, and the reason is told with the
// limit's name.
// - What is ignored costs no watch and no row. An ignore file that changes takes effect at once, and what it
//   reveals is taken as it is.
// - A watched path that goes away is waited for, from the deepest folder that is left.
//
// Invariant: every difference of content between the table and a file that is closed is told to each service
// that watches it; a difference is told once. Known gaps, which the kernel does not tell: writing through
// mmap or through an fd that is never closed, a second name outside the tree that is younger than our last
// look at the file (or one of more than kLinkedMax), network file systems. Thread: the loop's. Non-goal:
// settling (the core gathers), building.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/event.hpp"
#include "core/spec.hpp"
#include "drive/watch_explain.hpp"
#include "drive/watch_table.hpp"
#include "drive/watch_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr Duration kGrace = std::chrono::milliseconds(30);
inline constexpr Duration kPollInterval = std::chrono::seconds(1);

struct WatchCounts {
  std::size_t folders = 0;  // with a purpose, anchors above the roots included
  std::size_t polled = 0;   // of these, without a watch
  std::size_t files = 0;    // in the table
  std::uint64_t overflows = 0;
  std::uint64_t events = 0;  // read from the kernel
};

struct WatchCallbacks {
  std::function<void(core::Changed)> changed;  // absolute paths
  std::function<void(core::Held)> held;
  std::function<void(std::string)> tell;  // a warning, one line without its end
};

class Watcher {
 public:
  // Callbacks come from the loop only, never from within a call of ours, but for `tell`. They may call set()
  // and remove(), and must not destroy the Watcher. `loop` and `table` outlive it. A table that was restored
  // is compared with the files at once for the services in it; the differences are told at the first turn of
  // the loop to those of them that were set again until then, and the others are forgotten. `folders_max` is
  // kWatchesMax but in tests.
  Watcher(os::Loop& loop, FileTable& table, WatchCallbacks callbacks, std::size_t folders_max = kWatchesMax);
  ~Watcher();

  // Watches what the spec says for this service, from the return on: every later difference is told. Of
  // it only `paths`, `ignore`, `include`, `ignore_files` and `poll` matter. The same again changes nothing;
  // another one replaces the old. Problems (a path that does not exist yet, a limit) are told; there is no
  // failure.
  void set(ServiceId service, const core::WatchSpec& spec);
  void remove(ServiceId service);

  // Whether a change of this absolute path would be told to the service, and which rule says so.
  Explanation explain(ServiceId service, const std::string& path) const;

  WatchCounts counts() const;
  // Whether files wait to be hashed or grace runs: false means that the loop has nothing to do for us.
  bool busy() const;
  // Neither that, nor has the kernel anything to tell: a change that is told from now on is younger.
  bool at_rest() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runmain::drive

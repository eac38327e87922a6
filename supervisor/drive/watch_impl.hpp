// The watcher's inside, shared by watcher.cpp (what is asked and told), watch_events.cpp (what the kernel
// says), watch_scan.cpp (what the folders say) and watch_rules.cpp (ignore files that change). Nobody else
// includes it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "drive/watch_gate.hpp"
#include "drive/watch_git.hpp"
#include "drive/watch_roots.hpp"
#include "drive/watch_tree.hpp"
#include "drive/watcher.hpp"

namespace runmain::drive {

inline constexpr Duration kGraceSlack =
    std::chrono::milliseconds(5);         // graces that end so close are told together
inline constexpr int kReadsPerTurn = 16;  // of 64 KiB each; the rest waits for the loop's next turn
inline constexpr int kRefreshRounds = 8;  // looks at the roots until two in a row agree
inline constexpr std::size_t kUnmountedMax = 64;
inline constexpr std::int64_t kPollDuty = 10;  // polling takes at most a tenth of the time

struct Watcher::Impl {
  Impl(os::Loop& loop, FileTable& table, WatchCallbacks callbacks, std::size_t folders_max);

  // watcher.cpp
  void set(ServiceId service, const core::WatchSpec& spec);
  void remove(ServiceId service);
  void adopt(ServiceId service);  // watches its roots anew, taking new files as they are
  void catch_up();                // judges all that has happened until now
  void restore();
  void forget_unconfirmed();
  void sweep();  // drops watches and table entries that no root wants
  void save_services();
  void find_repositories();
  void note(const std::string& folder, const std::string& name);
  void note_unknown(const std::string& folder);
  void deliver();
  void on_timer();
  void arm();
  void open_poll();
  Time next_deadline() const;

  // watch_events.cpp
  void on_readable();
  void read_events();
  void on_event(const os::InotifyEvent& event);
  void on_self(const std::string& folder);
  void on_unmount(const std::string& folder);
  void on_name(const std::string& folder, const std::string& name, std::uint32_t mask);
  void on_folder_name(const std::string& path, std::uint32_t mask);
  void finish_batch();
  void judge_touched();
  void apply(const std::string& folder, const std::string& name, Verdict verdict);
  void wait_for(const std::string& path);
  void settle_due(Time now);
  void settle(const std::string& path);
  void settle_file(const std::string& folder, const std::string& name);
  void forget_below(const std::string& path);
  void rescan_after_overflow();

  // watch_rules.cpp
  bool is_source(const std::string& folder, const std::string& name);
  void on_source(const std::string& folder, const std::string& name, std::uint32_t mask);
  void refresh_rules(Time now);
  void learn_sources(const std::set<std::string>& due = {});
  void rules_changed(const std::string& folder, std::int64_t since_ns);
  Time next_rules() const;

  // watch_scan.cpp
  // A folder on the way of a scan: who sees it, and why its files are looked at.
  struct Step {
    std::string path;
    Seers seers;
    Why why = Why::found;
    std::int64_t since_ns = 0;  // revealed: what is younger is news
  };
  void scan(const std::string& top, Why why, std::int64_t since_ns = 0);
  void scan_folder(Step step, std::vector<Step>& stack);
  void scan_entries(const os::Folder& folder, const Step& step, std::vector<Step>& stack,
                    const std::vector<std::pair<std::string, os::EntryType>>& entries);
  void learn(Step& step, IgnoreNames names, bool known);
  void scan_file(const os::Folder& folder, const std::string& path, const std::string& name, Why why);
  void unreadable(const std::string& path, const Error& error);
  void wait_for_unseen(const std::string& path);
  void drop_unseen(const std::string& top, std::uint32_t mark);
  void refresh_roots(Why why_first, std::optional<ServiceId> only = {});
  void establish(const Root& root, Why why);
  void poll();
  void poll_mounts();

  struct Service {
    WatchedService spec;
    bool confirmed = false;  // set() was called since this watcher was made
  };

  os::Loop& loop_;
  FileTable& table_;
  WatchCallbacks callbacks_;
  WatchTree tree_;
  ContentGate gate_;
  RootSet roots_;
  GitLocks locks_;
  std::unique_ptr<os::Poll> poll_;
  std::unique_ptr<os::Timer> timer_;
  std::map<ServiceId, Service> services_;

  std::map<std::pair<std::string, std::string>, Why>
      touched_;                          // folder and name; judged when the batch is read
  std::map<std::string, Time> pending_;  // path, and when its grace is over
  Time pending_first_ = kNever;
  std::map<ServiceId, core::Changed> outbox_;
  std::vector<core::Held> holds_;
  std::set<ServiceId> relinked_;  // a link among their roots has changed
  std::vector<std::string> warnings_;
  std::map<std::string, Time> sources_;  // folders with another ignore file, and when it is read
  bool sweep_dirty_ = false;             // rules have changed: something may be ignored now
  bool roots_dirty_ = false;             // look at the roots when the batch is read
  bool locks_dirty_ = false;
  bool repositories_dirty_ = false;
  // Where a file system was unmounted, and which folder was last seen there: a mount is not told, so that the
  // roots and these are looked at every second.
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> unmounted_;
  bool soon_ = false;      // something is to be done at the next turn
  bool restored_ = false;  // services of the table still wait for their set()
  Time next_poll_ = kNever;
  Time rescan_at_ = kNever;
  Duration rescan_took_{};
  std::uint32_t scan_ = 0;  // number of the latest scan
  std::uint64_t overflows_ = 0;
  std::uint64_t events_ = 0;
};

}  // namespace runmain::drive

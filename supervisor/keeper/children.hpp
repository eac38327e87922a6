// The children: starting them, waiting for them, signalling them, ending their trees.
//
// The keeper is parent and subreaper of everything, and its loop is the only reaper: a pid of a living child
// cannot be used for another process before reap() has seen it die, so a signal can only reach the right one.
// Invariant: one child a key; what happens to it is pushed to Happenings exactly once (Started, Died,
// TreeEmpty). Bound: kChildrenMax entries.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"
#include "keeper/adoption.hpp"
#include "keeper/happenings.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/listeners.hpp"
#include "keeper/mailboxes.hpp"
#include "keeper/poller.hpp"
#include "keeper/protocol.hpp"
#include "keeper/streams.hpp"
#include "keeper/user_terminal.hpp"
#include "os/linux/process_tree.hpp"
#include "os/linux/spawn.hpp"

namespace runmain::keeper {

inline constexpr std::size_t kChildrenMax = 8192;
inline constexpr Duration kSweepTimeout = std::chrono::seconds(5);  // then survivors are named

class Children {
 public:
  Children(Poller& poller, Happenings& happenings, Listeners& listeners, Streams& streams,
           Mailboxes& mailboxes, os::Spawner& spawner, const UserTerminal& terminal,
           const rlimit& original_nofile);

  void start(const SpawnChild& order);
  void refuse(const RefuseSpawn& order);
  void signal(const ChildKey& key, int signal, bool group);
  void signal_all(int signal);
  void kill_tree(const ChildKey& key, Time now);
  void await_tree(const ChildKey& key);
  void kill_all_trees(Time now);
  void forget(const ChildKey& key);
  void set_main_pid(const ChildKey& key, pid_t pid);

  // Says which of our processes are no children of a service.
  void set_strangers(std::function<bool(pid_t)> are) { is_stranger_ = std::move(are); }

  // The process `pid` was waited for. False: it is none of ours (a stranger, the head).
  bool on_death(pid_t pid, int status);
  // A process was stopped by a signal, or goes on.
  void on_frozen(pid_t pid, bool on);
  // The pidfd of a MAINPID that need not be our child says it is gone.
  void on_main_pid_gone(std::uint32_t serial);
  void on_notify(std::uint32_t serial);
  // A happening was acknowledged: its child may send more.
  void acknowledged(const What& what);

  // The next round of killing trees, if any is being killed. `reap` is called before a tree is told empty.
  void sweep(Time now, const std::function<void()>& reap);
  bool sweeping() const { return !killer_.idle(); }
  // Adopted trees whose end is awaited: nobody tells us of it, so it is looked for now and then.
  void look_at_adopted(Time now);
  Time look_due() const { return look_at_; }

  // How those on a pty of their own stand to it, and what is typed to one of them.
  std::vector<TerminalSeen> look_at_terminals() const;
  void type(const ChildKey& key, std::string_view bytes);

  bool any_alive() const;
  // A child whose main process lives.
  struct Living {
    pid_t pid = 0;
    std::string service;
    bool kept = false;
  };
  std::optional<Living> living(const ChildKey& key) const;
  std::vector<ChildEntry> entries() const;
  // For an upgrade (keeper_state.hpp). restore(): into an empty one; who has died meanwhile is waited for as
  // ever.
  ChildrenState save() const;
  void restore(const ChildrenState& state);
  // For the adoption table. changes(): has become more whenever it would say something else.
  void describe(AdoptionTable& table) const;
  std::uint64_t changes() const { return changes_; }
  // Tags go on below `end`, as those in [end, begin) were given by a keeper that is gone.
  void continue_tags(std::uint64_t begin, std::uint64_t end) {
    if (tags_.continue_below(end)) tags_begin_ = begin;
  }
  // A child of a keeper that is gone; its listeners are there already. `pidfd` is its main process's; none:
  // it has ended meanwhile, which is told as a death of which nobody knows the status.
  void adopt(const ChildOnRecord& record, os::UniqueFd pidfd, std::uint32_t stream);

  // The child whose tree this process belongs to, by its tag.
  const ChildKey* of_process(pid_t pid) const;

 private:
  struct Child {
    ChildKey key;
    std::uint32_t serial = 0;
    pid_t pid = 0;        // the main process
    pid_t first_pid = 0;  // leader of the session and group
    bool alive = false;   // the main process, not yet waited for
    bool leader_alive = false;
    bool at_pty = false;
    bool signalled = false;  // asked to go: when it goes, what it has left behind is killed at once
    bool counted = false;    // as living, by its listeners
    bool frozen = false;
    bool frozen_told = false;
    bool frozen_pending = false;      // a Frozen is not acknowledged: the next one comes after it
    bool awaited = false;             // its tree may take its time, and its end is to be told
    bool empty = false;               // its tree is proved gone, and that was told
    bool kept = false;                // outlives us
    bool adopted = false;             // of a keeper before us: its processes are not our children
    bool died_before = false;         // … and it had died before we came, which nobody has acknowledged
    std::uint64_t started = 0;        // of the main process: its start time (proc(5)) …
    std::uint64_t first_started = 0;  // … and of the first one
    std::string notify_name;          // abstract
    std::uint16_t port = 0;           // SpawnChild.port
    std::uint64_t tag = 0;
    std::uint32_t stream = 0;
    std::string service;                 // its name, for a head that has forgotten
    std::vector<std::string> listeners;  // ids that it got
    os::UniqueFd notify;
    os::UniqueFd main_pidfd;
    std::size_t notify_pending = 0;
    bool notify_polled = false;
  };
  void restore(const ChildState& state);
  Child* find(const ChildKey& key);
  Child* find_serial(std::uint32_t serial);
  void fail(const ChildKey& key, os::SpawnStage stage, int error, const std::string& detail);
  Result<std::string> open_notify(Child& child);
  static Result<os::UniqueFd> bind_notify(const std::string& name);
  bool leads(const Child& child) const;
  void poll_notify(Child& child, bool on);
  void tell_death(Child& child, pid_t pid, int status, bool known);
  void tell_empty(Child& child, std::vector<std::string> survivors);
  void sweep_tree(Child& child, Time t);
  bool is_gone(const Child& child) const;
  void look_at_awaited();
  void look_soon();
  std::vector<std::uint64_t> sockets_of(const Child& child) const;
  void count_living(Child& child, bool on);
  void tell_frozen(Child& child);
  bool make_plan(const SpawnChild& order, Child& child, os::SpawnPlan& plan);
  bool make_stdio(const SpawnChild& order, Child& child, os::SpawnPlan& plan, os::UniqueFd& write_end);

  Poller& poller_;
  Happenings& happenings_;
  Listeners& listeners_;
  Streams& streams_;
  Mailboxes& mailboxes_;
  os::Spawner& spawner_;
  const UserTerminal& terminal_;
  std::function<bool(pid_t)> is_stranger_ = [](pid_t) { return false; };
  os::TagSource tags_;
  os::TreeKiller killer_;
  os::UniqueFd null_;
  rlimit original_nofile_;
  std::unordered_map<ChildKey, std::unique_ptr<Child>> children_;
  std::unordered_map<std::uint32_t, Child*> by_serial_;
  std::unordered_map<pid_t, Child*> by_pid_;
  std::unordered_map<std::uint64_t, Child*> by_tag_;
  std::uint32_t last_serial_ = 0;
  std::size_t awaited_ = 0;  // children whose tree is awaited
  Time look_at_ = kNever;
  Duration look_every_{};
  std::uint64_t tags_begin_ = tags_.last();
  std::uint64_t changes_ = 0;
  std::string scratch_;
};

}  // namespace runmain::keeper

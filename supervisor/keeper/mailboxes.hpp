// The mailboxes of children (child_runtime/mailbox.h): made with a child's first claim, kept until the
// observer has read them.
//
// A worker without one may have sent telemetry all the same (OTLP), so its end is told, too.
//
// The table has marks of what the present observer was told: nothing is queued for it, and a new one is told
// all. Of a new mailbox it is told a moment later, or when the child is gone: a start is not to share its CPU
// with the observer, which has time. Invariant: one mailbox a child, however many of its processes claim; it
// is let go when its tree is gone and the observer says that it is read. Beyond `max` the oldest whose tree
// is gone goes unread, counted; if there is none, none is made, counted. Thread: the keeper's. Non-goal: what
// is in a mailbox.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"
#include "keeper/adoption.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/observer_messages.hpp"
#include "os/linux/fd.hpp"

namespace runmain::keeper {

// Ends of workers without a mailbox that a new observer is told of; older ones it need not know.
inline constexpr std::size_t kBareTreesMax = 1024;

// From a mailbox's making to its telling: longer than most starts take from there, and far less than a ring
// is full in. Should the keeper be killed meanwhile and the child end with it, what stands in the mailbox is
// lost; where workers live on, the next keeper takes it from them.
inline constexpr Duration kMadeTold = std::chrono::milliseconds(5);

// As many as leave the most of our fds to others.
std::size_t mailboxes_max();

class Mailboxes {
 public:
  explicit Mailboxes(std::size_t max = kMailboxesMax) : max_(max) {}

  // Both stay the table's.
  struct Fds {
    int memory = -1;
    int wake = -1;
    std::uint32_t claim = 0;  // how often it was given before
  };
  // The child's mailbox, made now if it has none; nullopt: none can be made. `pid` is its main process, which
  // lives. `kept`: it outlives us.
  std::optional<Fds> give(const ChildKey& key, const std::string& service, const std::string& instance_id,
                          pid_t pid, bool kept = false);

  // Makes the memory of the next worker's, once a worker has had one: a start waits for what give() does.
  void prepare();
  // When a mailbox that give() has made is to be told of, and the next one prepared; rest() does that then.
  Time due() const { return due_; }
  void rest(Time now);
  // To be told of now, as it is the end.
  void hasten() { untold_ = true; }

  // For the adoption table. changes(): has become more whenever it would say something else.
  void describe(ChildOnRecord& record);
  std::uint64_t changes() const { return changes_; }
  // That of a child of a keeper that is gone. Without a `wake` nobody wakes its reader.
  void adopt(const ChildOnRecord& record, const std::string& instance_id, os::UniqueFd memory,
             os::UniqueFd wake);

  // Tells who reads it that a process has it who can wake nobody.
  static void mark_by_path(const Fds& mailbox);

  // What has become of a child, if it has a mailbox.
  void child_gone(const ChildKey& key, pid_t pid, int status, bool known);
  // … and of a worker without one, too.
  void tree_gone(const ChildKey& key);
  // The observer has read all of it. What may still be written to is kept.
  void read(const ChildKey& key);

  // There is a new observer, who was told nothing.
  void tell_again();
  // Sends what was not told, for each mailbox in the order in which it happened. False: `send` could not.
  using Send = std::function<bool(const ObserverMessage&, const std::vector<int>& fds)>;
  bool tell(const Send& send);

  // For an upgrade (keeper_state.hpp). restore(): into an empty one.
  MailboxesState save() const;
  void restore(const MailboxesState& state);

  std::size_t size() const { return mailboxes_.size(); }
  std::uint64_t lost() const { return lost_; }          // let go unread
  std::uint64_t not_made() const { return not_made_; }  // no room, or no memory

 private:
  struct Mailbox {
    os::UniqueFd memory;
    os::UniqueFd wake;
    std::uint64_t inode = 0;    // of the memory; for the adoption table, as …
    std::uint64_t wake_id = 0;  // … what /proc calls the other one: asked for once, 0 until then
    std::uint32_t claims = 0;
    std::uint64_t number = 0;  // in the order of making
    MailboxMade made;
    std::optional<ChildGone> gone;
    bool tree_gone = false;
    bool made_told = false;  // to the present observer, as the next two
    bool gone_told = false;
    bool tree_told = false;
  };
  struct Blank {  // a mailbox of nobody
    os::UniqueFd memory;
    os::UniqueFd wake;
    explicit operator bool() const { return memory && wake; }
  };
  static Blank make_blank();
  Mailbox* find(const ChildKey& key);
  bool make_room();
  void bare_tree_gone(const ChildKey& key);
  static bool tell_one(Mailbox& mailbox, const Send& send);

  std::size_t max_;
  Blank next_;
  bool wanted_ = false;  // it is
  Time due_ = kNever;
  std::unordered_map<ChildKey, Mailbox> mailboxes_;
  std::uint64_t last_number_ = 0;
  std::uint64_t changes_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t not_made_ = 0;
  std::deque<ChildKey> bare_trees_;  // gone, without a mailbox, oldest first
  std::size_t bare_told_ = 0;        // of these
  bool untold_ = false;              // something may not have been told
};

}  // namespace runmain::keeper

// One mailbox under the observer's eyes: its reader, its wake fd, and what is known of its processes' ends.
//
//     drain(), …; save encoded(); commit(); rest()
//
// Invariant: whoever writes to the wake fd without end costs one look a round. The main process lives until
// gone() says otherwise; of other processes /proc is asked. Thread: the loop's. Non-goal: a process in
// another pid namespace, of which /proc knows nothing: it counts as gone.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/mailbox_reader.hpp"

namespace runmain::telemetry {

// Processes whose death nobody tells us are looked for this often.
inline constexpr Duration kLookForGone = std::chrono::seconds(1);
inline constexpr Duration kLookForLanes = std::chrono::milliseconds(500);  // while nobody has one

struct MailboxOwner {
  ChildKey key;
  std::string service;
  std::string instance_id;
  std::int32_t pid = 0;  // the main process
  bool kept = false;     // it outlives its keeper
};

class ObservedMailbox {
 public:
  // `woken`: something was written after rest().
  ObservedMailbox(os::Loop& loop, MailboxOwner owner, os::UniqueFd wake, std::function<void()> woken);
  ObservedMailbox(const ObservedMailbox&) = delete;
  ObservedMailbox& operator=(const ObservedMailbox&) = delete;

  // On failure it stays closed, and is at its end with its tree.
  Result<void> open(os::UniqueFd memory, MailboxCursor cursor);
  bool is_open() const { return reader_.has_value(); }
  const MailboxOwner& owner() const { return owner_; }
  const ChildKey& key() const { return owner_.key; }

  // The main process has ended.
  void gone(const Ending& ending);
  // All have.
  void tree_gone(Time now);
  // It lives and goes on living without a keeper: what it has open is not over.
  bool lives_on() const;
  bool is_tree_gone() const { return tree_gone_at_ != kNever; }
  Time tree_gone_at() const { return tree_gone_at_; }
  // Asks which of its processes live. Returns whether there is something to do then.
  bool find_gone();

  // As those of MailboxReader. Requires is_open().
  std::span<const Item> drain(std::size_t max_bytes);
  bool has_more() const { return reader_->has_more(); }
  MailboxTallies tallies() const { return reader_->tallies(); }
  void count_unread() { reader_->count_unread(); }
  std::vector<LaneFault> take_faults() { return reader_->take_faults(); }
  void commit();
  // The items of the last drain() are gone.
  void let_go_of_memory();
  std::size_t memory() const { return reader_ ? reader_->memory() : 0; }
  // Whether nothing is left to read for ever: its tree is gone and no lane is anybody's.
  bool at_end() const { return is_tree_gone() && (!reader_ || reader_->at_rest()); }

  // Waits for its writers. False: there is something already.
  bool rest();
  // Looks whether somebody has written who could not wake us. True: there is something.
  bool look();
  // When look() or find_gone() is worth it.
  Time next_look(Time now) const;
  bool looks_for_gone(Time now) const { return now >= find_gone_at_; }

  // The cursor in base/archive.hpp's form; empty if it is not open.
  const std::string& encoded();

  bool queued = false;   // the observer's: is to be drained
  bool drained = false;  // the observer's: is to be committed
  bool left = false;     // the observer's: somebody else reads on …
  bool settled = false;  // … behind what was read and committed by now

 private:
  void on_wake();
  std::optional<Ending> ending_of(std::uint32_t pid, std::uint64_t pid_started) const;

  MailboxOwner owner_;
  os::UniqueFd wake_;
  std::function<void()> woken_;
  std::unique_ptr<os::Poll> poll_;
  std::optional<MailboxReader> reader_;
  std::optional<Ending> ending_;  // of the main process
  Time tree_gone_at_ = kNever;
  Time find_gone_at_{};
  bool asleep_ = false;
  bool stale_ = true;  // encoded_ is
  std::string encoded_;
};

}  // namespace runmain::telemetry

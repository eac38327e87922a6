#include "telemetry/observed_mailbox.hpp"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/named_archive.hpp"
#include "base/wall_time.hpp"
#include "os/linux/proc.hpp"

namespace runmain::telemetry {
namespace {

bool has_membarrier() {
  static const bool has = [] {
    const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0;
  }();
  return has;
}

// Whether this very process lives, or may: a pid that was given away again is of another start. `pid_started`
// 0 or 1: it is not known.
bool lives(std::uint32_t number, std::uint64_t pid_started) {
  const auto pid = static_cast<pid_t>(number);
  if (pid <= 0) return false;
  const auto found = os::process_state(pid);
  const bool any = pid_started <= 1 || (found && found->started == 0);
  if (found) return found->living() && (any || found->started == pid_started);
  return kill(pid, 0) == 0 || errno == EPERM;  // /proc may hide what is another user's
}

// Children have the eventfd, too: one that makes it blocking and empties it must not hold us up.
void empty_eventfd(int fd) {
  std::uint64_t count = 0;
  iovec part{&count, sizeof count};
  if (preadv2(fd, &part, 1, -1, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP) return;
  if (!os::set_nonblocking(fd, true)) return;
  [[maybe_unused]] const ssize_t n = read(fd, &count, sizeof count);
}

}  // namespace

ObservedMailbox::ObservedMailbox(os::Loop& loop, MailboxOwner owner, os::UniqueFd wake,
                                 std::function<void()> woken)
    : owner_(std::move(owner)), wake_(std::move(wake)), woken_(std::move(woken)) {
  if (wake_) poll_ = loop.poll(wake_.get(), 0, [this](int) { on_wake(); });
}

Result<void> ObservedMailbox::open(os::UniqueFd memory, MailboxCursor cursor) {
  auto reader = MailboxReader::open(std::move(memory), std::move(cursor));
  if (!reader) return reader.error();
  reader_.emplace(std::move(*reader));
  return {};
}

void ObservedMailbox::on_wake() {
  poll_->want(0);  // until we rest again
  empty_eventfd(wake_.get());
  asleep_ = false;
  woken_();
}

// ---- who lives

void ObservedMailbox::gone(const Ending& ending) {
  ending_ = ending;
  find_gone_at_ = {};
}

void ObservedMailbox::tree_gone(Time now) {
  if (!is_tree_gone()) tree_gone_at_ = now;
  find_gone_at_ = {};
}

bool ObservedMailbox::lives_on() const {
  if (!owner_.kept || ending_ || is_tree_gone()) return false;
  const auto state = os::process_state(owner_.pid);
  return state && state->living();
}

std::optional<Ending> ObservedMailbox::ending_of(std::uint32_t pid, std::uint64_t pid_started) const {
  const bool is_main = pid == static_cast<std::uint32_t>(owner_.pid);
  if (is_main && !ending_ && !is_tree_gone()) return std::nullopt;
  if (!is_tree_gone() && lives(pid, pid_started)) return std::nullopt;
  if (is_main && ending_) return ending_;
  Ending unknown;
  unknown.at_unix_nano = static_cast<std::uint64_t>(wall_now_ns());
  return unknown;
}

bool ObservedMailbox::find_gone() {
  if (!reader_) return false;
  find_gone_at_ = os::Loop::now() + kLookForGone;
  bool any = false;
  reader_->find_gone([&](std::uint32_t pid, std::uint64_t pid_started) {
    const auto ending = ending_of(pid, pid_started);
    any = any || ending.has_value();
    return ending;
  });
  stale_ = stale_ || any;
  return any;
}

// ---- reading

std::span<const Item> ObservedMailbox::drain(std::size_t max_bytes) {
  stale_ = true;
  asleep_ = false;
  if (is_tree_gone()) find_gone();
  return reader_->drain(max_bytes);
}

void ObservedMailbox::commit() {
  stale_ = true;
  reader_->commit();
}

void ObservedMailbox::let_go_of_memory() {
  if (reader_) reader_->let_go_of_memory();
}

bool ObservedMailbox::rest() {
  if (!reader_ || is_tree_gone()) return true;
  asleep_ = reader_->fall_asleep();
  if (asleep_) reader_->let_go_of_memory();
  if (asleep_ && poll_) poll_->want(os::kReadable);
  return asleep_;
}

bool ObservedMailbox::look() { return asleep_ && !rest(); }

Time ObservedMailbox::next_look(Time now) const {
  if (!reader_ || is_tree_gone()) return kNever;
  Time next = has_membarrier() && poll_ ? kNever : now + kLookAgain;
  // Who was given the mailbox by its path has no wake fd: the first lane is found by looking.
  if (reader_->at_rest() && reader_->is_by_path()) next = std::min(next, now + kLookForLanes);
  for (const LaneCursor& lane : reader_->cursor().lanes) {
    if (lane.stage != LaneStage::reading && lane.stage != LaneStage::aside) continue;
    if (lane.mode == RUNMAIN_LANE_BY_CHECKSUM) next = std::min(next, now + kLookAgain);
    const bool told = lane.pid == static_cast<std::uint32_t>(owner_.pid) && !ending_;
    if (!told) next = std::min(next, std::max(now, find_gone_at_));
  }
  if (reader_->has_half_taken()) next = std::min(next, std::max(now, find_gone_at_));
  return next;
}

const std::string& ObservedMailbox::encoded() {
  if (!reader_ || !std::exchange(stale_, false)) return encoded_;
  encoded_ = to_named(reader_->cursor());
  return encoded_;
}

}  // namespace runmain::telemetry

#include "keeper/mailboxes.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "base/wall_time.hpp"
#include "child_runtime/mailbox_format.h"
#include "os/linux/monotonic.hpp"
#include "os/linux/other_process.hpp"
#include "os/linux/sockets.hpp"

namespace runmain::keeper {
namespace {

constexpr rlim_t kFdsShare = 4;  // of our fds a fourth at most are mailboxes'
constexpr rlim_t kFdsEach = 2;

bool write_owner(int memory, const std::string& instance_id) {
  std::array<char, RUNMAIN_MAILBOX_INSTANCE_MAX> text{};
  instance_id.copy(text.data(), text.size() - 1);
  return pwrite(memory, text.data(), text.size(), offsetof(runmain_mailbox, instance_id)) ==
         static_cast<ssize_t>(text.size());
}

}  // namespace

std::size_t mailboxes_max() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<std::size_t>(std::min<rlim_t>(kMailboxesMax, limit.rlim_cur / (kFdsShare * kFdsEach)));
}

Mailboxes::Mailbox* Mailboxes::find(const ChildKey& key) {
  const auto found = mailboxes_.find(key);
  return found == mailboxes_.end() ? nullptr : &found->second;
}

Mailboxes::Blank Mailboxes::make_blank() {
  runmain_mailbox header{};
  runmain_mailbox_layout(&header, "");
  auto memory = os::make_memfd("runmain-mailbox", 0);
  if (!memory || runmain_mailbox_format(memory->get(), &header) != 0) return {};
  os::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return wake ? Blank{std::move(*memory), std::move(wake)} : Blank{};
}

void Mailboxes::prepare() {
  if (wanted_ && !next_) next_ = make_blank();
}

void Mailboxes::rest(Time now) {
  if (now < due_) return;
  due_ = kNever;
  untold_ = true;
  prepare();
}

std::optional<Mailboxes::Fds> Mailboxes::give(const ChildKey& key, const std::string& service,
                                              const std::string& instance_id, pid_t pid, bool kept) {
  ++changes_;
  if (Mailbox* known = find(key)) return Fds{known->memory.get(), known->wake.get(), known->claims++};
  wanted_ = wanted_ || key.is_worker();
  Blank blank;
  if (make_room()) blank = next_ ? std::exchange(next_, {}) : make_blank();
  if (!blank || !write_owner(blank.memory.get(), instance_id)) {
    ++not_made_;
    return std::nullopt;
  }
  Mailbox mailbox;
  mailbox.memory = std::move(blank.memory);
  mailbox.wake = std::move(blank.wake);
  mailbox.number = ++last_number_;
  mailbox.made = {key, service, instance_id, pid, kept};
  const Fds fds{mailbox.memory.get(), mailbox.wake.get(), mailbox.claims++};
  mailboxes_.emplace(key, std::move(mailbox));
  if (due_ == kNever) due_ = os::monotonic_now() + kMadeTold;
  return fds;
}

void Mailboxes::describe(ChildOnRecord& record) {
  const auto found = mailboxes_.find(record.key);
  if (found == mailboxes_.end()) return;
  Mailbox& mailbox = found->second;
  if (mailbox.inode == 0) {
    mailbox.inode = os::inode_of(mailbox.memory.get());
    mailbox.wake_id = os::eventfd_id(getpid(), mailbox.wake.get());
  }
  record.mailbox = mailbox.inode;
  record.wake = mailbox.wake_id;
  record.claims = mailbox.claims;
}

void Mailboxes::adopt(const ChildOnRecord& record, const std::string& instance_id, os::UniqueFd memory,
                      os::UniqueFd wake) {
  if (!wake) wake.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake || !make_room()) return;
  Mailbox mailbox;
  mailbox.memory = std::move(memory);
  mailbox.wake = std::move(wake);
  mailbox.claims = record.claims;
  mailbox.number = ++last_number_;
  mailbox.made = {record.key, record.service, instance_id, record.main.pid, record.keep};
  mailboxes_.emplace(record.key, std::move(mailbox));
  ++changes_;
  untold_ = true;
}

// Should it fail, the reader finds what is written by that process with the next wake of another one, or at
// the tree's end.
void Mailboxes::mark_by_path(const Fds& mailbox) {
  const std::uint32_t mark = 1;
  const std::uint64_t wake = 1;
  (void)!pwrite(mailbox.memory, &mark, sizeof mark, offsetof(runmain_mailbox, by_path));
  (void)!write(mailbox.wake, &wake, sizeof wake);
}

bool Mailboxes::make_room() {
  if (mailboxes_.size() < max_) return true;
  auto oldest = mailboxes_.end();
  for (auto it = mailboxes_.begin(); it != mailboxes_.end(); ++it) {
    if (!it->second.tree_gone) continue;
    if (oldest == mailboxes_.end() || it->second.number < oldest->second.number) oldest = it;
  }
  if (oldest == mailboxes_.end()) return false;
  mailboxes_.erase(oldest);
  ++lost_;
  return true;
}

// Again for another main process: that one counts from now on.
void Mailboxes::child_gone(const ChildKey& key, pid_t pid, int status, bool known) {
  Mailbox* mailbox = find(key);
  if (mailbox == nullptr) return;
  mailbox->gone = ChildGone{key, pid, status, known, static_cast<std::uint64_t>(wall_now_ns())};
  mailbox->gone_told = false;
  untold_ = true;
}

void Mailboxes::tree_gone(const ChildKey& key) {
  Mailbox* mailbox = find(key);
  if (mailbox == nullptr) return bare_tree_gone(key);
  mailbox->tree_gone = true;
  untold_ = true;
}

void Mailboxes::bare_tree_gone(const ChildKey& key) {
  if (!key.is_worker()) return;
  if (bare_trees_.size() >= kBareTreesMax) {
    bare_trees_.pop_front();
    bare_told_ -= bare_told_ > 0 ? 1 : 0;
  }
  bare_trees_.push_back(key);
  untold_ = true;
}

void Mailboxes::read(const ChildKey& key) {
  const auto found = mailboxes_.find(key);
  if (found != mailboxes_.end() && found->second.tree_told) mailboxes_.erase(found);
}

void Mailboxes::tell_again() {
  for (auto& [key, mailbox] : mailboxes_) mailbox.made_told = mailbox.gone_told = mailbox.tree_told = false;
  bare_told_ = 0;
  untold_ = !mailboxes_.empty() || !bare_trees_.empty();
}

bool Mailboxes::tell(const Send& send) {
  if (!untold_) return true;
  for (auto& [key, mailbox] : mailboxes_) {
    if (!tell_one(mailbox, send)) return false;
  }
  for (; bare_told_ < bare_trees_.size(); ++bare_told_) {
    if (!send(TreeGone{bare_trees_[bare_told_]}, {})) return false;
  }
  untold_ = false;
  return true;
}

bool Mailboxes::tell_one(Mailbox& mailbox, const Send& send) {
  if (!mailbox.made_told) {
    mailbox.made_told = send(mailbox.made, {mailbox.memory.get(), mailbox.wake.get()});
    if (!mailbox.made_told) return false;
  }
  if (mailbox.gone && !mailbox.gone_told) {
    mailbox.gone_told = send(*mailbox.gone, {});
    if (!mailbox.gone_told) return false;
  }
  if (mailbox.tree_gone && !mailbox.tree_told) {
    mailbox.tree_told = send(TreeGone{mailbox.made.key}, {});
    if (!mailbox.tree_told) return false;
  }
  return true;
}

}  // namespace runmain::keeper

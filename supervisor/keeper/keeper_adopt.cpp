// The keeper and the keepers before and after it: taking over what one that was killed has left, and writing
// down what the next one would need.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "base/identity.hpp"
#include "keeper/keeper.hpp"
#include "os/linux/monotonic.hpp"

namespace runmain::keeper {
namespace {

constexpr Duration kWriteAgain = std::chrono::seconds(1);

// One that nobody writes to.
os::UniqueFd ended_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return {};
  close(ends[1]);
  return os::UniqueFd(ends[0]);
}

std::string config_of(const std::vector<std::string>& head) {
  for (std::size_t i = 0; i + 1 < head.size(); ++i) {
    if (head[i] == "--config") return head[i + 1];
  }
  return {};
}

}  // namespace

// What a worker wrote last may be all that tells why it ended: a ring for that, too.
std::uint32_t Keeper::adopt_output(Survivors::Worker& worker) {
  const bool left = !worker.unread.bytes.empty() || worker.unread.in_line;
  if (!worker.pipe && left) worker.pipe = ended_pipe();
  if (!worker.pipe) return 0;
  const auto adopted = streams_->adopt(worker.record.key, std::move(worker.pipe), worker.unread);
  return adopted ? *adopted : 0;
}

// The secret stays: what children were told of it (nonces, ids) is as good as before.
void Keeper::take_over(const KeeperOptions& options, const std::string& channel) {
  adoption_ = AdoptionFile(options.adoption);
  config_ = config_of(options.head);
  Survivors all = take_survivors({options.adoption, config_, channel});
  for (const std::string& line : all.words) std::fprintf(stderr, "runmain: %s\n", line.c_str());
  if (all.busy) adoption_ = AdoptionFile();  // it is another one's
  if (!all.any()) return;
  unread_of_ = all.unread_of;
  if (all.table.secret.size() == secret_.size()) secret_ = all.table.secret;
  children_->continue_tags(all.table.tags_begin, all.table.tags_end - kTagsAhead);
  listeners_.adopt(all.table, std::move(all.sockets));
  for (Survivors::Worker& worker : all.living) {
    const std::uint32_t stream = adopt_output(worker);
    if (worker.mailbox) {
      mailboxes_.adopt(worker.record, instance_id(secret_, worker.record.key), std::move(worker.mailbox),
                       std::move(worker.wake));
    }
    children_->adopt(worker.record, std::move(worker.pidfd), stream);
  }
  for (Survivors::Worker& worker : all.died) {
    const std::uint32_t stream = adopt_output(worker);
    children_->adopt(worker.record, {}, stream);
  }
}

// All that it wants is open: what else was adopted and no child has is let go.
void Keeper::head_has_begun() {
  if (!head_->welcomed()) return;
  begun_ = true;
  listeners_.drop_unwanted();
  streams_->hold(false);
  if (adoption_.path().empty()) return;
  forget_unread(adoption_.path());  // it is in rings that the head has seen
  unread_of_ = {};
}

void Keeper::head_is_gone() {
  begun_ = false;
  streams_->hold(!headless_);
}

// This is in the way of each start: what stays as it is was asked for once.
void Keeper::describe_ourselves(AdoptionTable& table) {
  if (named_.boot.empty()) {
    named_.boot = os::boot_identity();
    named_.keeper = os::name_of_process(getpid());
  }
  if (named_.head.pid != head_->pid()) named_.head = os::name_of_process(head_->pid());
  if (named_.observer.pid != observer_->pid()) named_.observer = os::name_of_process(observer_->pid());
  table.boot = named_.boot;
  table.keeper = named_.keeper;
  table.head = named_.head;
  table.observer = named_.observer;
  table.config = config_;
  table.unread_of = unread_of_;
  table.secret = secret_;
}

// Once a turn of the loop, if it would say something else; `ahead`: in any case.
void Keeper::write_down(bool ahead) {
  if (adoption_.path().empty()) return;
  const Written wanted{children_->changes(), listeners_.changes(), mailboxes_.changes(), head_->pid(),
                       observer_->pid()};
  if (wanted == written_ && !ahead) {
    write_again_ = {};
    return;
  }
  const Time t = os::monotonic_now();
  if (t < write_again_) return;
  AdoptionTable table;
  children_->describe(table);
  if (table.children.empty() && !ahead) {  // it is no use then
    if (adoption_.ours()) adoption_.remove();
    written_ = wanted;
    return;
  }
  listeners_.describe(table);
  describe_ourselves(table);
  const auto written = adoption_.write(table);
  if (written) {
    written_ = wanted;
    write_again_ = {};
    if (std::exchange(write_fault_told_, false))
      std::fprintf(stderr, "runmain: %s is written again: the workers can be taken over\n",
                   adoption_.path().c_str());
    return;
  }
  write_again_ = t + kWriteAgain;
  if (std::exchange(write_fault_told_, true)) return;
  std::fprintf(stderr,
               "runmain: %s: the workers could not be taken over if the keeper was killed, retrying\n",
               written.error().text().c_str());
}

// A child's tag is in the range of a table before there is the child: if we are killed right after, the next
// start knows whose it is.
void Keeper::write_ahead(const Order& order) {
  const bool spawns =
      std::holds_alternative<SpawnChild>(order) || std::holds_alternative<SpawnInMemfd>(order);
  if (spawns && !adoption_.written()) write_down(true);
}

// Nobody is left.
void Keeper::end_record() {
  if (adoption_.path().empty()) return;
  adoption_.remove();
  forget_unread(adoption_.path());
}

// The first head cannot begin with what it was told to run, and nothing was done yet: who was taken over
// serves on for the next start, as if this one had not been tried.
void Keeper::leave_survivors_if_refused(int status) {
  constexpr int kCannotBegin = 2;  // of Head::run()
  const bool refused = WIFEXITED(status) && WEXITSTATUS(status) == kCannotBegin;
  if (!refused || executed_ != 0 || head_->takeovers() != 0 || !children_->any_alive()) return;
  std::fprintf(stderr, "runmain: the workers of the run before serve on as they were\n");
  listeners_.leave();
  leaves_ = done_ = true;
  status_ = kCannotBegin;
}

}  // namespace runmain::keeper

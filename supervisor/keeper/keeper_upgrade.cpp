// Keeper: other programs take the places of those that run, its own included (upgrade.hpp says when they
// may).
//
// The head is ended and its successor is of the new program: it takes over as after any death. Of the
// keeper's own the state goes to a memfd, every fd through execve(2), and the new program goes on with the
// same pid, children, sockets and terminal. Until execve(2) has succeeded everything can be taken back.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/named_archive.hpp"
#include "keeper/keeper.hpp"
#include "keeper/upgrade.hpp"
#include "os/linux/monotonic.hpp"

namespace runmain::keeper {
namespace {

constexpr std::size_t kUpgradeErrorMax = 1024;  // bytes; a message to the head has to hold it

// As a program's own folder is meant when none is named.
std::string folder_of(const std::string& program) {
  const std::size_t slash = program.rfind('/');
  return slash == std::string::npos ? "." : program.substr(0, std::max<std::size_t>(slash, 1));
}

void set_all_cloexec(const std::vector<int>& fds, bool on) {
  for (const int fd : fds) (void)os::set_cloexec(fd, on);
}

}  // namespace

KeeperState Keeper::save() const {
  KeeperState s;
  s.version = state_version();
  s.protocol = kProtocolVersion;
  s.secret = secret_;
  s.executed = executed_;
  s.signals_pending = static_cast<std::uint32_t>(signals_pending_);
  s.stop_asked = stop_asked_;
  s.stop_signal = stop_signal_;
  s.nohup = nohup_;
  s.stood = stood_;
  s.nofile_soft = original_nofile_.rlim_cur;
  s.nofile_hard = original_nofile_.rlim_max;
  s.terminal = terminal_.save();
  s.control = control_.get();
  s.lock = lock_.get();
  s.journal = journal_.get();
  s.state = state_.get();
  s.table = table_.get();
  s.history = history_.get();
  s.head = head_->argv();
  s.adoption = adoption_.path();
  s.config = config_;
  s.unread_of = unread_of_;
  s.head_before = head_->before();
  s.head_starts = head_->starts();
  s.upgrading = upgrading_;
  s.happenings = happenings_.save();
  s.children = children_->save();
  s.streams = streams_->save();
  s.listeners = listeners_.save();
  s.mailboxes = mailboxes_.save();
  s.channel = hub_->save();
  s.observer = observer_->save();
  return s;
}

Result<std::unique_ptr<Keeper>> Keeper::resume(const KeeperState& state) {
  std::unique_ptr<Keeper> k(new Keeper);
  set_all_cloexec(fds_of(state), true);
  k->secret_ = state.secret;
  k->control_.reset(state.control);
  k->lock_.reset(state.lock);
  k->journal_.reset(state.journal);
  k->state_.reset(state.state);
  k->table_.reset(state.table);
  k->history_.reset(state.history);
  k->original_nofile_ = {state.nofile_soft, state.nofile_hard};
  if (auto made = k->make_loop(); !made) return made.error();
  k->nohup_ = state.nohup;
  auto streams = Streams::resume(k->poller_, state.streams);
  if (!streams) return streams.error();
  k->streams_ = std::move(*streams);
  k->make_rooms(os::UniqueFd(state.channel.listener), state.head);
  k->adoption_ = AdoptionFile(state.adoption, true);
  k->config_ = state.config;
  k->unread_of_ = state.unread_of;
  k->written_.head = -1;  // whatever stands there is written anew
  k->executed_ = state.executed;
  k->signals_pending_ = state.signals_pending;
  k->stop_asked_ = state.stop_asked;
  k->stop_signal_ = state.stop_signal;
  k->stood_ = state.stood;
  k->terminal_.restore(state.terminal);
  k->happenings_.restore(state.happenings);
  k->listeners_.restore(state.listeners);
  k->mailboxes_.restore(state.mailboxes);
  k->children_->restore(state.children);
  k->hub_->restore(state.channel);
  k->observer_->restore(state.observer);
  // A head of before would not understand another protocol.
  k->head_->resume(state.head_starts, state.protocol == kProtocolVersion ? state.head_before : std::string());
  k->upgrading_ = state.upgrading;
  if (k->upgrading_ != Upgrading::no) k->upgrading_ = Upgrading::keeper_too;
  if (k->children_->sweeping()) k->next_sweep_ = Time{};
  k->reap();
  return k;
}

void Keeper::replace_programs(const ReplacePrograms& order, Time t) {
  if (quitting_ || headless_) return tell_upgrade("runmain is ending");
  if (upgrade_->step() != Upgrade::Step::idle || upgrading_ != Upgrading::no)
    return (void)happenings_.push(UpgradeEnded{"another upgrade is under way", false});
  auto state = store_state(save());
  if (!state) return tell_upgrade(state.error().text());
  upgrade_->begin(order.folder.empty() ? folder_of(head_->argv().front()) : order.folder, std::move(*state),
                  state_.get(), t);
}

void Keeper::tell_upgrade(std::string error) {
  if (error.size() > kUpgradeErrorMax) error = error.substr(0, kUpgradeErrorMax) + "…";
  happenings_.push(UpgradeEnded{std::move(error), upgrading_ == Upgrading::keeper_too});
  upgrading_ = Upgrading::no;
}

bool Keeper::given_up_to_end() {
  if (!quitting_ && !headless_) return false;
  upgrade_->cancel();
  tell_upgrade("runmain is ending");
  return true;
}

// At the end of a turn only: nothing is half done then. What the head has not written down by its end, its
// successor finds here.
void Keeper::go_on_upgrading(Time t) {
  upgrade_->late(t);
  if (t >= hello_due()) head_->kill();
  if (const std::string why = upgrade_->take_refusal(); !why.empty()) tell_upgrade(why);
  if (upgrade_->step() != Upgrade::Step::ready || given_up_to_end()) return;
  upgrading_ = Upgrading::head;
  if (head_->pid() != 0) return head_->kill();
  use_programs(t);
}

void Keeper::use_programs(Time t) {
  const std::string keeper = upgrade_->program("runmain-keeper");
  head_->use(upgrade_->program("runmain-supervisor"), t);
  if (!upgrade_->keeper_changed()) {
    observer_->retire(upgrade_->program("runmain-observer"));
  } else if (const auto failed = execute_anew(keeper)) {
    head_->fall_back(t);
    tell_upgrade(keeper + ": " + *failed);
  }
  upgrade_->finish();
}

// Returns only if it has failed, with the reason.
std::optional<std::string> Keeper::execute_anew(const std::string& program) {
  KeeperState state = save();
  auto& observer = state.observer.configuration.argv;
  if (!observer.empty()) observer.front() = upgrade_->program("runmain-observer");
  auto memory = store_state(state);
  if (!memory) return memory.error().text();
  if (auto good = upgrade_->check_keeper_now(memory->get()); !good) return good.error().message;
  std::vector<int> fds = fds_of(state);
  fds.push_back(memory->get());
  const std::string number = std::to_string(memory->get());
  std::vector<std::string> words{"runmain-keeper", "--resume", number, "--"};
  words.insert(words.end(), state.head.begin(), state.head.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (state.observer.pid != 0) kill(state.observer.pid, SIGKILL);  // ObserverLink::retire()
  set_all_cloexec(fds, false);
  execve(program.c_str(), argv.data(), environ);
  const int error = errno;
  set_all_cloexec(fds, true);
  return std::string(std::strerror(error));
}

void Keeper::start_head(Time t) {
  if (!head_->start_if_due(t)) head_failed_while_upgrading(-1);
}

// Until then a head of another program has to say Hello, if there is one that can take its place again.
Time Keeper::hello_due() const {
  const bool waited = upgrading_ != Upgrading::no && upgrade_->step() == Upgrade::Step::idle;
  if (!waited || head_->pid() == 0 || head_->welcomed() || head_->before().empty()) return kNever;
  return head_->started() + kCheckTimeout;
}

// The head of the new program has not said a word. status -1: it could not even be started.
void Keeper::head_failed_while_upgrading(int status) {
  if (upgrading_ == Upgrading::no || upgrade_->step() != Upgrade::Step::idle) return;
  const std::string program = head_->argv().front();
  if (!head_->fall_back(os::monotonic_now())) return;
  const std::string how = status == -1 ? "it cannot be started"
                          : WIFSIGNALED(status)
                              ? "it ended by signal " + std::to_string(WTERMSIG(status))
                              : "it ended with status " + std::to_string(WEXITSTATUS(status));
  tell_upgrade(program + ": " + how + " before it said a word; the one before goes on");
}

}  // namespace runmain::keeper

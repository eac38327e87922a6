#include "keeper/keeper.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/archive.hpp"
#include "base/identity.hpp"
#include "os/linux/monotonic.hpp"

namespace runmain::keeper {
namespace {

constexpr Duration kSweepInterval = std::chrono::milliseconds(1);
constexpr std::size_t kEntriesBytes = kMessageMax / 2;  // of a Welcome; one entry more still has room
constexpr std::uint64_t kHistoryBytes = 2048ULL * (128U << 10U);  // sparse; 128 KiB a service

// The signals that come to runmain from terminals, shells and init systems. Others keep their default.
constexpr int kSignals[] = {SIGCHLD, SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
                            SIGUSR2, SIGTSTP, SIGCONT, SIGTTIN, SIGTTOU, SIGWINCH};

bool is_stop(int number) { return number == SIGINT || number == SIGTERM || number == SIGQUIT; }

}  // namespace

Result<void> Keeper::take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal_number : kSignals) {
    sigaddset(&set, signal_number);
    struct sigaction before {};
    sigaction(signal_number, nullptr, &before);
    if (signal_number == SIGHUP) nohup_ = before.sa_handler == SIG_IGN;
    // Started with SIGCHLD ignored, nobody could wait. Where it is so already, setting it would lose one that
    // waits.
    if (before.sa_handler != SIG_DFL) signal(signal_number, SIG_DFL);
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // the rings are files: a low RLIMIT_FSIZE is an error there, not our end
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Error::from_errno("signalfd", errno);
  return {};
}

Result<void> Keeper::make_memory() {
  secret_.resize(16);
  if (getrandom(secret_.data(), secret_.size(), 0) != static_cast<ssize_t>(secret_.size())) {
    return Error::from_errno("getrandom", errno);
  }
  struct Wanted {
    os::UniqueFd* fd;
    const char* name;
    std::uint64_t size;
  };
  for (const Wanted& w : {Wanted{&state_, "runmain-state", 0}, Wanted{&table_, "runmain-table", 0},
                          Wanted{&history_, "runmain-history", kHistoryBytes}}) {
    auto made = os::make_memfd(w.name, w.size);
    if (!made) return made.error();
    *w.fd = std::move(*made);
  }
  return {};
}

Result<void> Keeper::make_loop() {
  auto spawner = os::Spawner::make();
  if (!spawner) return spawner.error();
  spawner_ = std::make_unique<os::Spawner>(std::move(*spawner));
  auto poller = Poller::make();
  if (!poller) return poller.error();
  poller_ = std::move(*poller);
  if (auto taken = take_signals(); !taken) return taken.error();
  poller_.add(signals_.get(), EPOLLIN, Token{Source::signals, 0});
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  return {};
}

void Keeper::make_rooms(os::UniqueFd channel, std::vector<std::string> head) {
  children_ = std::make_unique<Children>(poller_, happenings_, listeners_, *streams_, mailboxes_, *spawner_,
                                         terminal_, original_nofile_);
  hub_ = std::make_unique<ChannelHub>(poller_, happenings_, *children_, listeners_, mailboxes_,
                                      std::move(channel));
  head_ = std::make_unique<HeadLink>(poller_, *spawner_, std::move(head));
  observer_ = std::make_unique<ObserverLink>(poller_, *spawner_, listeners_, mailboxes_);
  upgrade_ = std::make_unique<Upgrade>(*spawner_);
  children_->set_strangers(
      [this](pid_t pid) { return pid == head_->pid() || pid == observer_->pid() || pid == upgrade_->pid(); });
}

Result<std::unique_ptr<Keeper>> Keeper::make(const KeeperOptions& options) {
  std::unique_ptr<Keeper> k(new Keeper);
  k->control_.reset(options.control_fd);
  k->lock_.reset(options.lock_fd);
  k->journal_.reset(options.journal_fd);
  k->original_nofile_ = options.original_nofile;
  os::UniqueFd channel(options.channel_fd);
  const std::string channel_path = path_of_socket(channel.get());
  if (auto made = k->make_loop(); !made) return made.error();
  if (auto made = k->make_memory(); !made) return made.error();
  auto streams = Streams::make(k->poller_);
  if (!streams) return streams.error();
  k->streams_ = std::move(*streams);
  k->make_rooms(std::move(channel), options.head);
  k->take_over(options, channel_path);
  return k;
}

int Keeper::run() {
  while (!done_) {
    const Time t = os::monotonic_now();
    if (!quitting_ && !headless_) start_head(t);
    if (!quitting_) observer_->start_if_due(t);
    poller_.wait(timeout_ms(t), [this](const Poller::Happened& h) { handle(h); });
    policy(os::monotonic_now());
    go_on_upgrading(os::monotonic_now());
    write_down();  // before anybody hears of it
    tell_head();
    mailboxes_.rest(os::monotonic_now());
    observer_->tell();
  }
  if (leaves_) return status_;
  listeners_.close_all();
  end_record();
  terminal_.restore();
  return status_;
}

int Keeper::timeout_ms(Time t) const {
  Time next = std::min({next_sweep_, stop_asked_ == kNever ? kNever : stop_asked_ + kHeadlessStop,
                        headless_kill_, quit_deadline_, upgrade_->due(), hello_due(), children_->look_due(),
                        mailboxes_.due(), write_again_ == Time{} ? kNever : write_again_});
  if (!quitting_ && !headless_) next = std::min(next, head_->due());
  if (!quitting_ || observer_->pid() != 0) next = std::min(next, observer_->due());
  if (next == kNever) return -1;
  if (next <= t) return 0;
  return static_cast<int>(std::min<long long>(to_ms(next - t) + 1, 60'000));
}

void Keeper::handle(const Poller::Happened& h) {
  switch (h.token.source) {
    case Source::signals: on_signals(); break;
    case Source::head: on_head(h.events); break;
    case Source::room: streams_->on_room(); break;
    case Source::channel: hub_->on_listener(); break;
    case Source::connection: hub_->on_connection(h.token.serial, h.events); break;
    case Source::pipe: streams_->on_pipe(h.token.serial, h.events); break;
    case Source::notify: children_->on_notify(h.token.serial); break;
    case Source::main_pid: children_->on_main_pid_gone(h.token.serial); break;
    case Source::listener: listeners_.on_event(h.token.serial, h.events); break;
    case Source::observer: observer_->on_socket(h.token.serial, h.events); break;
  }
}

// ---- signals and deaths
// ---------------------------------------------------------------------------------------

void Keeper::on_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    on_signal(static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL);
  }
}

void Keeper::on_signal(int signal_number, bool typed) {
  switch (signal_number) {
    case SIGCHLD: reap(); return;
    case SIGTSTP: stop_and_continue(); return;
    case SIGCONT: return back_in_foreground();
    case SIGWINCH:
      if (const auto size = terminal_.size()) streams_->resize(*size);
      return;
    case SIGTTIN:
    case SIGTTOU:
      if (typed) return;  // job control: we have touched the terminal from the background
      break;
    default: break;
  }
  const bool stop = is_stop(signal_number);
  if (stop && stop_asked_ == kNever && !quitting_ && !headless_) {
    stop_asked_ = os::monotonic_now();
    stop_signal_ = signal_number;
  }
  if (headless_ && stop) headless_kill_ = os::monotonic_now();  // asked again: force
  if (quitting_ && stop) observer_->hurry(os::monotonic_now());
  tell_signal(signal_number, typed);
}

// What asks for the end has room of its own: it is not dropped for others that came before it.
void Keeper::tell_signal(int signal_number, bool typed) {
  const std::size_t room = is_stop(signal_number) ? 2 * kSignalsPendingMax : kSignalsPendingMax;
  if (signals_pending_ >= room) return;
  ++signals_pending_;
  const Duration stood =
      signal_number == SIGCONT ? std::exchange(stood_, Duration::zero()) : Duration::zero();
  happenings_.push(GotSignal{signal_number, typed, static_cast<std::uint64_t>(to_ms(stood)),
                             signal_number == SIGHUP && nohup_});
}

// Perhaps in the foreground again, with another screen than before: what was on it is drawn anew.
void Keeper::back_in_foreground() {
  terminal_.remember();
  if (const auto size = terminal_.size()) streams_->resize(*size);
  streams_->redraw();
  tell_signal(SIGCONT, false);
}

// As the kernel decides it for SIGTSTP: without a shell above us in our session nobody would wake us again.
bool Keeper::can_be_continued() const {
  const pid_t parent = getppid();
  return getsid(parent) == getsid(0) && getpgid(parent) != getpgrp();
}

// Ctrl-Z: the children lead sessions of their own and do not see it, so it is passed on; `fg` wakes them
// again.
void Keeper::stop_and_continue() {
  if (!can_be_continued()) return tell_signal(SIGCONT, false);
  children_->signal_all(SIGSTOP);
  terminal_.restore();
  const Time since = os::monotonic_now();
  kill(getpid(), SIGSTOP);
  stood_ += os::monotonic_now() - since;
  children_->signal_all(SIGCONT);
}

void Keeper::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid <= 0) return;
    if (WIFSTOPPED(status) || WIFCONTINUED(status)) {  // not by a debugger: that is told to itself only
      children_->on_frozen(pid, WIFSTOPPED(status));
    } else if (pid == head_->pid()) {
      terminal_.restore();
      const bool spoke = head_->welcomed();
      head_->died(status, os::monotonic_now());
      answers_.clear();
      head_is_gone();
      happenings_.tell_again();
      if (!spoke) head_failed_while_upgrading(status);
      leave_survivors_if_refused(status);
    } else if (pid == upgrade_->pid()) {
      upgrade_->died(status, os::monotonic_now());
    } else if (pid == observer_->pid()) {
      observer_->died(status, os::monotonic_now());
    } else {
      children_->on_death(pid, status);
    }
    if (!children_->sweeping()) continue;
    next_sweep_ = os::monotonic_now();
  }
}

// ---- the head
// -------------------------------------------------------------------------------------------------

void Keeper::on_head(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) head_->want_write(false);
  for (int i = 0; i < 256 && head_->socket() >= 0; ++i) {
    auto got = head_->receive();
    if (!got) {
      if (got.error().code != EAGAIN) head_->close_socket();
      return;
    }
    Request request;
    if (got->bytes.empty() || got->truncated || !from_binary(got->bytes, request)) {
      // End of file, or a head that talks nonsense: it is replaced as soon as it is gone.
      head_->close_socket();
      if (!quitting_) head_->kill();
      return;
    }
    on_request(request, got->fds);
  }
}

void Keeper::on_request(Request& request, std::vector<os::UniqueFd>& fds) {
  if (const auto* hello = std::get_if<Hello>(&request)) {
    if (hello->version == kProtocolVersion) return welcome();
    head_->kill();
  } else if (const auto* open = std::get_if<OpenListener>(&request)) {
    answers_.push_back({listeners_.open(*open), open->want_fd});
  } else if (const auto* close = std::get_if<CloseListeners>(&request)) {
    for (const std::string& id : close->ids) listeners_.close(id);
  } else if (auto* numbered = std::get_if<Numbered>(&request)) {
    execute(*numbered, fds);
  } else if (const auto* ack = std::get_if<Acknowledge>(&request)) {
    acknowledge(ack->happening);
  } else if (const auto* line = std::get_if<SendChannel>(&request)) {
    hub_->send(*line);
  } else if (const auto* typed = std::get_if<TypeInput>(&request)) {
    children_->type(typed->key, typed->bytes);
  } else if (const auto* look = std::get_if<LookAtTerminals>(&request)) {
    head_->send(TerminalsSeen{look->serial, children_->look_at_terminals()});
  } else if (std::holds_alternative<SuspendJob>(request)) {
    ::kill(0, SIGTSTP);
  } else if (std::holds_alternative<Begun>(request)) {
    head_has_begun();
  } else if (auto* observer = std::get_if<ConfigureObserver>(&request)) {
    if (!fds.empty()) observer_->configure(std::move(*observer), std::move(fds[0]));
  }
}

void Keeper::welcome() {
  Welcome w;
  w.executed = executed_;
  w.takeovers = head_->takeovers();
  w.cold = head_->cold();
  w.secret = secret_;
  std::vector<int> fds;
  const auto give = [&](WelcomeFd which, int fd) {
    if (fd < 0) return;
    w.fds.push_back(which);
    fds.push_back(fd);
  };
  give(WelcomeFd::control, control_.get());
  give(WelcomeFd::state, state_.get());
  give(WelcomeFd::table, table_.get());
  give(WelcomeFd::board, streams_->board_fd());
  give(WelcomeFd::rings, streams_->rings_fd());
  give(WelcomeFd::history, history_.get());
  give(WelcomeFd::output_event, streams_->output_event());
  give(WelcomeFd::space_event, streams_->room_event());
  give(WelcomeFd::journal, journal_.get());
  give(WelcomeFd::ring_cursor, streams_->cursor_fd());
  if (const auto mailbox = mailboxes_.give(kHeadKey, "runmain", instance_id(secret_, kHeadKey), 0)) {
    give(WelcomeFd::mailbox, mailbox->memory);
    give(WelcomeFd::mailbox_wake, mailbox->wake);
  }
  const std::vector<ChildEntry> all = children_->entries();
  std::size_t at = 0;
  do {
    w.children.clear();
    for (std::size_t bytes = 0; at < all.size() && bytes < kEntriesBytes; ++at) {
      bytes += 64 + all[at].service.size() + all[at].sockets.size() * sizeof(std::uint64_t);
      w.children.push_back(all[at]);
    }
    w.more = at < all.size();
    if (!head_->send(w, w.fds.empty() ? std::vector<int>{} : fds)) {
      head_->kill();  // a socket that is full at its birth: try with another one
      return;
    }
    w.fds.clear();
  } while (w.more);
  head_->set_welcomed();
  if (upgrading_ != Upgrading::no && upgrade_->step() == Upgrade::Step::idle) tell_upgrade({});
  happenings_.tell_again();
}

void Keeper::execute(Numbered& numbered, std::vector<os::UniqueFd>& fds) {
  if (numbered.number <= executed_) return;  // a repeat
  write_ahead(numbered.order);
  executed_ = numbered.number;
  std::visit(
      [&](auto& order) {
        using T = std::decay_t<decltype(order)>;
        if constexpr (std::is_same_v<T, SpawnChild>) {
          children_->start(order);
        } else if constexpr (std::is_same_v<T, SpawnInMemfd>) {
          SpawnChild spawn;
          const bool sane = !fds.empty() && order.size <= kSpawnMax;
          auto bytes =
              sane ? os::pread_some(fds[0].get(), order.size, 0) : Result<std::string>(Error{"no memfd"});
          if (bytes && from_binary(*bytes, spawn)) {
            children_->start(spawn);
          } else {
            children_->refuse(RefuseSpawn{order.key, static_cast<std::uint8_t>(os::SpawnStage::resources),
                                          E2BIG, "command and environment are larger than 4 MiB"});
          }
        } else if constexpr (std::is_same_v<T, RefuseSpawn>) {
          children_->refuse(order);
        } else if constexpr (std::is_same_v<T, KillChild>) {
          children_->signal(order.key, order.signal, order.group);
        } else if constexpr (std::is_same_v<T, KillTree>) {
          children_->kill_tree(order.key, os::monotonic_now());
          next_sweep_ = os::monotonic_now();
        } else if constexpr (std::is_same_v<T, AwaitTree>) {
          children_->await_tree(order.key);
        } else if constexpr (std::is_same_v<T, ForgetChild>) {
          children_->forget(order.key);
        } else if constexpr (std::is_same_v<T, SetMainPid>) {
          children_->set_main_pid(order.key, order.pid);
        } else if constexpr (std::is_same_v<T, SendChannel>) {
          hub_->send(order);
        } else if constexpr (std::is_same_v<T, DistributeSlots>) {
          listeners_.distribute(order);
        } else if constexpr (std::is_same_v<T, RenewBacklog>) {
          listeners_.renew(order);
        } else if constexpr (std::is_same_v<T, CloseSlots>) {
          listeners_.close_slots(order);
        } else if constexpr (std::is_same_v<T, ReplacePrograms>) {
          replace_programs(order, os::monotonic_now());
        } else {
          quit(order.status, os::monotonic_now());
        }
      },
      numbered.order);
}

void Keeper::acknowledge(std::uint64_t number) {
  happenings_.acknowledge(number, [this](const What& what) {
    children_->acknowledged(what);
    listeners_.acknowledged(what);
    hub_->acknowledged(what);
    if (std::holds_alternative<GotSignal>(what)) {
      --signals_pending_;
      if (signals_pending_ == 0) stop_asked_ = kNever;  // a head has taken it up
    }
  });
  streams_->reclaim();
}

bool Keeper::send_answers() {
  for (; !answers_.empty(); answers_.pop_front()) {
    const Answer& next = answers_.front();
    const int fd = next.with_fd && next.opened.error == 0 ? listeners_.fd(next.opened.id) : -1;
    if (!head_->send(next.opened, fd >= 0 ? std::vector<int>{fd} : std::vector<int>{})) return false;
  }
  return true;
}

void Keeper::tell_head() {
  if (!head_->welcomed() || !send_answers() || !begun_) return;
  while (const Happenings::Item* item = happenings_.next()) {
    if (!head_->send(Happening{item->number, executed_, item->what})) return;
    happenings_.sent();
  }
}

// ---- policy
// ---------------------------------------------------------------------------------------------------

void Keeper::policy(Time t) {
  children_->look_at_adopted(t);
  if (children_->sweeping() && next_sweep_ == kNever) next_sweep_ = t;
  if (t >= next_sweep_) {
    children_->sweep(t, [this] { reap(); });
    next_sweep_ = children_->sweeping() ? t + kSweepInterval : kNever;
  }
  if (stop_asked_ != kNever && t >= stop_asked_ + kHeadlessStop && !headless_) stop_without_head(t);
  if (headless_ && t >= headless_kill_) {
    headless_kill_ = kNever;
    quit(128 + stop_signal_, t);
  }
  if (headless_ && !quitting_ && !children_->any_alive()) quit(128 + stop_signal_, t);
  if (quitting_ && !children_->sweeping()) end(t);
}

// No child lives: the observer reads what they have left, while the head ends.
void Keeper::end(Time t) {
  observer_->finish(t);
  if (!head_over_ && (head_->pid() == 0 || t >= quit_deadline_)) {
    head_->kill();
    head_over_ = true;
    quit_deadline_ = kNever;
  }
  done_ = head_over_ && observer_->is_over(t);
}

// The keeper's only policy: the user has asked for the end, and nobody decides how.
void Keeper::stop_without_head(Time t) {
  headless_ = true;
  upgrade_->cancel();
  stop_asked_ = kNever;
  head_->kill();
  streams_->hold(false);  // who stands still in a write could not end
  children_->signal_all(SIGTERM);
  children_->signal_all(SIGCONT);
  headless_kill_ = t + kHeadlessGrace;
}

void Keeper::quit(int status, Time t) {
  if (quitting_) return;
  upgrade_->cancel();
  quitting_ = true;
  status_ = status;
  quit_deadline_ = t + kQuitGrace;
  children_->kill_all_trees(t);
  if (children_->sweeping()) next_sweep_ = t;
}

}  // namespace runmain::keeper

#include "keeper/observer_link.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

#include "base/archive.hpp"
#include "keeper/protocol.hpp"

namespace runmain::keeper {
namespace {

constexpr int kMessagesATurn = 64;   // then the others get their turn
constexpr int kMessagesLeft = 8192;  // of one that is dead; its socket holds fewer

}  // namespace

ObserverLink::ObserverLink(Poller& poller, os::Spawner& spawner, const Listeners& listeners,
                           Mailboxes& mailboxes)
    : poller_(poller), spawner_(spawner), listeners_(listeners), mailboxes_(mailboxes) {
  null_.reset(open("/dev/null", O_RDWR | O_CLOEXEC));
}

void ObserverLink::configure(ConfigureObserver what, os::UniqueFd memory) {
  if (!memory || what.argv.empty() || what.size > kObserverConfigurationMax ||
      what.listeners.size() > kListenersMax)
    return;
  const bool other = !configuration_.argv.empty() && configuration_.argv != what.argv;
  configuration_ = std::move(what);
  configuration_memory_ = std::move(memory);
  configuration_told_ = false;
  if (other) retire(std::string(configuration_.argv.front()));
}

bool ObserverLink::make_cursors() {
  if (cursors_) return true;
  if (auto made = os::make_memfd("runmain-cursors", 0)) cursors_ = std::move(*made);
  return static_cast<bool>(cursors_);
}

void ObserverLink::start_if_due(Time now) {
  if (pid_ != 0 || !configuration_memory_ || finishing_ || now < due_) return;
  auto pair = os::make_socketpair(SOCK_SEQPACKET);
  if (!pair || !make_cursors()) {
    due_ = now + std::chrono::seconds(1);
    return;
  }
  os::SpawnPlan plan;
  plan.argv = configuration_.argv;
  for (char** e = environ; *e != nullptr; ++e) plan.env.emplace_back(*e);
  plan.stdio[0] = null_.get();
  plan.fds = {pair->second.get()};
  plan.new_session = false;  // it writes to our terminal
  // No PDEATHSIG: at our death it reads what is left, and ends by itself.
  const os::SpawnOutcome outcome = spawner_.spawn(plan);
  ++starts_;
  started_ = now;
  if (outcome.pid <= 0) {
    std::fprintf(stderr, "runmain: cannot start the observer: %s, retrying\n", outcome.detail.c_str());
    died(0, now);
    return;
  }
  pid_ = outcome.pid;
  socket_ = std::move(pair->first);
  poller_.add(socket_.get(), EPOLLIN, Token{Source::observer, starts_});
}

Time ObserverLink::due() const {
  if (pid_ != 0) return deadline_;
  return configuration_memory_ && !finishing_ ? due_ : kNever;
}

void ObserverLink::on_socket(std::uint32_t serial, std::uint32_t events) {
  if (serial != starts_) return;  // of one that is gone
  if ((events & EPOLLOUT) != 0) want_write(false);
  read_messages(kMessagesATurn);
}

void ObserverLink::read_messages(int limit) {
  for (int i = 0; i < limit && socket_; ++i) {
    auto got = os::receive_message(socket_.get(), kMessageMax, scratch_);
    if (!got && got.error().code == EAGAIN) return;
    ObserverSays says;
    // End of file, or nonsense: it is replaced as soon as it is gone.
    if (!got || got->bytes.empty() || got->truncated || !from_binary(got->bytes, says) || !take(says)) drop();
  }
}

bool ObserverLink::take(const ObserverSays& says) {
  if (const auto* hello = std::get_if<ObserverHello>(&says)) {
    if (hello->version != kObserverVersion) return false;
    greeted_ = true;
    welcome_told_ = configuration_told_ = finish_told_ = false;
    lost_told_ = {};
    mailboxes_.tell_again();
  } else if (const auto* done = std::get_if<MailboxRead>(&says)) {
    mailboxes_.read(done->key);
  }
  return true;  // of one that has finished its end is awaited
}

void ObserverLink::tell() {
  if (!greeted_ || writing_ || retiring_) return;
  if (!welcome_told_) welcome_told_ = send(ObserverWelcome{kObserverVersion, starts_ - 1}, {cursors_.get()});
  if (!welcome_told_) return;
  if (!configuration_told_) configuration_told_ = tell_configuration();
  if (!configuration_told_) return;
  const MailboxesLost lost{mailboxes_.lost(), mailboxes_.not_made()};
  if (lost != lost_told_) {
    if (!send(lost)) return;
    lost_told_ = lost;
  }
  const bool all =
      mailboxes_.tell([this](const ObserverMessage& m, const std::vector<int>& fds) { return send(m, fds); });
  if (!all || !finishing_ || finish_told_) return;
  finish_told_ = send(FinishObserving{hurried_ ? 0 : static_cast<std::uint64_t>(to_ms(kFinishBudget))});
}

bool ObserverLink::tell_configuration() {
  ObserverConfiguration told{configuration_.size, {}};
  std::vector<int> fds{configuration_memory_.get()};
  for (const std::string& id : configuration_.listeners) {
    const int fd = listeners_.fd(id);
    if (fd < 0) continue;
    told.listeners.push_back(id);
    fds.push_back(fd);
  }
  return send(told, fds);
}

bool ObserverLink::send(const ObserverMessage& message, const std::vector<int>& fds) {
  if (!socket_) return false;
  encoded_.clear();
  BinaryWriter(encoded_).put(message);
  auto sent = os::send_message(socket_.get(), encoded_, fds);
  if (sent) return true;
  if (sent.error().code == EAGAIN) {
    want_write(true);
  } else {
    drop();
  }
  return false;
}

void ObserverLink::want_write(bool on) {
  if (!socket_ || writing_ == on) return;
  writing_ = on;
  poller_.change(socket_.get(),
                 on ? static_cast<std::uint32_t>(EPOLLIN) | EPOLLOUT : static_cast<std::uint32_t>(EPOLLIN),
                 Token{Source::observer, starts_});
}

void ObserverLink::close_socket() {
  if (!socket_) return;
  poller_.remove(socket_.get());
  socket_.reset();
  greeted_ = writing_ = false;
}

// Without its socket it is of no use. One that was told to finish has closed it and is about to end.
void ObserverLink::drop() {
  close_socket();
  if (pid_ != 0 && !finish_told_) ::kill(pid_, SIGKILL);
}

void ObserverLink::died(int status, Time now) {
  pid_ = 0;
  read_messages(kMessagesLeft);  // what it has read need not be told to the next one
  close_socket();
  if (now - started_ >= kObserverWell || retiring_) backoff_ = Duration(0);
  retiring_ = false;
  due_ = now + backoff_;
  const bool grows = backoff_ < kObserverBackoffMax;
  if (backoff_ != Duration(0) && !finishing_ && (grows || now - told_ >= kObserverToldEvery)) {
    told_ = now;
    const bool killed = WIFSIGNALED(status);
    std::fprintf(
        stderr, "runmain: the observer ended again (%s %d), retrying in %lld ms; the services go on\n",
        killed ? "signal" : "status", killed ? WTERMSIG(status) : WEXITSTATUS(status), to_ms(backoff_));
  }
  backoff_ = std::clamp<Duration>(backoff_ * 2, kObserverBackoffMin, kObserverBackoffMax);
}

// It may die at any instruction. To finish would mean that no child lives.
void ObserverLink::retire(const std::string& program) {
  if (!configuration_.argv.empty()) configuration_.argv.front() = program;
  if (pid_ == 0 || finishing_) return;
  retiring_ = true;
  ::kill(pid_, SIGKILL);
}

void ObserverLink::finish(Time now) {
  if (finishing_) return;
  finishing_ = true;
  mailboxes_.hasten();
  if (pid_ != 0) deadline_ = now + (hurried_ ? kHurryGrace : kFinishBudget + kFinishGrace);
  tell();
}

void ObserverLink::hurry(Time now) {
  if (std::exchange(hurried_, true) || !finishing_ || pid_ == 0) return;
  deadline_ = std::min(deadline_, now + kHurryGrace);
  finish_told_ = false;
  tell();
}

bool ObserverLink::is_over(Time now) {
  if (pid_ == 0) return true;
  if (now < deadline_) return false;
  ::kill(pid_, SIGKILL);
  return true;
}

}  // namespace runmain::keeper

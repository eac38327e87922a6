#include "app/observer_process.hpp"

#include <sys/wait.h>

#include <cstdio>
#include <utility>

#include "base/archive.hpp"
#include "base/text.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kMessageMax = 64U << 10U;
constexpr int kMessagesATurn = 64;
constexpr Duration kLastWords = std::chrono::seconds(1);  // without a keeper
constexpr Duration kFindAfter = std::chrono::seconds(1);  // since the first span that nobody has looked at
constexpr Duration kReceiveLook = std::chrono::milliseconds(5);
constexpr Duration kReceiveRest = std::chrono::milliseconds(500);  // for what dead clients have left
// Each mailbox is said to be read once.
constexpr std::size_t kUnsaidMax = 2 * keeper::kMailboxesMax;

telemetry::Ending ending_of(const keeper::ChildGone& message) {
  telemetry::Ending ending;
  ending.at_unix_nano = message.at_unix_nano;
  if (message.known && WIFEXITED(message.status)) {
    ending.how = telemetry::Ending::How::exited;
    ending.number = WEXITSTATUS(message.status);
  } else if (message.known && WIFSIGNALED(message.status)) {
    ending.how = telemetry::Ending::How::killed;
    ending.number = WTERMSIG(message.status);
  }
  return ending;
}

}  // namespace

ObserverProcess::ObserverProcess(os::UniqueFd keeper, telemetry::ObserverLimits limits)
    : keeper_(std::move(keeper)),
      observer_(loop_,
                {[this](const ChildKey& key) { say(keeper::MailboxRead{key}); },
                 [this] {
                   finished_ = true;
                   tell_last_words();
                   tell_what_waits();
                   say(keeper::ObserverFinished{});
                 }},
                std::move(limits)),
      server_(loop_, observer_),
      finish_timer_(loop_.timer([this] { finish_receiving(); })),
      find_timer_(loop_.timer([this] { find_faults(); })) {
  observer_.on_fact([this](const telemetry::ObserverFact& fact) { server_.tell(fact); });
}

void ObserverProcess::find_faults() {
  find_set_ = false;
  while (const auto next = observer_.store().next(found_up_to_, {})) {
    found_up_to_ = next->first;
    finder_.add(*next->second);
  }
  for (const telemetry::ObserverFact& fact : finder_.look()) server_.tell(fact);
}

int ObserverProcess::run() {
  poll_ = loop_.poll(keeper_.get(), os::kReadable, [this](int events) {
    if ((events & os::kWritable) != 0) write_messages();
    if ((events & os::kReadable) != 0) read_messages();
  });
  say(keeper::ObserverHello{});
  loop_.run();
  poll_.reset();
  return status_;
}

void ObserverProcess::end(int status, const std::string& why) {
  if (!why.empty()) std::fprintf(stderr, "runmain-observer: %s\n", why.c_str());
  status_ = status;
  poll_->want(0);
  loop_.stop();
}

// ---- to us

void ObserverProcess::read_messages() {
  for (int i = 0; i < kMessagesATurn && status_ == 0; ++i) {
    auto received = os::receive_message(keeper_.get(), kMessageMax, buffer_);
    if (!received) {
      if (received.error().code == EAGAIN) return;
      return end(1, "the keeper: " + received.error().text());
    }
    if (received->bytes.empty()) return on_keeper_gone();
    keeper::ObserverMessage message;
    if (received->truncated || !from_binary(received->bytes, message)) {
      return end(1, "the keeper says what cannot be understood");
    }
    take(std::move(message), received->fds);
  }
}

void ObserverProcess::take(keeper::ObserverMessage message, std::vector<os::UniqueFd>& fds) {
  std::visit([&](const auto& one) { on(one, fds); }, message);
}

void ObserverProcess::on(const keeper::ObserverWelcome& message, std::vector<os::UniqueFd>& fds) {
  if (message.version != keeper::kObserverVersion || fds.size() != 1) {
    return end(1, "the keeper is of another version");
  }
  observer_.on_welcome(std::move(fds[0]));
}

void ObserverProcess::on(const keeper::ObserverConfiguration& message, std::vector<os::UniqueFd>& fds) {
  if (fds.empty() || message.size > keeper::kObserverConfigurationMax) {
    return end(1, "a configuration that is none");
  }
  const auto bytes = os::pread_some(fds[0].get(), static_cast<std::size_t>(message.size), 0);
  telemetry::ObserverConfig config;
  if (!bytes || !from_binary(*bytes, config)) return end(1, "a configuration that is none");
  fds.erase(fds.begin());
  observer_.on_configuration(config);
  added_.reset();
  if (config.dev) {
    added_ = observer_.store().on_added([this] {
      if (!std::exchange(find_set_, true)) find_timer_->set(os::Loop::now() + kFindAfter);
    });
  }
  listen(message.listeners, fds, config.secret);
}

void ObserverProcess::listen(const std::vector<std::string>& names, std::vector<os::UniqueFd>& fds,
                             const std::string& secret) {
  for (std::size_t i = 0; i < names.size() && i < fds.size(); ++i) {
    if (names[i] == telemetry::kObserverListener) server_.listen(std::move(fds[i]));
    // One that is here already is the same socket: each head passes it again.
    if (names[i] == telemetry::kOtlpListener && !receiver_) receive_on(std::move(fds[i]), secret);
  }
}

void ObserverProcess::receive_on(os::UniqueFd listener, const std::string& secret) {
  const auto take = [this](const telemetry::Received& r, std::function<void()> saved) {
    if (!observer_.receive(r.worker, {r.connection, r.request}, r.items)) return telemetry::Taken::full;
    if (r.signal == telemetry::Signal::traces && r.invalid > 0)
      observer_.receive_invalid(r.worker, r.invalid);
    observer_.when_saved(std::move(saved));
    return telemetry::Taken::ok;
  };
  if (!os::set_nonblocking(listener.get(), true)) return;
  receiver_ = std::make_unique<telemetry::Receiver>(loop_, std::move(listener), secret, take);
}

void ObserverProcess::on(const keeper::MailboxMade& message, std::vector<os::UniqueFd>& fds) {
  if (fds.size() != 2) return end(1, "a mailbox without its fds");
  observer_.on_mailbox({message.key, message.service, message.instance_id, message.pid, message.kept},
                       std::move(fds[0]), std::move(fds[1]));
}

void ObserverProcess::on(const keeper::ChildGone& message, std::vector<os::UniqueFd>&) {
  observer_.on_child_gone(message.key, ending_of(message));
}

void ObserverProcess::on(const keeper::TreeGone& message, std::vector<os::UniqueFd>&) {
  observer_.on_tree_gone(message.key);
}

void ObserverProcess::on(const keeper::MailboxesLost& message, std::vector<os::UniqueFd>&) {
  observer_.on_mailboxes_lost(message.lost, message.not_made);
}

void ObserverProcess::on(const keeper::FinishObserving& message, std::vector<os::UniqueFd>&) {
  constexpr std::uint64_t kLongest = 24ULL * 3600 * 1000;
  const Time now = os::Loop::now();
  const bool hurry = message.budget_ms == 0;
  if (hurry) observer_.hurry();
  if (finishing_) return;  // of both there is no other news
  finish_by_ = now + std::chrono::milliseconds(std::min(message.budget_ms, kLongest));
  if (!receiver_) return finish_observing();
  receive_by_ = std::min(now + kReceiveRest, finish_by_);
  finish_timer_->set(hurry ? now : now + kReceiveLook);
}

// What its children have left is still here, and goes to disk.
void ObserverProcess::on_keeper_gone() {
  if (finished_) return end(0);
  keeper_gone_ = true;
  poll_->want(0);
  observer_.finish(kLastWords, true);
}

// All children are gone, so that every client is at its end once what it has sent was read.
void ObserverProcess::finish_receiving() {
  const Time now = os::Loop::now();
  if (receiver_->clients() > 0 && now < receive_by_) return finish_timer_->set(now + kReceiveLook);
  receiver_->retire();
  finish_observing();
}

void ObserverProcess::finish_observing() {
  finishing_ = true;
  observer_.finish(std::max(finish_by_ - os::Loop::now(), Duration{}));
}

// The head is gone by now: nobody else tells a person. In its form.
void ObserverProcess::tell_last_words() {
  for (const telemetry::ObserverFact& fact : server_.take_untold())
    std::fprintf(stderr, "runmain | %s\n", printable(fact.text, false).c_str());
}

void ObserverProcess::tell_what_waits() const {
  std::uint64_t items = 0;
  for (const telemetry::OutboxStatus& one : observer_.status().destinations) {
    if (one.signal == telemetry::Signal::traces) items += one.queued_items;
  }
  if (items > 0)
    std::fprintf(stderr, "runmain: %llu spans wait on disk; the next start sends them\n",
                 static_cast<unsigned long long>(items));
}

// ---- to the keeper

void ObserverProcess::say(const keeper::ObserverSays& words) {
  if (keeper_gone_) {
    if (finished_) end(0);
    return;
  }
  if (unsaid_.size() >= kUnsaidMax) return end(1, "the keeper does not listen");
  unsaid_.push_back(to_binary(words));
  write_messages();
}

void ObserverProcess::write_messages() {
  while (!unsaid_.empty()) {
    const auto sent = os::send_message(keeper_.get(), unsaid_.front());
    if (!sent && sent.error().code == EAGAIN) return poll_->want(os::kReadable | os::kWritable);
    if (!sent) return on_keeper_gone();
    unsaid_.pop_front();
  }
  poll_->want(os::kReadable);
  if (finished_) end(0);
}

}  // namespace runmain::app

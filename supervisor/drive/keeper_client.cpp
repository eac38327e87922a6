#include "drive/keeper_client.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "base/archive.hpp"

namespace runmain::drive {
namespace {

constexpr int kAnswerMs = 5000;  // the keeper answers in microseconds; it may be busy ending a large tree

}  // namespace

void KeeperClient::queue(const keeper::Request& request, os::UniqueFd fd) {
  waiting_.push_back({to_binary(request), std::move(fd)});
}

Result<void> KeeperClient::flush_blocking() {
  flush();
  while (!idle()) {
    pollfd p{socket_.get(), POLLOUT, 0};
    if (::poll(&p, 1, kAnswerMs) == 0) return Error{"the keeper does not read"};
    if ((p.revents & (POLLERR | POLLHUP)) != 0) return Error{"the keeper is gone"};
    flush();
  }
  return {};
}

Result<keeper::Message> KeeperClient::receive_blocking() {
  for (;;) {
    auto got = os::receive_message(socket_.get(), keeper::kMessageMax, scratch_);
    if (!got && got.error().code == EAGAIN) {
      pollfd p{socket_.get(), POLLIN, 0};
      const int n = ::poll(&p, 1, kAnswerMs);
      if (n == 0) return Error{"the keeper does not answer"};
      continue;
    }
    if (!got) return got.error();
    if (got->bytes.empty()) return Error{"the keeper is gone"};
    for (auto& fd : got->fds) received_fds_.push_back(std::move(fd));
    keeper::Message message;
    if (!from_binary(got->bytes, message)) return Error{"the keeper speaks another protocol"};
    return message;
  }
}

Result<KeeperClient::Greeting> KeeperClient::greet() {
  queue(keeper::Hello{});
  flush();
  Greeting greeting;
  bool first = true;
  for (;;) {
    auto message = receive_blocking();
    if (!message) return message.error();
    auto* welcome = std::get_if<keeper::Welcome>(&*message);
    if (welcome == nullptr) {
      if (auto* early = std::get_if<keeper::Happening>(&*message)) early_.push_back(std::move(*early));
      continue;
    }
    const bool more = welcome->more;
    if (first) {
      greeting.welcome = std::move(*welcome);
    } else {
      auto& all = greeting.welcome.children;
      all.insert(all.end(), welcome->children.begin(), welcome->children.end());
    }
    first = false;
    if (!more) break;
  }
  if (greeting.welcome.version != keeper::kProtocolVersion) return Error{"the keeper is of another version"};
  if (received_fds_.size() != greeting.welcome.fds.size()) return Error{"the keeper's fds did not arrive"};
  for (std::size_t i = 0; i < received_fds_.size(); ++i) {
    greeting.fds[greeting.welcome.fds[i]] = std::move(received_fds_[i]);
  }
  received_fds_.clear();
  return greeting;
}

Result<KeeperClient::Listener> KeeperClient::open_listener(const keeper::OpenListener& wanted) {
  queue(wanted);
  if (auto sent = flush_blocking(); !sent) return sent.error();
  for (;;) {
    auto message = receive_blocking();
    if (!message) return message.error();
    if (auto* happening = std::get_if<keeper::Happening>(&*message)) {
      early_.push_back(std::move(*happening));
      continue;
    }
    auto* opened = std::get_if<keeper::Opened>(&*message);
    if (opened == nullptr || opened->id != wanted.id) continue;
    if (opened->error != 0) return Error{opened->detail, {}, {}, opened->error};
    Listener listener{std::move(*opened), {}};
    if (!received_fds_.empty()) listener.fd = std::move(received_fds_.front());
    received_fds_.clear();
    return listener;
  }
}

Result<std::vector<keeper::TerminalSeen>> KeeperClient::look_at_terminals() {
  const std::uint32_t serial = ++looks_;
  queue(keeper::LookAtTerminals{serial});
  if (auto sent = flush_blocking(); !sent) return sent.error();
  for (;;) {
    auto message = receive_blocking();
    if (!message) return message.error();
    if (auto* happening = std::get_if<keeper::Happening>(&*message)) early_.push_back(std::move(*happening));
    auto* seen = std::get_if<keeper::TerminalsSeen>(&*message);
    if (seen != nullptr && seen->serial == serial) return std::move(seen->terminals);
  }
}

void KeeperClient::type(const ChildKey& key, std::string_view bytes) {
  constexpr std::size_t kPieceMax = 4096;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kPieceMax))) {
    queue(keeper::TypeInput{key, std::string(bytes.substr(0, kPieceMax))});
  }
}

void KeeperClient::begun() { queue(keeper::Begun{}); }

void KeeperClient::suspend_job() { queue(keeper::SuspendJob{}); }

Result<void> KeeperClient::configure_observer(std::vector<std::string> argv,
                                              std::vector<std::string> listeners,
                                              std::string_view configuration) {
  if (configuration.size() > keeper::kObserverConfigurationMax || listeners.size() > keeper::kListenersMax) {
    return Error{"the observer's configuration is too large"};
  }
  auto memory = os::make_memfd("runmain-observer", configuration.size());
  if (!memory) return memory.error();
  if (auto written = os::pwrite_all(memory->get(), configuration, 0); !written) return written.error();
  const keeper::Request request =
      keeper::ConfigureObserver{configuration.size(), std::move(argv), std::move(listeners)};
  if (to_binary(request).size() > keeper::kMessageMax) return Error{"the observer's command is too long"};
  queue(request, std::move(*memory));
  return {};
}

void KeeperClient::close_listeners(std::vector<std::string> ids) {
  queue(keeper::CloseListeners{std::move(ids)});
}

void KeeperClient::start(os::Loop& loop, std::function<void(const keeper::Happening&)> happened,
                         std::function<void()> lost) {
  happened_ = std::move(happened);
  lost_ = std::move(lost);
  poll_ = loop.poll(socket_.get(), os::kReadable, [this](int events) { on_ready(events); });
}

void KeeperClient::deliver_early() {
  while (!early_.empty() && happened_) {
    const keeper::Happening happening = std::move(early_.front());
    early_.pop_front();
    executed(happening.executed);
    happened_(happening);
  }
}

void KeeperClient::on_ready(int events) {
  if ((events & os::kWritable) != 0) flush();
  if ((events & os::kReadable) != 0) read_messages();
}

void KeeperClient::read_messages() {
  constexpr int kMessagesATurn = 256;  // then the others get their turn
  for (int i = 0; i < kMessagesATurn && !dead_; ++i) {
    deliver_early();  // each one may have asked for a listener
    auto got = os::receive_message(socket_.get(), keeper::kMessageMax, scratch_);
    if (!got && got.error().code == EAGAIN) return;
    keeper::Message message;
    if (!got || got->bytes.empty() || !from_binary(got->bytes, message)) {
      dead_ = true;
      poll_->want(0);
      lost_();
      return;
    }
    if (const auto* happening = std::get_if<keeper::Happening>(&message)) {
      executed(happening->executed);
      happened_(*happening);
    }
  }
}

bool KeeperClient::read_waiting() {
  read_messages();
  return !dead_;
}

void KeeperClient::executed(std::uint64_t number) {
  while (!outbox_.empty() && outbox_.front().number <= number) outbox_.pop_front();
}

void KeeperClient::send(const core::Effect& effect, keeper::Order order) {
  outbox_.push_back(effect);
  keeper::Numbered numbered{effect.number, std::move(order)};
  std::string bytes = to_binary(keeper::Request(numbered));
  if (bytes.size() <= keeper::kMessageMax) {
    waiting_.push_back({std::move(bytes), {}});
    return;
  }
  // Only a spawn can be so large. Its archive travels in a memfd; what cannot even be that is refused by the
  // keeper.
  const auto* spawn = std::get_if<keeper::SpawnChild>(&numbered.order);
  if (spawn == nullptr) return;
  const std::string archive = to_binary(*spawn);
  keeper::SpawnInMemfd by_memfd{spawn->key, archive.size()};
  os::UniqueFd fd;
  if (archive.size() <= keeper::kSpawnMax) {
    if (auto made = os::make_memfd("runmain-spawn", archive.size())) {
      if (os::pwrite_all(made->get(), archive, 0)) fd = std::move(*made);
    }
  }
  queue(keeper::Numbered{effect.number, by_memfd}, std::move(fd));
}

void KeeperClient::acknowledge(std::uint64_t happening) { queue(keeper::Acknowledge{happening}); }

void KeeperClient::answer_channel(keeper::SendChannel line) { queue(std::move(line)); }

void KeeperClient::flush() {
  while (!waiting_.empty() && !dead_) {
    const Waiting& next = waiting_.front();
    auto sent = os::send_message(socket_.get(), next.bytes,
                                 next.fd ? std::vector<int>{next.fd.get()} : std::vector<int>{});
    if (!sent) break;  // full (told when it is writable again), or the keeper is gone (told by the read side)
    waiting_.pop_front();
  }
  if (poll_ && !dead_) poll_->want(waiting_.empty() ? os::kReadable : os::kReadable | os::kWritable);
}

}  // namespace runmain::drive

#include "keeper/head_link.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

#include "base/archive.hpp"

namespace runmain::keeper {

HeadLink::HeadLink(Poller& poller, os::Spawner& spawner, std::vector<std::string> argv)
    : poller_(poller), spawner_(spawner), argv_(std::move(argv)) {}

bool HeadLink::start_if_due(Time now) {
  if (pid_ != 0 || now < due_) return true;
  auto pair = os::make_socketpair(SOCK_SEQPACKET);
  if (!pair) {
    due_ = now + std::chrono::seconds(1);
    return true;
  }
  os::SpawnPlan plan;
  plan.argv = argv_;
  for (char** e = environ; *e != nullptr; ++e) plan.env.emplace_back(*e);
  plan.fds = {pair->second.get()};
  plan.new_session = false;  // it writes to our terminal
  const os::SpawnOutcome outcome = spawner_.spawn(plan);
  ++starts_;
  if (outcome.pid <= 0) {
    std::fprintf(stderr, "runmain: cannot start the supervisor: %s, retrying\n", outcome.detail.c_str());
    died(0, now);
    return false;
  }
  pid_ = outcome.pid;
  started_ = now;
  socket_ = std::move(pair->first);
  welcomed_ = false;
  writing_ = false;
  poller_.add(socket_.get(), EPOLLIN, Token{Source::head, 0});
  return true;
}

bool HeadLink::send(const Message& message, const std::vector<int>& fds) {
  if (!socket_) return false;
  encoded_.clear();
  BinaryWriter(encoded_).put(message);
  auto sent = os::send_message(socket_.get(), encoded_, fds);
  if (sent) return true;
  if (sent.error().code == EAGAIN) want_write(true);
  return false;
}

void HeadLink::want_write(bool on) {
  if (!socket_ || writing_ == on) return;
  writing_ = on;
  poller_.change(socket_.get(),
                 on ? static_cast<std::uint32_t>(EPOLLIN) | EPOLLOUT : static_cast<std::uint32_t>(EPOLLIN),
                 Token{Source::head, 0});
}

Result<os::Received> HeadLink::receive() { return os::receive_message(socket_.get(), kMessageMax, scratch_); }

void HeadLink::close_socket() {
  if (!socket_) return;
  poller_.remove(socket_.get());
  socket_.reset();
}

void HeadLink::kill() {
  if (pid_ != 0) ::kill(pid_, SIGKILL);
}

void HeadLink::use(std::string program, Time now) {
  before_ = std::exchange(argv_.front(), std::move(program));
  due_ = now;
}

// That the other program cannot do it is no fault of this one.
bool HeadLink::fall_back(Time now) {
  if (before_.empty()) return false;
  argv_.front() = std::exchange(before_, {});
  deaths_.clear();
  cold_ = false;
  due_ = now;
  return true;
}

void HeadLink::resume(std::uint32_t starts, std::string before) {
  starts_ = starts;
  before_ = std::move(before);
}

void HeadLink::died(int status, Time now) {
  // A head that crashes by itself, or before it said anything, may have tripped over its own state; one that
  // was killed has not, and its successor simply goes on.
  const bool suspicious = !welcomed_ || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
  close_socket();
  pid_ = 0;
  welcomed_ = false;
  deaths_.push_back({now, suspicious});
  while (deaths_.front().time + kColdWindow < now || deaths_.size() > kDeathsMax) deaths_.pop_front();
  const auto crashes = static_cast<std::size_t>(
      std::count_if(deaths_.begin(), deaths_.end(), [](const Death& d) { return d.suspicious; }));
  cold_ = crashes >= kColdDeaths;
  if (crashes <= kColdDeaths && deaths_.size() < kDeathsMax) {
    backoff_ = Duration(0);
    due_ = now;
    return;
  }
  backoff_ = std::clamp<Duration>(backoff_ * 2, std::chrono::milliseconds(250), kHeadBackoffMax);
  due_ = now + backoff_;
  if (!suspicious) return;
  const bool killed = WIFSIGNALED(status);
  std::fprintf(
      stderr, "runmain: the supervisor ended again (%s %d), retrying in %lld ms; the services go on\n",
      killed ? "signal" : "status", killed ? WTERMSIG(status) : WEXITSTATUS(status), to_ms(backoff_));
}

}  // namespace runmain::keeper

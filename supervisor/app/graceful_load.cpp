#include "app/graceful_load.hpp"

#include <poll.h>

#include <algorithm>

#include "os/linux/process_tree.hpp"
#include "os/linux/sock_diag.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

using graceful::Nanoseconds;

constexpr int kTurnMs = 5;

Nanoseconds now_ns() { return os::Loop::now().time_since_epoch().count(); }

}  // namespace

pid_t acceptor_of(int fd, const std::vector<graceful::Worker>& workers) {
  const auto inode = os::peer_inode(fd);
  if (!inode || *inode == 0) return 0;
  for (const graceful::Worker& worker : workers) {
    if (worker.ended == 0 && os::process_has_socket(worker.pid, *inode)) return worker.pid;
  }
  for (const graceful::Worker& worker : workers) {
    if (worker.ended != 0) continue;
    const std::uint64_t tag = os::tag_of(worker.pid);
    if (tag == 0) continue;
    const auto tree = os::tagged_processes(tag);
    if (std::any_of(tree.begin(), tree.end(), [&](pid_t pid) { return os::process_has_socket(pid, *inode); }))
      return worker.pid;
  }
  return 0;
}

GracefulLoad::GracefulLoad(const GracefulTarget& target, GracefulWatch& watch)
    : target_(target), watch_(watch), since_(now_ns()) {}

void GracefulLoad::add(const GracefulPlan& plan, std::size_t count) {
  for (std::size_t i = 0; i < count && clients_.size() < kGracefulClientsMax; ++i)
    clients_.push_back(std::make_unique<GracefulClient>(target_, plan, now_ns()));
}

void GracefulLoad::find_owners() {
  const auto workers = watch_.workers();
  const Nanoseconds last = watch_.latest_drain();
  const Nanoseconds latest = last >= since_ ? last : 0;
  for (const auto& client : clients_) {
    if (client->wants_owner()) {
      client->set_owner(acceptor_of(client->fd(), workers));
      if (client->owner() != 0 && std::find(owners_.begin(), owners_.end(), client->owner()) == owners_.end())
        owners_.push_back(client->owner());
    }
    if (client->owner() == 0) {
      // Only those whose owner is never looked up: the others wait until it is known.
      if (!client->wants_owner()) client->set_drain(latest);
      continue;
    }
    const auto found = std::find_if(workers.begin(), workers.end(),
                                    [&](const graceful::Worker& w) { return w.pid == client->owner(); });
    if (found != workers.end()) client->set_drain(found->drain);
  }
}

bool GracefulLoad::run(Time deadline, const std::function<bool()>& enough) {
  while (!enough()) {
    if (os::Loop::now() >= deadline) return false;
    find_owners();
    std::vector<pollfd> fds;
    std::vector<std::size_t> whose;
    Nanoseconds wake = now_ns() + kTurnMs * 1'000'000LL;
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      if (const Nanoseconds at = clients_[i]->wakes_at(); at != 0) wake = std::min(wake, at);
      if (clients_[i]->wanted() == 0 || clients_[i]->fd() < 0) continue;
      fds.push_back({clients_[i]->fd(), clients_[i]->wanted(), 0});
      whose.push_back(i);
    }
    const Nanoseconds left = std::max<Nanoseconds>(0, wake - now_ns());
    const timespec wait{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
    (void)ppoll(fds.data(), fds.size(), &wait, nullptr);
    std::vector<bool> ready(clients_.size(), false);
    for (std::size_t i = 0; i < fds.size(); ++i) ready[whose[i]] = fds[i].revents != 0;
    for (std::size_t i = 0; i < clients_.size(); ++i) clients_[i]->step(now_ns(), ready[i]);
    gather();
  }
  return true;
}

void GracefulLoad::finish(Time deadline) {
  for (const auto& client : clients_) client->finish();
  (void)run(deadline, [this] { return all_over(); });
}

void GracefulLoad::close() {
  for (const auto& client : clients_) client->close(now_ns());
  gather();
  clients_.clear();
}

bool GracefulLoad::all_prepared() const {
  return std::all_of(clients_.begin(), clients_.end(),
                     [](const auto& client) { return client->is_prepared(); });
}

bool GracefulLoad::all_over() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->is_over(); });
}

std::vector<pid_t> GracefulLoad::owners() const { return owners_; }

void GracefulLoad::gather() {
  for (const auto& client : clients_) {
    for (graceful::Ask& ask : client->take_asks()) {
      if (asks_.size() < graceful::kAsksMax) {
        asks_.push_back(ask);
      } else {
        ++left_out_;
      }
    }
  }
}

}  // namespace runmain::app

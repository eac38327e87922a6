#include "app/graceful_watch.hpp"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

using control::Json;
using graceful::Nanoseconds;
using graceful::Worker;

constexpr std::size_t kWorkersMax = 4096;
constexpr std::size_t kWatchedMax = 512;
constexpr Duration kConnectMax = std::chrono::seconds(5);

std::string name_of(pid_t pid) {
  const auto state = os::process_state(pid);
  return "pid " + std::to_string(pid) + (state ? " (" + state->name + ")" : "");
}

// Ends by itself when its parent does, by a pipe: nothing that anybody has to wait for.
bool is_tracker(pid_t pid) {
  const std::string argv = os::proc_text(("/proc/" + std::to_string(pid) + "/cmdline").c_str(), 4096);
  return argv.find("multiprocessing.resource_tracker") != std::string::npos;
}

}  // namespace

GracefulWatch::~GracefulWatch() {
  if (thread_.joinable()) thread_.join();
}

Result<void> GracefulWatch::follow(const std::string& runtime) {
  auto client = control::Client::connect(runtime + "/control", os::Loop::now() + kConnectMax);
  if (!client) return client.error();
  thread_ = std::thread([this, held = std::move(*client)]() mutable {
    (void)held.call("events", Json{{"follow", true}}, kNever,
                    [this](const Json& item) { return take(item); });
    changed_.notify_all();
  });
  return {};
}

Worker* GracefulWatch::worker_of(const Json& item) {
  const auto slot = static_cast<std::uint32_t>(control::number_of(item, "slot"));
  const auto generation = static_cast<std::uint32_t>(control::number_of(item, "generation"));
  const auto pid = static_cast<pid_t>(control::number_of(item, "pid"));
  const auto found = std::find_if(workers_.rbegin(), workers_.rend(), [&](const Worker& w) {
    return w.slot == slot && w.generation == generation && (pid == 0 || w.pid == pid);
  });
  return found == workers_.rend() ? nullptr : &*found;
}

void GracefulWatch::begin_drain(Worker& worker, Nanoseconds time) {
  if (worker.drain != 0 || worker.ended != 0) return;
  worker.drain = time;
  worker.asked = true;
  latest_drain_ = std::max(latest_drain_.load(), time);
}

bool GracefulWatch::take(const Json& item) {
  const std::string type = control::text_of(item, "type");
  const Nanoseconds time = control::number_of(item, "mono_ns");
  const auto data = item.find("data");
  const Json& told = data == item.end() ? item : *data;
  const std::lock_guard lock(mutex_);
  if (service_.empty()) service_ = control::text_of(item, "service");
  if (type == "child.started" && workers_.size() < kWorkersMax && control::number_of(item, "slot", -1) >= 0) {
    Worker worker;
    worker.slot = static_cast<std::uint32_t>(control::number_of(item, "slot"));
    worker.generation = static_cast<std::uint32_t>(control::number_of(item, "generation"));
    worker.pid = static_cast<pid_t>(control::number_of(item, "pid"));
    worker.started = time;
    workers_.push_back(std::move(worker));
  } else if (type == "listener.shut") {
    shut_.push_back(trial_);
  } else if (type == "shutdown.started") {
    for (Worker& worker : workers_) begin_drain(worker, time);
  } else if (type == "reload.failed" || type == "service.failed" || type == "child.spawn_failed") {
    last_failure_ = control::text_of(told, "reason", control::text_of(told, "text"));
  } else if (Worker* worker = type.starts_with("child.") ? worker_of(item) : nullptr) {
    if (type == "child.ready") {
      worker->ready = time;
      worker->proof = control::text_of(told, "proof");
      for (Worker& other : workers_) {
        if (other.slot == worker->slot && other.generation < worker->generation) begin_drain(other, time);
      }
    } else if (type == "child.stop_timed_out") {
      worker->killed = true;
      worker->asked = true;
      worker->trial = trial_;
    } else if (type == "child.exited" || type == "child.stopped") {
      worker->ended = time;
      worker->status = static_cast<int>(control::number_of(told, "status", -1));
      worker->asked = worker->asked || type == "child.stopped";
      worker->trial = trial_;
      if (type == "child.exited") last_failure_ = control::text_of(told, "text");
    }
  }
  changed_.notify_all();
  return true;
}

void GracefulWatch::set_trial(graceful::Trial trial) {
  const std::lock_guard lock(mutex_);
  trial_ = trial;
}

bool GracefulWatch::wait_until(Time deadline, const std::function<bool(const std::vector<Worker>&)>& enough) {
  std::unique_lock lock(mutex_);
  const std::chrono::steady_clock::time_point limit(deadline.time_since_epoch());
  return changed_.wait_until(lock, limit, [&] { return enough(workers_); });
}

std::vector<Worker> GracefulWatch::workers() {
  const std::lock_guard lock(mutex_);
  return workers_;
}

std::vector<graceful::Trial> GracefulWatch::shut() {
  const std::lock_guard lock(mutex_);
  return shut_;
}

std::string GracefulWatch::last_failure() {
  const std::lock_guard lock(mutex_);
  return last_failure_;
}

std::string GracefulWatch::service() {
  const std::lock_guard lock(mutex_);
  return service_;
}

Nanoseconds GracefulWatch::drain_of(pid_t main) {
  const std::lock_guard lock(mutex_);
  for (const Worker& worker : workers_) {
    if (worker.pid == main) return worker.drain;
  }
  return 0;
}

void GracefulWatch::arm() {
  watched_.clear();
  order_.reset(epoll_create1(EPOLL_CLOEXEC));
  for (const Worker& worker : workers()) {
    if (worker.ended != 0) continue;
    const std::uint64_t tag = os::tag_of(worker.pid);
    std::vector<pid_t> tree = tag == 0 ? std::vector<pid_t>{} : os::tagged_processes(tag);
    if (std::find(tree.begin(), tree.end(), worker.pid) == tree.end()) tree.push_back(worker.pid);
    for (const pid_t pid : tree) {
      if (watched_.size() >= kWatchedMax || (pid != worker.pid && is_tracker(pid))) continue;
      Watched one;
      one.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
      if (one.pidfd.get() < 0) continue;
      one.pid = pid;
      one.main = worker.pid;
      one.name = name_of(pid);
      epoll_event event{};
      event.events = EPOLLIN | EPOLLONESHOT;
      event.data.u64 = watched_.size();
      epoll_ctl(order_.get(), EPOLL_CTL_ADD, one.pidfd.get(), &event);
      watched_.push_back(std::move(one));
    }
  }
}

void GracefulWatch::collect_order() {
  if (watched_.empty()) return;
  std::array<epoll_event, kWatchedMax> events{};
  const int n = epoll_wait(order_.get(), events.data(), static_cast<int>(events.size()), 0);
  std::set<pid_t> ended_mains;
  std::set<pid_t> ended;
  std::map<pid_t, std::vector<std::string>> left;
  for (int i = 0; i < n; ++i) {
    const Watched& one = watched_[events[static_cast<std::size_t>(i)].data.u64];
    ended.insert(one.pid);
    if (one.pid == one.main) {
      ended_mains.insert(one.main);
    } else if (ended_mains.count(one.main) != 0) {
      left[one.main].push_back(one.name);
    }
  }
  for (const Watched& one : watched_) {
    if (ended_mains.count(one.main) != 0 && ended.count(one.pid) == 0) left[one.main].push_back(one.name);
  }
  watched_.clear();
  const std::lock_guard lock(mutex_);
  for (Worker& worker : workers_) {
    if (const auto found = left.find(worker.pid); found != left.end()) worker.left = found->second;
  }
}

}  // namespace runmain::app

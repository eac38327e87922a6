#include "drive/queue_watch.hpp"

#include <utility>

#include "os/linux/listen_queue.hpp"

namespace runmain::drive {

QueueWatch::QueueWatch(os::Loop& loop, std::function<void(const ChildKey&)> empty)
    : empty_(std::move(empty)), timer_(loop.timer([this] { on_timer(); })) {}

void QueueWatch::start(const ChildKey& key, std::vector<std::uint64_t> inodes, Duration quiet) {
  jobs_[key] = Job{std::move(inodes), quiet, kNever};
  timer_->set(os::Loop::now());
}

void QueueWatch::on_timer() {
  const Time now = os::Loop::now();
  std::vector<ChildKey> done;
  for (auto& [key, job] : jobs_) {
    if (!job.inodes.empty() && os::queued_connections(job.inodes) > 0) {
      job.quiet_since = kNever;
      continue;
    }
    if (job.quiet_since == kNever) job.quiet_since = now;
    if (job.inodes.empty() || now - job.quiet_since >= job.quiet) done.push_back(key);
  }
  for (const ChildKey& key : done) {
    if (jobs_.erase(key) > 0) empty_(key);  // the answer to another one may have stopped it
  }
  if (!jobs_.empty()) timer_->set(now + kQueueLook);
}

}  // namespace runmain::drive

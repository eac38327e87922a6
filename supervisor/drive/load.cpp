#include "drive/load.hpp"

#include <algorithm>
#include <cstdlib>

#include "os/linux/listen_queue.hpp"
#include "os/linux/proc.hpp"

namespace runmain::drive {
namespace {

bool follows_load(const core::ServiceSpec& spec) { return spec.workers_max > spec.workers; }

}  // namespace

Load::Load(os::Loop& loop, const ServiceTable& services, const ChildInfos& children,
           std::function<void(const core::Load&)> tell)
    : services_(services),
      children_(children),
      tell_(std::move(tell)),
      timer_(loop.timer([this] { on_timer(); })) {}

void Load::refresh() {
  const auto& all = services_.all();
  const bool wanted =
      std::any_of(all.begin(), all.end(), [](const auto& entry) { return follows_load(entry.second.spec); });
  if (wanted == running_) return;
  running_ = wanted;
  if (wanted) {
    timer_->set(os::Loop::now() + kLoadEvery);
  } else {
    timer_->cancel();
    seen_.clear();
  }
}

void Load::on_timer() {
  const Time now = os::Loop::now();
  timer_->set(now + kLoadEvery);
  std::vector<ServiceId> ids;  // telling may change the table
  for (const auto& [id, entry] : services_.all()) {
    if (follows_load(entry.spec)) ids.push_back(id);
  }
  std::erase_if(seen_, [this](const auto& seen) { return services_.find(seen.first) == nullptr; });
  for (const ServiceId id : ids) {
    if (const ServiceEntry* entry = services_.find(id)) look(id, *entry, now);
  }
}

void Load::look(ServiceId id, const ServiceEntry& entry, Time now) {
  std::unordered_map<pid_t, std::uint64_t> cpu;
  std::uint64_t workers = 0;
  std::vector<std::uint64_t> sockets = entry.inodes;
  for (const auto& [key, child] : children_) {
    if (key.service != id || !key.is_worker()) continue;
    ++workers;
    sockets.insert(sockets.end(), child.sockets.begin(), child.sockets.end());  // each slot's own, too
    cpu[child.pid] = os::cpu_time(child.pid);
    for (const pid_t pid : trees_.of(child.tag, now)) cpu[pid] = os::cpu_time(pid);
  }
  Seen& seen = seen_[id];
  std::uint64_t used = 0;
  for (const auto& [pid, ns] : cpu) {
    const auto before = seen.cpu.find(pid);
    if (before != seen.cpu.end()) used += ns - std::min(ns, before->second);
  }
  const bool first = seen.at == Time{};
  const auto span = static_cast<std::uint64_t>(std::max<Duration::rep>(1, (now - seen.at).count()));
  seen.cpu = std::move(cpu);
  seen.at = now;
  if (first || workers == 0) return;
  const auto percent = static_cast<std::uint32_t>(used * 100 / span / workers);
  const std::uint32_t queued = os::queued_connections(sockets);
  const std::uint32_t change =
      percent > seen.told_percent ? percent - seen.told_percent : seen.told_percent - percent;
  const bool busy = percent >= core::kBusyPercent;
  const bool says =
      queued > 0 || busy || !seen.told || change >= kLoadStep || now - seen.told_at >= kLoadQuiet;
  if (!says) return;
  seen.told = true;
  seen.told_percent = percent;
  seen.told_at = now;
  tell_(core::Load{id, queued, percent});
}

}  // namespace runmain::drive

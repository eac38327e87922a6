#include "app/suspects.hpp"

#include <algorithm>

#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"

namespace runmain::app {

Suspects::Suspects(os::Loop& loop, Asks asks)
    : asks_(std::move(asks)), timer_(loop.timer([this] { on_timer(); })) {}

void Suspects::started(ServiceId service) {
  if (!asks_.suspected(service)) {
    watched_.erase(service);
    return;
  }
  watched_[service] = Watched{os::Loop::now() + kSuspectFirst, kSuspectFirst, {}};
  arm();
}

bool Suspects::cleared(ServiceId service) const {
  const auto known = watched_.find(service);
  return known != watched_.end() && known->second.writes && look(service) == known->second.writes;
}

std::optional<Suspects::Writes> Suspects::look(ServiceId service) const {
  Writes writes;
  for (const std::uint64_t tag : asks_.tags(service)) {
    for (const pid_t pid : os::tagged_processes_and_zombies(tag)) {
      // One that has ended closed its files just now, and is in no other's count until it is waited for.
      const auto state = os::process_state(pid);
      if (state && !state->living()) return std::nullopt;
      const auto calls = os::write_calls(pid);
      if (!calls) return std::nullopt;
      writes[pid] = *calls;
    }
  }
  return writes;
}

void Suspects::on_timer() {
  const Time now = os::Loop::now();
  std::erase_if(watched_, [this](const auto& entry) { return !asks_.suspected(entry.first); });
  for (auto& [service, watched] : watched_) {
    if (watched.next > now) continue;
    auto writes = look(service);
    // In this order: what is at rest after the look was written before it.
    if (asks_.files_at_rest()) watched.writes = std::move(writes);
    watched.pause = std::min<Duration>(watched.pause * 2, kSuspectSlowest);
    watched.next = now + watched.pause;
  }
  arm();
}

void Suspects::arm() {
  Time next = kNever;
  for (const auto& [service, watched] : watched_) next = std::min(next, watched.next);
  timer_->set(next);
}

}  // namespace runmain::app

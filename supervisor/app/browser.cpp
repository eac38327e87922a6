#include "app/browser.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace runmain::app {
namespace {

bool has_older(const core::ServiceView& service, std::uint32_t generation) {
  return std::any_of(service.workers.begin(), service.workers.end(), [&](const core::WorkerView& worker) {
    return worker.key.is_worker() && worker.key.generation < generation &&
           worker.state != core::WorkerState::sweeping;
  });
}

}  // namespace

Browser::Browser(os::Loop& loop, drive::KeeperClient& keeper, std::function<core::Snapshot()> snapshot)
    : loop_(loop), keeper_(keeper), snapshot_(std::move(snapshot)), timer_(loop.timer([this] { look(); })) {}

Result<void> Browser::open() {
  if (live_) return {};
  const keeper::OpenListener usual{"runmain|browser",
                                   static_cast<std::uint8_t>(core::AddressKind::tcp),
                                   "127.0.0.1",
                                   kUsualPort,
                                   "",
                                   true};
  auto opened = keeper_.open_listener(usual);
  if (!opened && opened.error().code == EADDRINUSE) {
    keeper::OpenListener any = usual;
    any.port = 0;
    opened = keeper_.open_listener(any);
  }
  if (!opened) return opened.error();
  if (!opened->fd) return Error{"the socket did not arrive"};
  if (auto set = os::set_nonblocking(opened->fd.get(), true); !set) return set;
  run_ = std::to_string(getppid()) + ":";
  script_ = "http://" + opened->opened.bound + "/live.js";
  live_ = std::make_unique<web::LiveReload>(loop_, std::move(opened->fd));
  return {};
}

void Browser::ready(ServiceId service, std::uint32_t generation) {
  const auto serving = serving_.find(service);
  if (serving != serving_.end() && serving->second == generation) return;
  const auto [next, fresh] = next_.try_emplace(service);
  if (fresh || next->second.generation != generation)
    next->second = Next{generation, os::Loop::now() + kPatience};
}

void Browser::look() {
  if (next_.empty()) return;
  const Time now = os::Loop::now();
  Time soonest = kNever;
  const core::Snapshot snapshot = snapshot_();
  for (const core::ServiceView& service : snapshot.services) {
    const auto next = next_.find(service.id);
    if (next == next_.end()) continue;
    const auto [generation, until] = next->second;
    if (now < until && has_older(service, generation)) {
      soonest = std::min(soonest, until);
      continue;
    }
    next_.erase(next);
    serves(service.id, generation);
  }
  std::erase_if(next_, [now](const auto& entry) { return entry.second.until <= now; });  // of services gone
  timer_->set(soonest);
}

void Browser::serves(ServiceId service, std::uint32_t generation) {
  serving_[service] = generation;
  if (!live_) return;
  std::string stamp = run_;
  for (const auto& [id, number] : serving_) stamp += std::to_string(number) + ".";
  live_->serves(stamp);
}

}  // namespace runmain::app

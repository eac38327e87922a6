// Reloads pages in the developer's browser when a new generation serves: web::LiveReload on a loopback socket
// that the keeper holds, so that the script's address outlives a head.
//
// A page that reloads must not get the old generation, which accepts from the same socket as long as it
// lives: pages are told when it is gone, or kPatience after the new one was ready. Invariant: nothing is
// opened before a service asks for it (`browser = true`). Thread: the loop's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/snapshot.hpp"
#include "drive/keeper_client.hpp"
#include "web/live_reload.hpp"

namespace runmain::app {

class Browser {
 public:
  static constexpr std::uint16_t kUsualPort = 35729;  // what live-reload tools use; any, where it is taken

  static constexpr Duration kPatience = std::chrono::seconds(1);  // with an old generation that stays

  Browser(os::Loop& loop, drive::KeeperClient& keeper, std::function<core::Snapshot()> snapshot);

  // Opens the socket unless it is open. On failure the Error of bind or listen.
  Result<void> open();
  // "http://127.0.0.1:35729/live.js"; empty: not open.
  const std::string& script() const { return script_; }

  // This generation of a service with `browser` is ready.
  void ready(ServiceId service, std::uint32_t generation);
  // Something has happened to a service.
  void look();

 private:
  struct Next {
    std::uint32_t generation = 0;
    Time until{};
  };
  void serves(ServiceId service, std::uint32_t generation);

  os::Loop& loop_;
  drive::KeeperClient& keeper_;
  std::string script_;
  std::string run_;  // the keeper's pid: the generations of two runs are not the same
  std::unique_ptr<web::LiveReload> live_;
  std::map<ServiceId, std::uint32_t> serving_;
  std::map<ServiceId, Next> next_;  // pages are not told yet
  std::function<core::Snapshot()> snapshot_;
  std::unique_ptr<os::Timer> timer_;
};

}  // namespace runmain::app

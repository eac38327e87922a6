// Reloads pages in the developer's browser when a new generation serves: web::LiveReload on a loopback socket
// that the keeper holds, so that the script's address outlives a head.
//
// Invariant: nothing is opened before a service asks for it (`browser = true`). Thread: the loop's.
#pragma once

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

  Browser(os::Loop& loop, drive::KeeperClient& keeper) : loop_(loop), keeper_(keeper) {}

  // Opens the socket unless it is open. On failure the Error of bind or listen.
  Result<void> open();
  // "http://127.0.0.1:35729/live.js"; empty: not open.
  const std::string& script() const { return script_; }

  // This generation of a service with `browser` serves.
  void serves(ServiceId service, std::uint32_t generation);

 private:
  os::Loop& loop_;
  drive::KeeperClient& keeper_;
  std::string script_;
  std::string run_;  // the keeper's pid: the generations of two runs are not the same
  std::unique_ptr<web::LiveReload> live_;
  std::map<ServiceId, std::uint32_t> serving_;
};

}  // namespace runmain::app

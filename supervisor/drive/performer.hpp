// Carries the core's Effects out: as orders to the keeper, or by starting to look for readiness.
// Invariant: one Effect, at most one order; nothing is decided here. Effects that are not about children
// (Answer, Quit's farewell) are the app's. Thread: the loop's.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/effect.hpp"
#include "drive/channel.hpp"
#include "drive/identity.hpp"
#include "drive/keeper_client.hpp"
#include "drive/readiness.hpp"
#include "drive/service_table.hpp"

namespace runmain::drive {

struct ChildInfo {
  std::int32_t pid = 0;
  std::uint64_t tag = 0;
};
using ChildInfos = std::unordered_map<ChildKey, ChildInfo>;

class Performer {
 public:
  struct Context {
    KeeperClient* keeper = nullptr;
    ServiceTable* services = nullptr;
    Readiness* readiness = nullptr;
    Channel* channel = nullptr;
    ChildInfos* children = nullptr;
    std::string secret;
    std::string channel_path;
    std::string runtime_dir;
    std::vector<std::string> environment;
    std::string browser;                           // RUNMAIN_BROWSER, once it is known
    std::function<void(const std::string&)> tell;  // a survived failure, for a person
  };
  explicit Performer(Context context) : c_(std::move(context)) {}

  void perform(const core::Effect& effect);
  void set_browser(std::string script) { c_.browser = std::move(script); }
  // Looks for readiness of this child again, after a takeover.
  void probe(const ChildKey& key);

 private:
  void spawn(const core::Effect& effect, const core::Spawn& spawn);
  void grant(const core::Effect& effect, const core::GrantRole& grant);
  void close_service(const core::CloseService& close);
  std::string write_changed(const ServiceEntry& entry, const ChildKey& key);

  Context c_;
};

}  // namespace runmain::drive

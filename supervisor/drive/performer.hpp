// Carries the core's Effects out: as orders to the keeper, or by starting to look for readiness and health.
// Invariant: one Effect, at most one order; nothing is decided here. Effects that are not about children
// (Answer, Quit's farewell) are the app's. Thread: the loop's.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/identity.hpp"
#include "core/effect.hpp"
#include "drive/channel.hpp"
#include "drive/child_infos.hpp"
#include "drive/examiner.hpp"
#include "drive/health.hpp"
#include "drive/keeper_client.hpp"
#include "drive/queue_watch.hpp"
#include "drive/readiness.hpp"
#include "drive/service_table.hpp"

namespace runmain::drive {

inline constexpr std::size_t kMeasuredMax = 16;  // workers that Measure looks at

class Performer {
 public:
  struct Context {
    KeeperClient* keeper = nullptr;
    ServiceTable* services = nullptr;
    Readiness* readiness = nullptr;
    Health* health = nullptr;
    Examiner* examiner = nullptr;
    QueueWatch* queues = nullptr;
    Channel* channel = nullptr;
    ChildInfos* children = nullptr;
    // What a child of this key is to be; of an older generation not what the file says now.
    std::function<const core::ServiceSpec*(const ChildKey&)> spec_of;
    std::string secret;
    std::string channel_path;
    std::string runtime_dir;
    std::vector<std::string> environment;
    // The observer's receiver, once it is known, and whether a person waits for what comes there.
    std::string otlp;
    bool short_delays = false;
    Bootstrap bootstrap;
    AdoptLibrary adopt;                            // for services that say adopt
    std::string browser;                           // RUNMAIN_BROWSER, once it is known
    bool observed = false;                         // there is an observer: roles come with a mailbox
    std::function<void(const std::string&)> tell;  // a survived failure, for a person
    std::function<void(const core::Event&)> feed;  // the answer to an Effect that is no order
  };
  explicit Performer(Context context) : c_(std::move(context)) {}

  void perform(const core::Effect& effect);
  void set_observed(bool on) { c_.observed = on; }
  void set_otlp(std::string receiver, bool short_delays) {
    c_.otlp = std::move(receiver);
    c_.short_delays = short_delays;
  }
  void set_browser(std::string script) { c_.browser = std::move(script); }
  // Looks for readiness of this child again, after a takeover.
  void probe(const ChildKey& key);
  // Looks after this worker; `again`: after a takeover; `closely`: as core::WatchHealth says.
  void watch_health(const ChildKey& key, bool again, bool closely = false);
  // Waits until nobody waits in this worker's own sockets.
  void await_queue(const core::AwaitQueue& order);

 private:
  void spawn(const core::Effect& effect, const core::Spawn& spawn);
  void grant(const core::Effect& effect, const core::GrantRole& grant);
  void close_service(const core::CloseService& close);
  void measure(ServiceId service);
  void examine(const ChildKey& key);
  void note_kill(const ChildKey& key);
  void distribute(const core::Effect& effect, const core::Distribute& distribute);
  void close_slots(const core::Effect& effect, const core::CloseSlots& close);
  void renew_backlog(const core::Effect& effect, const ChildKey& key);
  std::string write_changed(const ServiceEntry& entry, const ChildKey& key);

  Context c_;
};

}  // namespace runmain::drive

// The head's side of telemetry: opens the observer's sockets, and tells the keeper that there is an observer
// and what it shall do.
//
// Invariant: what is told is made of the services of now; the same is not told twice by one head, and always
// once by each head. Without an observer nothing else changes: receiver() stays empty, and no child is told
// of one. Non-goal: the observer's process (the keeper's). Thread: the loop's.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "app/narrator.hpp"
#include "base/result.hpp"
#include "core/spec.hpp"
#include "drive/bootstrap.hpp"
#include "drive/keeper_client.hpp"
#include "drive/service_table.hpp"

namespace runmain::app {

class Telemetry {
 public:
  struct Context {
    // The keeper's: KeeperClient::open_listener() and configure_observer(). Empty: there is no observer.
    std::function<Result<drive::KeeperClient::Listener>(const keeper::OpenListener&)> open;
    std::function<Result<void>(std::vector<std::string> argv, std::vector<std::string> listeners,
                               std::string_view configuration)>
        configure;
    std::function<void(const Line&)> say;
    std::string program;  // the observer's absolute path
    std::vector<std::string> environment;
    drive::Bootstrap bootstrap;
    std::string secret;
    std::string runtime_dir;
    std::string state_dir;
  };
  explicit Telemetry(Context context) : c_(std::move(context)) {}

  // These are the services now, or what their env files say may have changed.
  void refresh(const drive::ServiceTable& services, core::Mode mode);

  // Where children export to, "127.0.0.1:41234"; empty: there is no observer.
  const std::string& receiver() const { return receiver_; }
  // Whether what the service exports comes to us: it goes on from here, or a person may look at it. Without
  // either, programs are left alone: who counts on OpenTelemetry's own default gets it.
  bool takes(ServiceId service) const { return dev_ || with_destination_.count(service) > 0; }
  // Where the observer is asked, RUNTIME_DIR/observer; empty: nowhere.
  std::string socket() const;

 private:
  bool wanted(const drive::ServiceTable& services) const;
  Result<void> open_sockets();
  std::string configuration(const drive::ServiceTable& services, core::Mode mode);
  void warn_of_auto(const drive::ServiceTable& services);
  void say_once(const std::string& text);

  Context c_;
  std::string bound_;  // the receiver's socket, once it is open
  std::string receiver_;
  std::vector<std::string> listeners_;
  std::string told_;  // the configuration that the keeper has
  bool dev_ = true;
  std::set<ServiceId> with_destination_;
  std::set<std::string> warned_;  // at most kWarnedMax
};

// The observer's executable: beside this one. On failure says where it was looked for.
Result<std::string> find_observer();

}  // namespace runmain::app

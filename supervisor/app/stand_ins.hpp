// Who answers for a service whose start has failed and that waits for a change: web::StandIn on the service's
// own sockets, from the Fact that it has failed until the Fact that something is tried again.
//
// Invariant: a service that has a worker, or is getting one, has no stand-in that accepts. Only services with
// await_change and TCP sockets have one at all. Thread: the loop's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/effect.hpp"
#include "core/snapshot.hpp"
#include "web/stand_in.hpp"

namespace runmain::app {

class StandIns {
 public:
  // The last lines that a service printed, the oldest first.
  using LinesOf = std::function<std::vector<std::string>(ServiceId)>;

  StandIns(os::Loop& loop, LinesOf lines_of) : loop_(loop), lines_of_(std::move(lines_of)) {}

  // The sockets of a service from now on; none: it has no stand-in.
  void know(ServiceId service, const std::string& name, std::vector<os::UniqueFd> sockets);
  void forget(ServiceId service) { known_.erase(service); }

  void on_fact(const core::Fact& fact);
  // For a new head: those that had failed before it.
  void begin(const core::Snapshot& snapshot);

 private:
  struct Known {
    std::string name;
    std::string reason;
    std::vector<os::UniqueFd> sockets;
    std::unique_ptr<web::StandIn> stand_in;
  };
  void open(ServiceId service, Known& known, const std::string& reason);
  static void close(Known& known);

  os::Loop& loop_;
  LinesOf lines_of_;
  std::map<ServiceId, Known> known_;
};

}  // namespace runmain::app

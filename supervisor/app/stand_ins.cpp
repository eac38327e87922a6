#include "app/stand_ins.hpp"

#include <fcntl.h>

namespace runmain::app {
namespace {

using core::FactType;

// Something is tried again, or nothing is wanted any more.
bool ends_trouble(FactType type) {
  switch (type) {
    case FactType::service_starting:
    case FactType::service_waiting:
    case FactType::service_ready:
    case FactType::service_stopping:
    case FactType::service_stopped:
    case FactType::service_done:
    case FactType::reload_building:
    case FactType::reload_starting: return true;
    default: return false;
  }
}

// The flag belongs to the socket, which the workers share. A stand-in needs it: a leftover of a worker may
// take the connection that poll(2) has told of. Workers get the socket as they would from a fresh start:
// blocking.
void set_nonblocking(const std::vector<os::UniqueFd>& sockets, bool on) {
  for (const os::UniqueFd& socket : sockets) (void)os::set_nonblocking(socket.get(), on);
}

}  // namespace

void StandIns::know(ServiceId service, const std::string& name, std::vector<os::UniqueFd> sockets) {
  if (sockets.empty()) return forget(service);
  Known& known = known_[service];
  known.name = name;
  known.sockets = std::move(sockets);
}

void StandIns::on_fact(const core::Fact& fact) {
  if (fact.type == FactType::shutdown_started) return known_.clear();  // the sockets close with the keeper
  const auto found = known_.find(fact.service);
  if (found == known_.end()) return;
  Known& known = found->second;
  if (fact.type == FactType::service_failed) return open(fact.service, known, fact.text);
  if (ends_trouble(fact.type) && known.stand_in) close(known);
}

void StandIns::close(Known& known) {
  if (!known.stand_in->is_open()) return;
  known.stand_in->close();
  set_nonblocking(known.sockets, false);
}

void StandIns::begin(const core::Snapshot& snapshot) {
  if (snapshot.shutting_down) return known_.clear();
  for (const core::ServiceView& view : snapshot.services) {
    const auto found = known_.find(view.id);
    if (found == known_.end()) continue;
    if (view.state == core::ServiceState::failed) {
      open(view.id, found->second, view.reason);
    } else if (view.workers.empty()) {
      set_nonblocking(found->second.sockets, false);  // the dead head may have had a stand-in
    }
  }
}

void StandIns::open(ServiceId service, Known& known, const std::string& reason) {
  known.reason = reason;
  if (!known.stand_in) {
    known.stand_in = std::make_unique<web::StandIn>(loop_, [this, service] {
      const Known& now = known_.at(service);
      return web::Trouble{now.name, now.reason, lines_of_(service)};
    });
  }
  std::vector<os::UniqueFd> sockets;
  for (const os::UniqueFd& socket : known.sockets) {
    os::UniqueFd copy(fcntl(socket.get(), F_DUPFD_CLOEXEC, 3));
    if (copy) sockets.push_back(std::move(copy));  // without a free fd nobody answers, and connections wait
  }
  set_nonblocking(known.sockets, true);
  known.stand_in->open(std::move(sockets));
}

}  // namespace runmain::app

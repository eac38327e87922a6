// Names of states, as status, events and the journal show them.
#include "core/snapshot.hpp"

namespace runmain::core {

const char* name_of(ServiceState state) {
  switch (state) {
    case ServiceState::stopped: return "stopped";
    case ServiceState::waiting: return "waiting";
    case ServiceState::building: return "building";
    case ServiceState::starting: return "starting";
    case ServiceState::ready: return "ready";
    case ServiceState::reloading: return "reloading";
    case ServiceState::stopping: return "stopping";
    case ServiceState::backoff: return "backoff";
    case ServiceState::failed: return "failed";
    case ServiceState::done: return "done";
  }
  return "unknown";
}

const char* name_of(WorkerState state) {
  switch (state) {
    case WorkerState::spawning: return "spawning";
    case WorkerState::starting: return "starting";
    case WorkerState::ready: return "ready";
    case WorkerState::retiring: return "retiring";
    case WorkerState::draining: return "draining";
    case WorkerState::hung: return "hung";
    case WorkerState::killing: return "killing";
    case WorkerState::sweeping: return "sweeping";
    case WorkerState::backoff: return "backoff";
    case WorkerState::failed: return "failed";
  }
  return "unknown";
}

const char* name_of(Stall stall) {
  switch (stall) {
    case Stall::unknown: return "unknown";
    case Stall::starved: return "starved";
    case Stall::stopped: return "stopped";
    case Stall::waiting: return "waiting";
    case Stall::busy: return "busy";
    case Stall::uninterruptible: return "uninterruptible";
  }
  return "unknown";
}

const char* name_of(Proof proof) {
  switch (proof) {
    case Proof::notify: return "notify";
    case Proof::claim: return "claim";
    case Proof::epoll: return "epoll";
    case Proof::probe: return "probe";
    case Proof::listens: return "listens";
    case Proof::elapsed: return "elapsed";
    case Proof::unproven: return "unproven";
  }
  return "unknown";
}

}  // namespace runmain::core

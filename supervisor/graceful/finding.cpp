#include "graceful/finding.hpp"

#include "graceful/observation.hpp"

namespace runmain::graceful {
namespace {

struct Words {
  const char* id;
  const char* title;
  const char* contract;
};

constexpr Words kWords[kCauses] = {
    {"own-socket", "It does not serve on the socket that it is given",
     "runmain binds and listens once; workers accept from the listening sockets from fd 3 on"},
    {"ready-too-early", "It is taken as ready before it answers",
     "ready: it accepts, and the old generation may drain"},
    {"worker-idle", "Not every worker serves", "all workers of all generations share one open socket"},
    {"plain-fails", "Requests fail without any reload", "a worker that is ready answers"},
    {"crashes", "A worker ends by itself", "a worker serves until it is asked to end"},
    {"reload-fails", "A reload fails", "a new generation becomes ready"},
    {"listener-shut", "It shuts the shared listener down", "never shutdown(2) a listener"},
    {"socket-unlinked", "It removes the unix socket", "runmain holds the sockets for its whole life"},
    {"sigterm-ignored", "SIGTERM does not end a worker", "at the stop signal: drain, and exit"},
    {"exit-status", "A worker that was asked to end fails", "after the drain exit with 0"},
    {"child-left", "A worker leaves processes behind",
     "a worker ends whole; what its main process leaves is killed"},
    {"in-flight-cut", "What is in flight at the drain is not answered", "drain, 2: answer what is in flight"},
    {"accepted-lost", "Connections that were accepted and not yet read are lost at the drain",
     "drain, 1 and 2: do not close connections that were accepted; answer the first request of one that has "
     "not spoken"},
    {"refuses-draining", "It answers with an error while it drains", "drain, 2: answer what is in flight"},
    {"kept-lost", "A kept connection is ended with a request in it",
     "drain, 3: close idle connections after a last look for a request that was already sent"},
    {"keeps-connections", "Kept connections keep an old worker alive",
     "drain, 2 and 3: say Connection: close, and close idle connections"},
    {"waits-for-silent", "A silent connection keeps an old worker alive",
     "drain, 4: exit within the budget; who never speaks is not waited for"},
    {"waits-for-half", "Half a request keeps an old worker alive",
     "drain, 4: exit within the budget; a request that does not come is not waited for"},
    {"holds-others-up", "Slow clients hold others up", "who is slow is slow alone"},
};

}  // namespace

const char* id_of(Cause cause) { return kWords[static_cast<std::size_t>(cause)].id; }
const char* title_of(Cause cause) { return kWords[static_cast<std::size_t>(cause)].title; }
const char* contract_of(Cause cause) { return kWords[static_cast<std::size_t>(cause)].contract; }

const char* id_of(Trial trial) {
  constexpr const char* kIds[kTrials] = {"start", "plain",     "quiet", "idle", "silent",
                                         "half",  "in-flight", "slow",  "load", "end"};
  return kIds[static_cast<std::size_t>(trial)];
}

const Seen* find_trial(const Observation& o, Trial trial) {
  for (const Seen& seen : o.trials) {
    if (seen.trial == trial) return &seen;
  }
  return nullptr;
}

}  // namespace runmain::graceful

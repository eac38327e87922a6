// What has changed in a service since a generation last served: for the line that tells of a reload and for
// the child (RUNMAIN_CHANGED).
//
// Invariant: a change is listed with the first generation that is launched after it, and with each later one
// until one of them serves. Bound: kPathsMax names a service, more are counted. Non-goal: to survive a head.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/event.hpp"

namespace runmain::app {

// Leaves out what is in one of these folders: runmain's own, which somebody may have put into a watched tree.
// False: nothing else has changed.
bool leave_out(core::Changed& changed, const std::vector<std::string>& folders);

class Changes {
 public:
  static constexpr std::size_t kPathsMax = 64;

  void noted(const core::Changed& changed);
  // A generation is begun with what was noted up to now; the last one serves.
  void launched(ServiceId service);
  void served(ServiceId service);

  // Of the generation that was launched last.
  std::vector<std::string> paths(ServiceId service) const;
  // "app.py and 2 more"; empty: nothing has changed.
  std::string summary(ServiceId service) const { return summary_of(launched_, service); }
  // The same of what has been noted since.
  std::string pending(ServiceId service) const { return summary_of(noted_, service); }

 private:
  struct List {
    std::vector<std::string> paths;
    std::size_t more = 0;
    void add(const std::string& path);
  };
  static std::string summary_of(const std::map<ServiceId, List>& lists, ServiceId service);

  std::map<ServiceId, List> noted_;
  std::map<ServiceId, List> launched_;
};

}  // namespace runmain::app

// From the keeper's happenings to the core's Events, with what drive remembers of children on the way.
// Invariant: what is no Event (a refused line, a counter) is answered or told here and never reaches the
// core.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/event.hpp"
#include "drive/channel.hpp"
#include "drive/keeper_client.hpp"
#include "drive/oom.hpp"
#include "drive/performer.hpp"
#include "keeper/protocol.hpp"

namespace runmain::drive {

class HappeningReader {
 public:
  HappeningReader(KeeperClient& keeper, Channel& channel, ChildInfos& children, const ServiceTable& services,
                  std::function<void(const ChildKey&, const std::string&)> tell);

  std::vector<core::Event> read(const keeper::Happening& happening);

 private:
  std::vector<core::Event> on_notified(const keeper::Notified& notified);
  std::vector<core::Event> on_died(const keeper::Died& died);
  void give_sockets(const keeper::Line& line);
  std::vector<core::Event> on_line(const keeper::Line& line);
  std::vector<core::Event> on_closed(const keeper::SlotClosed& closed) const;
  std::vector<core::Event> on_shut(const keeper::ListenerShut& shut) const;

  std::vector<core::Event> on_signal(const keeper::GotSignal& got);

  KeeperClient& keeper_;
  Channel& channel_;
  ChildInfos& children_;
  const ServiceTable& services_;
  std::function<void(const ChildKey&, const std::string&)> tell_;
  bool had_terminal_;
  OomWitness oom_;
};

}  // namespace runmain::drive

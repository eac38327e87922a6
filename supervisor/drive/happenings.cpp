#include "drive/happenings.hpp"

#include <fcntl.h>

#include <csignal>

#include "drive/notify.hpp"
#include "os/linux/memory.hpp"
#include "os/linux/process_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

namespace {

bool has_terminal() {
  const os::UniqueFd fd(open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  return static_cast<bool>(fd);
}

}  // namespace

HappeningReader::HappeningReader(KeeperClient& keeper, Channel& channel, ChildInfos& children,
                                 const ServiceTable& services,
                                 std::function<void(const ChildKey&, const std::string&)> tell)
    : keeper_(keeper),
      channel_(channel),
      children_(children),
      services_(services),
      tell_(std::move(tell)),
      had_terminal_(has_terminal()),
      oom_([counter = os::OomCounter()](bool anew) mutable { return counter.kills(anew); }) {}

// SIGHUP has two meanings: "read again" from a person or an init system, and "your terminal is closed".
std::vector<core::Event> HappeningReader::on_signal(const keeper::GotSignal& got) {
  const bool gone = got.signal == SIGHUP && had_terminal_ && !has_terminal();
  if (gone) had_terminal_ = false;
  return {core::Signalled{got.signal, gone, got.nohup}};
}

std::vector<core::Event> HappeningReader::read(const keeper::Happening& happening) {
  return std::visit(
      [this](const auto& what) -> std::vector<core::Event> {
        using T = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<T, keeper::Started>) {
          if (what.error == 0) children_[what.key] = {what.pid, what.tag, false, what.sockets, what.kept};
          oom_.look(os::Loop::now());
          return {core::Spawned{what.key, what.pid, static_cast<core::SpawnStage>(what.stage), what.error,
                                what.detail}};
        } else if constexpr (std::is_same_v<T, keeper::Died>) {
          return on_died(what);
        } else if constexpr (std::is_same_v<T, keeper::TreeEmpty>) {
          return {core::Swept{what.key, what.survivors}};
        } else if constexpr (std::is_same_v<T, keeper::Notified>) {
          return on_notified(what);
        } else if constexpr (std::is_same_v<T, keeper::Line>) {
          return on_line(what);
        } else if constexpr (std::is_same_v<T, keeper::LineClosed>) {
          channel_.closed(what.conn);
          return {};
        } else if constexpr (std::is_same_v<T, keeper::Frozen>) {
          return {core::Frozen{what.key, what.on}};
        } else if constexpr (std::is_same_v<T, keeper::ListenerShut>) {
          return on_shut(what);
        } else if constexpr (std::is_same_v<T, keeper::SlotClosed>) {
          return on_closed(what);
        } else if constexpr (std::is_same_v<T, keeper::UpgradeEnded>) {
          return {core::UpgradeEnded{what.error, what.keeper_too, RUNMAIN_VERSION}};
        } else {
          return on_signal(what);
        }
      },
      happening.what);
}

std::vector<core::Event> HappeningReader::on_died(const keeper::Died& died) {
  const auto child = children_.find(died.key);
  const bool by_us = child != children_.end() && child->second.killed;
  const bool oom = died.known && oom_.explains(died.status, by_us, os::Loop::now());
  return {core::Exited{died.key, died.pid, died.status, died.known, oom}};
}

// Of a service that is gone nobody wants to know.
std::vector<core::Event> HappeningReader::on_shut(const keeper::ListenerShut& shut) const {
  const ServiceTable::Owner owner = services_.owner_of(shut.id);
  if (owner.service == kNoService) return {};
  return {core::ListenerShut{owner.service, owner.slot, owner.bound, shut.error}};
}

std::vector<core::Event> HappeningReader::on_closed(const keeper::SlotClosed& closed) const {
  const ServiceTable::Owner owner = services_.owner_of(closed.id);
  if (owner.service == kNoService) return {};
  return {core::SlotClosed{owner.service, owner.slot, owner.bound, closed.waiting}};
}

std::vector<core::Event> HappeningReader::on_notified(const keeper::Notified& notified) {
  const auto child = children_.find(notified.key);
  const std::uint64_t tag = child == children_.end() ? 0 : child->second.tag;
  NotifyOutcome outcome =
      parse_notify(notified, [tag](std::int32_t pid) { return tag != 0 && os::tag_of(pid) == tag; });
  for (const std::string& refusal : outcome.refusals) tell_(notified.key, refusal);
  if (outcome.requests) {
    const auto& [done, in_flight] = *outcome.requests;
    if (auto told = channel_.notified(notified.key, notified.sender, {done, in_flight}))
      outcome.events.emplace_back(std::move(*told));
  }
  return std::move(outcome.events);
}

// Nobody serves by this, so the core need not know.
void HappeningReader::give_sockets(const keeper::Line& line) {
  keeper::SendChannel order{line.conn, line.key, false, true, {}, {}};
  std::vector<RoleListener> all;
  if (const ServiceEntry* entry = services_.find(line.key.service)) {
    for (const LaunchListener& l : listeners_of(*entry, line.key.slot)) {
      all.push_back({l.name, l.bound});
      order.listeners.push_back(l.id);
    }
  }
  order.bytes = sockets_line(all);
  keeper_.answer_channel(std::move(order));
}

std::vector<core::Event> HappeningReader::on_line(const keeper::Line& line) {
  LineOutcome outcome = channel_.receive(line);
  if (outcome.refusal.empty() && outcome.sockets) give_sockets(line);
  if (!outcome.refusal.empty() && (outcome.claim || outcome.sockets)) {
    keeper_.answer_channel(
        keeper::SendChannel{line.conn, line.key, false, false, refused_line(outcome.refusal), {}});
  }
  if (!outcome.refusal.empty() && line.has_key) tell_(line.key, outcome.refusal);
  return std::move(outcome.events);
}

}  // namespace runmain::drive

// Listeners: the sockets of a group, who of them gets connections, and what is done after shutdown(2).
#include <algorithm>
#include <charconv>
#include <cstdio>

#include "keeper/listeners.hpp"
#include "os/linux/listen_queue.hpp"

namespace runmain::keeper {
namespace {

// The slot in "ID#SLOT", and ID.
std::optional<std::pair<std::string, std::uint32_t>> parts_of(const std::string& id) {
  const std::size_t at = id.rfind('#');
  if (at == std::string::npos) return std::nullopt;
  std::uint32_t slot = 0;
  const char* end = id.data() + id.size();
  const auto [rest, fault] = std::from_chars(id.data() + at + 1, end, slot);
  if (fault != std::errc() || rest != end) return std::nullopt;
  return std::pair(id.substr(0, at), slot);
}

}  // namespace

Listeners::Group* Listeners::group_of(const Held& held) {
  const auto found = held.group.empty() ? groups_.end() : groups_.find(held.group);
  return found == groups_.end() ? nullptr : &found->second;
}

Opened Listeners::open_group(const OpenListener& wanted, const os::Address& address) {
  auto found = groups_.find(wanted.id);
  if (found == groups_.end()) {
    Group group;
    group.address = address;
    auto made = add_slot(wanted.id, group, 0);
    if (!made) return Opened{wanted.id, made.error().code, made.error().text(), {}, 0};
    found = groups_.emplace(wanted.id, std::move(group)).first;
  }
  Group& group = found->second;
  group.closing = false;
  return Opened{wanted.id, 0, {}, group.bound, inode(group.ids.begin()->second)};
}

Result<Listeners::Held*> Listeners::add_slot(const std::string& group_id, Group& group, std::uint32_t slot) {
  const std::string id = slot_listener(group_id, slot);
  auto made = add(id, group.address, group.ids.empty() ? os::Sharing::begins : os::Sharing::joins);
  if (!made) return made;
  if (group.ids.empty()) {
    group.bound = (*made)->listener.bound;
    group.address.port = os::port_of((*made)->listener);
  }
  (*made)->group = group_id;
  (*made)->slot = slot;
  group.ids.emplace(slot, id);
  group.order.joined(slot);
  return made;
}

Result<int> Listeners::want(const std::string& id) {
  if (const int there = fd(id); there >= 0) return there;
  const Error none = Error{"no listening socket " + id, {}, {}, EBADF};
  const auto parts = parts_of(id);
  const auto group = parts ? groups_.find(parts->first) : groups_.end();
  if (group == groups_.end() || parts->second >= kSlotsMax) return none;
  if (heal_shut(group->second)) refresh(group->second, true);  // the new one's place depends on it
  auto made = add_slot(group->first, group->second, parts->second);
  if (!made) return made.error();
  refresh(group->second);  // it may have been named before it was there
  return (*made)->listener.fd.get();
}

void Listeners::drop_group_if_done(const std::string& id) {
  const auto group = groups_.find(id);
  if (group == groups_.end() || !group->second.closing) return;
  const auto& ids = group->second.ids;
  const bool held = std::any_of(ids.begin(), ids.end(),
                                [this](const auto& slot) { return held_.at(slot.second).children > 0; });
  if (held) return;
  for (const auto& [slot, socket] : ids) drop(held_.find(socket));
  groups_.erase(group);
}

// The kernel resets what waits in its queue, so that nobody waits for ever.
void Listeners::close_slots(const CloseSlots& order) {
  for (const std::string& id : order.groups) {
    const auto found = groups_.find(id);
    if (found == groups_.end()) continue;
    heal_shut(found->second);  // where the others are then depends on it
    for (const std::uint32_t slot : order.slots) close_slot(found->second, slot);
    refresh(found->second, true);
  }
}

void Listeners::close_slot(Group& group, std::uint32_t slot) {
  const auto id = group.ids.find(slot);
  if (id == group.ids.end() || group.ids.size() == 1) return;
  const auto held = held_.find(id->second);
  if (held->second.children > 0) return;
  const std::uint32_t waiting = os::queued_connections({held->second.listener.inode});
  if (waiting > 0) happenings_.push(SlotClosed{id->second, waiting});
  drop(held);
  group.ids.erase(id);
  group.order.left({slot});
  for (auto* all : {&group.named, &group.last_named, &group.out}) all->erase(slot);
  refresh(group, true);
}

// ---- who gets connections
// -------------------------------------------------------------------------------------

void Listeners::distribute(const DistributeSlots& order) {
  for (const std::string& id : order.groups) {
    const auto found = groups_.find(id);
    if (found == groups_.end()) continue;
    Group& group = found->second;
    group.named = {order.slots.begin(), order.slots.end()};
    if (!order.slots.empty()) group.last_named = group.named;
    for (const std::uint32_t slot : order.slots) group.out.erase(slot);
    refresh(group);
  }
}

// The slots that are named and not out; where the head has named none, those that live. Where that is nobody,
// connections wait for whoever comes in the slots that were named last: others may have been given up.
std::set<std::uint32_t> Listeners::chosen(const Group& group) const {
  std::set<std::uint32_t> out;
  for (const auto& [slot, id] : group.ids) {
    if (group.named.empty() ? held_.at(id).alive > 0
                            : group.named.contains(slot) && !group.out.contains(slot))
      out.insert(slot);
  }
  return out.empty() ? group.last_named : out;
}

// Clients go to the chosen slots, looks at workers to all that live; without any the kernel chooses. `anew`:
// it has dropped the program, or places have changed.
void Listeners::refresh(Group& group, bool anew) {
  const std::set<std::uint32_t> slots = chosen(group);
  std::vector<std::uint32_t> clients;
  std::vector<std::uint32_t> looks;
  int fd = -1;
  for (const auto& [slot, id] : group.ids) {
    const Held& held = held_.at(id);
    if (fd < 0 && os::is_listening(held.listener.fd.get())) fd = held.listener.fd.get();
    const auto place = group.order.place_of(slot);
    if (!place) continue;
    if (slots.contains(slot)) clients.push_back(*place);
    if (held.alive > 0) looks.push_back(*place);
  }
  if (looks.empty()) looks = clients;
  if (fd < 0 || (!anew && clients == group.clients && looks == group.looks)) return;
  group.clients = clients;
  group.looks = looks;
  const auto attached = os::distribute(fd, clients, looks);
  if (attached || group.told_fault) return;
  group.told_fault = true;
  std::fprintf(stderr, "runmain: %s: the kernel chooses who gets connections: %s\n", group.bound.c_str(),
               attached.error().text().c_str());
}

// ---- after shutdown(2)
// ----------------------------------------------------------------------------------------

void Listeners::on_event(std::uint32_t serial, std::uint32_t events) {
  const auto known = by_serial_.find(serial);
  if (known == by_serial_.end()) return;
  Held& held = held_.at(known->second);
  if ((events & (EPOLLHUP | EPOLLRDHUP)) != 0) return heal(held);
  poll(held, false);  // an error that only its reader can take away would wake us for ever
}

void Listeners::heal(Held& held) {
  Group* group = group_of(held);
  if (group == nullptr) return heal_one(held, nullptr);
  heal_shut(*group);
  refresh(*group, true);
}

// All of the group that are shut by now: the kernel's order is only known if it was one. Twice, since one
// more may be shut meanwhile; not for ever, since a child may do nothing else.
bool Listeners::heal_shut(Group& group) {
  for (int round = 0; round < 2; ++round) {
    std::vector<std::uint32_t> shut;
    for (const auto& [slot, id] : group.ids) {
      if (!os::is_listening(held_.at(id).listener.fd.get())) shut.push_back(slot);
    }
    if (shut.empty()) return round > 0;
    ++changes_;
    group.order.left(shut);
    if (round > 0) group.order.lose();
    for (const std::uint32_t slot : shut) heal_one(held_.at(group.ids.at(slot)), &group);
  }
  return true;
}

void Listeners::heal_one(Held& held, Group* group) {
  const auto again = os::listen_again(held.listener);
  const bool known = held.lost;
  held.lost = !again;
  poll(held, again.ok());
  if (again && group != nullptr) group->order.joined(held.slot);
  if (again ? held.shut_untold : known) {
    ++untold_;
    return;
  }
  if (again) held.shut_untold = true;
  happenings_.push(ListenerShut{held.id, again ? 0 : again.error().code});
}

}  // namespace runmain::keeper

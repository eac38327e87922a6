// Listeners: those of a keeper that is gone, and what is written down for the next one.
#include <sys/socket.h>

#include <algorithm>

#include "keeper/listeners.hpp"

namespace runmain::keeper {
namespace {

os::Address address_of(const ListenerOnRecord& record) {
  os::Address address;
  address.kind = static_cast<os::AddressKind>(record.address.kind);
  address.host = record.address.host;
  address.port = record.address.port;
  address.path = record.address.path;
  return address;
}

}  // namespace

void Listeners::describe(AdoptionTable& table) const {
  for (const auto& [id, held] : held_) {
    ListenerOnRecord record;
    record.id = id;
    record.address = {id,
                      static_cast<std::uint8_t>(held.address.kind),
                      held.address.host,
                      held.address.port,
                      held.address.path,
                      false,
                      false};
    record.port = os::port_of(held.listener);
    record.bound = held.listener.bound;
    record.inode = held.listener.inode;
    record.cookie = held.cookie;
    record.group = held.group;
    record.slot = held.slot;
    if (!held.unlink_path.empty()) {
      record.file_device = held.device;
      record.file_inode = held.inode;
    }
    table.listeners.push_back(std::move(record));
  }
  for (const auto& [id, group] : groups_)
    table.groups.push_back({id, group.order.places(), group.order.known()});
}

// A port that was chosen by the kernel, of a socket that nobody has any more: children were told its number.
void Listeners::bind_again(const ListenerOnRecord& record) {
  const bool chosen = record.address.port == 0 && record.port != 0 && record.group.empty();
  if (!chosen || held_.contains(record.id)) return;
  os::Address address = address_of(record);
  address.port = record.port;
  auto made = os::open_listener(address, os::Sharing::none);
  if (!made) return;  // somebody else has it: the next one is as good
  Held held;
  held.id = record.id;
  held.address = address_of(record);
  held.listener = std::move(*made);
  held.closing = true;
  keep(std::move(held));
}

void Listeners::drop_unwanted() {
  std::vector<std::string> unwanted;
  for (const auto& [id, held] : held_) {
    if (held.closing && held.group.empty() && held.children == 0) unwanted.push_back(id);
  }
  for (const std::string& id : unwanted) drop(held_.find(id));
  std::vector<std::string> groups;
  for (const auto& [id, group] : groups_) {
    if (group.closing) groups.push_back(id);
  }
  for (const std::string& id : groups) drop_group_if_done(id);
}

void Listeners::adopt(const AdoptionTable& table, std::map<std::string, os::UniqueFd> sockets) {
  for (const ListenerOnRecord& record : table.listeners) {
    const auto socket = sockets.find(record.id);
    if (socket == sockets.end()) bind_again(record);
    if (socket == sockets.end() || held_.contains(record.id)) continue;
    Held held;
    held.id = record.id;
    held.address = address_of(record);
    held.listener.kind = held.address.kind;
    held.listener.bound = record.bound;
    held.listener.inode = record.inode;
    held.listener.fd = std::move(socket->second);
    (void)getsockname(held.listener.fd.get(), reinterpret_cast<sockaddr*>(&held.listener.name),
                      &held.listener.name_size);
    held.group = record.group;
    held.slot = record.slot;
    held.closing = record.group.empty();  // until it is opened again
    if (!record.group.empty()) {
      Group& group = groups_[record.group];
      group.address = held.address;
      group.address.port = record.port;
      group.bound = record.bound;
      group.ids.emplace(record.slot, record.id);
      group.closing = true;
    }
    Held& kept = keep(std::move(held));
    // Meanwhile somebody may have put a file of theirs there.
    const bool same = kept.device == record.file_device && kept.inode == record.file_inode;
    if (!same) kept.unlink_path.clear();
  }
  // The sockets that nobody has any more have left the kernel's array, in an order that is not known.
  for (const GroupOnRecord& record : table.groups) {
    const auto found = groups_.find(record.id);
    if (found == groups_.end()) continue;
    std::vector<std::uint32_t> gone;
    for (const std::uint32_t slot : record.order) {
      found->second.order.joined(slot);
      if (!found->second.ids.contains(slot)) gone.push_back(slot);
    }
    found->second.order.left(gone);
    if (!record.known) found->second.order.lose();
  }
}

}  // namespace runmain::keeper

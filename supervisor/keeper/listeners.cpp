#include "keeper/listeners.hpp"

#include <sys/stat.h>
#include <unistd.h>

namespace runmain::keeper {
namespace {

os::Address address_of(const OpenListener& wanted) {
  os::Address address;
  address.kind = static_cast<os::AddressKind>(wanted.kind);
  address.host = wanted.host;
  address.port = wanted.port;
  address.path = wanted.path;
  return address;
}

Opened refused(const std::string& id, const Error& e) {
  return Opened{id, e.code != 0 ? e.code : EINVAL, e.text(), {}, 0};
}

}  // namespace

Opened Listeners::open(const OpenListener& wanted) {
  const bool is_group = groups_.contains(wanted.id);
  auto found = held_.find(wanted.id);
  if (wanted.per_slot ? found != held_.end() : is_group) {
    // Connections wait in the sockets as they are.
    return refused(wanted.id, Error{"it listens already, with another balance",
                                    {},
                                    "stop the service, then start it with the new one",
                                    EBUSY});
  }
  if (wanted.per_slot) return open_group(wanted, address_of(wanted));
  Held* held = found == held_.end() ? nullptr : &found->second;
  if (held == nullptr) {
    auto made = add(wanted.id, address_of(wanted), os::Sharing::none);
    if (!made) return refused(wanted.id, made.error());
    held = *made;
  }
  held->closing = false;
  return Opened{wanted.id, 0, {}, held->listener.bound, held->listener.inode};
}

Result<Listeners::Held*> Listeners::add(const std::string& id, const os::Address& address,
                                        os::Sharing sharing) {
  auto made = os::open_listener(address, sharing);
  if (!made) return made.error();
  Held held;
  held.id = id;
  held.address = address;
  held.listener = std::move(*made);
  return &keep(std::move(held));
}

Listeners::Held& Listeners::keep(Held held) {
  ++changes_;
  held.serial = ++last_serial_;
  held.cookie = os::socket_cookie(held.listener.fd.get());
  const os::Address& address = held.address;
  struct stat st {};
  if (address.kind == os::AddressKind::unix_path && lstat(address.path.c_str(), &st) == 0) {
    held.unlink_path = address.path;
    held.device = st.st_dev;
    held.inode = st.st_ino;
  }
  by_serial_[held.serial] = held.id;
  const std::string id = held.id;
  Held& kept = held_.emplace(id, std::move(held)).first->second;
  poll(kept, true);
  return kept;
}

// What a child does to it wakes us; what comes for it does not.
void Listeners::poll(Held& held, bool on) {
  if (held.polled == on) return;
  held.polled = on;
  const int fd = held.listener.fd.get();
  if (on) {
    poller_.add(fd, EPOLLRDHUP, Token{Source::listener, held.serial});
  } else {
    poller_.remove(fd);
  }
}

void Listeners::close(const std::string& id) {
  if (const auto group = groups_.find(id); group != groups_.end()) {
    group->second.closing = true;
    return drop_group_if_done(id);
  }
  const auto found = held_.find(id);
  if (found == held_.end() || !found->second.group.empty()) return;
  found->second.closing = true;
  if (found->second.children == 0) drop(found);
}

void Listeners::hold(const std::string& id) {
  const auto found = held_.find(id);
  if (found == held_.end()) return;
  ++found->second.children;
  living(id, true);
}

void Listeners::living(const std::string& id, bool on) {
  const auto found = held_.find(id);
  if (found == held_.end()) return;
  Held& held = found->second;
  if (on) ++held.alive;
  if (!on && held.alive > 0) --held.alive;
  Group* group = group_of(held);
  if (group == nullptr) return;
  if (held.alive == 0) group->out.insert(held.slot);
  refresh(*group);
}

void Listeners::release(const std::string& id) {
  const auto found = held_.find(id);
  if (found == held_.end() || found->second.children == 0) return;
  --found->second.children;
  if (!found->second.group.empty()) return drop_group_if_done(std::string(found->second.group));
  if (found->second.children == 0 && found->second.closing) drop(found);
}

// An fd that a child has too would stay in the poller.
void Listeners::drop(HeldAt at) {
  ++changes_;
  Held& held = at->second;
  poll(held, false);
  by_serial_.erase(held.serial);
  struct stat st {};
  const bool ours = !held.unlink_path.empty() && lstat(held.unlink_path.c_str(), &st) == 0 &&
                    st.st_dev == held.device && st.st_ino == held.inode;
  if (ours) ::unlink(held.unlink_path.c_str());
  held_.erase(at);
}

void Listeners::close_all() {
  groups_.clear();
  while (!held_.empty()) drop(held_.begin());
}

void Listeners::leave() {
  for (auto& [id, held] : held_) held.unlink_path.clear();
}

int Listeners::fd(const std::string& id) const {
  const auto group = groups_.find(id);
  const bool one = group == groups_.end() || group->second.ids.empty();
  const auto found = held_.find(one ? id : group->second.ids.begin()->second);
  return found == held_.end() ? -1 : found->second.listener.fd.get();
}

std::uint64_t Listeners::inode(const std::string& id) const {
  const auto found = held_.find(id);
  return found == held_.end() ? 0 : found->second.listener.inode;
}

void Listeners::renew(const RenewBacklog& order) {
  for (const std::string& id : order.ids) {
    const auto found = held_.find(id);
    if (found == held_.end()) continue;
    const os::Listener& listener = found->second.listener;
    if (listener.kind == os::AddressKind::udp) continue;
    if (os::is_listening(listener.fd.get())) {
      (void)os::renew_backlog(listener.fd.get());  // it keeps the one that it has
    } else {
      heal(found->second);
    }
  }
}

void Listeners::acknowledged(const What& what) {
  const auto* told = std::get_if<ListenerShut>(&what);
  if (told == nullptr || told->error != 0) return;
  const auto found = held_.find(told->id);
  if (found != held_.end()) found->second.shut_untold = false;
}

}  // namespace runmain::keeper

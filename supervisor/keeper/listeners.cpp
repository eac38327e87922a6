#include "keeper/listeners.hpp"

#include <unistd.h>

namespace runmain::keeper {

Opened Listeners::open(const OpenListener& wanted) {
  auto found = held_.find(wanted.id);
  if (found == held_.end()) {
    os::Address address;
    address.kind = static_cast<os::AddressKind>(wanted.kind);
    address.host = wanted.host;
    address.port = wanted.port;
    address.path = wanted.path;
    auto made = os::open_listener(address);
    if (!made) {
      const Error& e = made.error();
      return Opened{wanted.id, e.code != 0 ? e.code : EINVAL, e.text(), {}, 0};
    }
    Held held;
    held.listener = std::move(*made);
    if (address.kind == os::AddressKind::unix_path) held.unlink_path = wanted.path;
    found = held_.emplace(wanted.id, std::move(held)).first;
  }
  const os::Listener& listener = found->second.listener;
  return Opened{wanted.id, 0, {}, listener.bound, listener.inode};
}

void Listeners::close(const std::string& id) {
  const auto found = held_.find(id);
  if (found == held_.end()) return;
  if (!found->second.unlink_path.empty()) ::unlink(found->second.unlink_path.c_str());
  held_.erase(found);
}

void Listeners::close_all() {
  while (!held_.empty()) close(std::string(held_.begin()->first));
}

int Listeners::fd(const std::string& id) const {
  const auto found = held_.find(id);
  return found == held_.end() ? -1 : found->second.listener.fd.get();
}

}  // namespace runmain::keeper

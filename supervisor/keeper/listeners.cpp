#include "keeper/listeners.hpp"

#include <sys/stat.h>
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
    struct stat st {};
    if (address.kind == os::AddressKind::unix_path && lstat(wanted.path.c_str(), &st) == 0) {
      held.unlink_path = wanted.path;
      held.device = st.st_dev;
      held.inode = st.st_ino;
    }
    found = held_.emplace(wanted.id, std::move(held)).first;
  }
  found->second.closing = false;
  const os::Listener& listener = found->second.listener;
  return Opened{wanted.id, 0, {}, listener.bound, listener.inode};
}

void Listeners::close(const std::string& id) {
  const auto found = held_.find(id);
  if (found == held_.end()) return;
  found->second.closing = true;
  if (found->second.children == 0) drop(found);
}

void Listeners::hold(const std::string& id) {
  const auto found = held_.find(id);
  if (found != held_.end()) ++found->second.children;
}

void Listeners::release(const std::string& id) {
  const auto found = held_.find(id);
  if (found == held_.end() || found->second.children == 0) return;
  if (--found->second.children == 0 && found->second.closing) drop(found);
}

void Listeners::drop(std::map<std::string, Held>::iterator at) {
  const Held& held = at->second;
  struct stat st {};
  const bool ours = !held.unlink_path.empty() && lstat(held.unlink_path.c_str(), &st) == 0 &&
                    st.st_dev == held.device && st.st_ino == held.inode;
  if (ours) ::unlink(held.unlink_path.c_str());
  held_.erase(at);
}

void Listeners::close_all() {
  while (!held_.empty()) drop(held_.begin());
}

int Listeners::fd(const std::string& id) const {
  const auto found = held_.find(id);
  return found == held_.end() ? -1 : found->second.listener.fd.get();
}

}  // namespace runmain::keeper

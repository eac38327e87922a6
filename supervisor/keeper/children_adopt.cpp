// Children: those of a keeper that is gone, and what is written down for the next one.
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <set>

#include "keeper/children.hpp"
#include "os/linux/proc.hpp"

namespace runmain::keeper {
namespace {

constexpr Duration kLookSoon = std::chrono::milliseconds(20);
constexpr Duration kLookLater = std::chrono::milliseconds(200);

// The tags of all living processes, in one pass.
std::set<std::uint64_t> living_tags() {
  std::set<std::uint64_t> tags;
  os::any_process([&tags](pid_t pid) {
    const std::uint64_t tag = os::tag_of(pid);
    if (tag == 0 || tags.contains(tag)) return false;
    const auto state = os::process_state(pid);
    if (state && state->living()) tags.insert(tag);
    return false;
  });
  return tags;
}

}  // namespace

void Children::describe(AdoptionTable& table) const {
  table.tags_begin = tags_begin_;
  table.tags_end = tags_.last();
  table.children.reserve(children_.size());
  for (const auto& [key, child] : children_) {
    ChildOnRecord record;
    record.key = key;
    record.service = child->service;
    record.main = {child->pid, child->started};
    record.first = {child->first_pid, child->first_started};
    record.tag = child->tag;
    record.alive = child->alive;
    record.keep = child->kept;
    record.listeners = child->listeners;
    record.pipe = child->stream == 0 ? 0 : streams_.pipe_inode(child->stream);
    record.notify = child->notify_name;
    record.port = child->port;
    mailboxes_.describe(record);
    table.children.push_back(std::move(record));
  }
}

// The notify socket has the name that the child was given: nobody else can have taken it, but by intent.
void Children::adopt(const ChildOnRecord& record, os::UniqueFd pidfd, std::uint32_t stream) {
  if (find(record.key) != nullptr || children_.size() >= kChildrenMax) return;
  auto made = std::make_unique<Child>();
  Child& child = *made;
  child.key = record.key;
  child.serial = ++last_serial_;
  child.pid = record.main.pid;
  child.started = record.main.started;
  child.first_pid = record.first.pid;
  child.first_started = record.first.started;
  child.alive = true;
  child.leader_alive = static_cast<bool>(os::open_process(record.first));
  child.kept = child.adopted = true;
  child.tag = record.tag;
  child.stream = stream;
  child.service = record.service;
  child.port = record.port;
  for (const std::string& id : record.listeners) {
    if (listeners_.fd(id) >= 0) child.listeners.push_back(id);
  }
  if (stream != 0) streams_.started(stream, child.pid);
  if (!record.notify.empty()) {
    child.notify_name = record.notify;
    if (auto fd = bind_notify(record.notify)) child.notify = std::move(*fd);
    if (child.notify) poll_notify(child, true);
  }
  by_serial_[child.serial] = &child;
  by_tag_[child.tag] = &child;
  for (const std::string& id : child.listeners) listeners_.hold(id);
  child.counted = true;
  ++changes_;
  children_.emplace(record.key, std::move(made));
  if (!pidfd) {
    child.died_before = true;
    return tell_death(child, child.pid, 0, false);
  }
  child.main_pidfd = std::move(pidfd);
  poller_.add(child.main_pidfd.get(), EPOLLIN, Token{Source::main_pid, child.serial});
}

Result<os::UniqueFd> Children::bind_notify(const std::string& name) {
  os::UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  sockaddr_un address{};
  if (name.size() + 1 > sizeof address.sun_path) return Error{"the name is too long", {}, {}, ENAMETOOLONG};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return Error::from_errno("bind notify socket", errno);
  }
  return fd;
}

void Children::look_soon() {
  look_every_ = kLookSoon;
  look_at_ = Time{};
}

// A look is no proof, so what seems to be gone is swept, which is one.
void Children::look_at_adopted(Time t) {
  if (t < look_at_) return;
  look_at_ = kNever;
  const std::set<std::uint64_t> living = living_tags();
  for (const auto& [key, child] : children_) {
    if (!child->awaited || !child->adopted) continue;
    if (child->alive || (living.contains(child->tag) && !child->empty)) {
      look_at_ = t + look_every_;
      continue;
    }
    child->awaited = false;
    --awaited_;
    if (!child->empty) sweep_tree(*child, t);
  }
  look_every_ = std::min(look_every_ * 2, kLookLater);
}

// Whether its first process is there, so that the number of its group means that group. Of one that we are
// not the parent of nobody can say so for the next instruction, too; a number comes again after all others
// have.
bool Children::leads(const Child& child) const {
  if (!child.leader_alive) return false;
  return !child.adopted || os::tag_of(child.first_pid) == child.tag;
}

}  // namespace runmain::keeper

#include "keeper/channel_hub.hpp"

#include <sys/socket.h>
#include <unistd.h>

namespace runmain::keeper {

ChannelHub::ChannelHub(Poller& poller, Happenings& happenings, Children& children, Listeners& listeners,
                       Mailboxes& mailboxes, os::UniqueFd listener)
    : poller_(poller),
      happenings_(happenings),
      children_(children),
      listeners_(listeners),
      mailboxes_(mailboxes),
      listener_(std::move(listener)) {
  if (!listener_) return;
  (void)os::set_nonblocking(listener_.get(), true);
  poller_.add(listener_.get(), EPOLLIN, Token{Source::channel, 0});
}

void ChannelHub::on_listener() {
  for (;;) {
    os::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (connections_.size() >= kConnectionsMax) {
      ++refused_;
      continue;
    }
    auto c = std::make_unique<Connection>();
    if (auto peer = os::peer_of(fd.get())) c->peer = *peer;
    if (const ChildKey* key = children_.of_process(c->peer.pid)) {
      c->has_key = true;
      c->key = *key;
    }
    c->serial = ++last_serial_;
    c->fd = std::move(fd);
    poller_.add(c->fd.get(), EPOLLIN, Token{Source::connection, c->serial});
    connections_.emplace(c->serial, std::move(c));
  }
}

void ChannelHub::watch(Connection& c) {
  const std::uint32_t events = (c.pending < kLinesPendingMax ? static_cast<std::uint32_t>(EPOLLIN) : 0U) |
                               (c.out.empty() ? 0U : static_cast<std::uint32_t>(EPOLLOUT));
  poller_.change(c.fd.get(), events, Token{Source::connection, c.serial});
}

void ChannelHub::on_connection(std::uint32_t serial, std::uint32_t events) {
  const auto found = connections_.find(serial);
  if (found == connections_.end() || found->second->dead) return;
  Connection& c = *found->second;
  if ((events & EPOLLOUT) != 0) flush(c);
  if (!c.dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_lines(c);
}

void ChannelHub::read_lines(Connection& c) {
  char buffer[kLineMax];
  const ssize_t n = read(c.fd.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    close(c);
    return;
  }
  c.in.append(buffer, static_cast<std::size_t>(n));
  tell_lines(c);
}

void ChannelHub::tell_lines(Connection& c) {
  std::size_t at = 0;
  while (c.pending < kLinesPendingMax) {
    const std::size_t end = c.in.find('\n', at);
    if (end == std::string::npos) break;
    if (end - at > kLineMax) {
      close(c);
      return;
    }
    Line line{c.serial, c.peer.pid, c.peer.uid, c.has_key, c.bound, c.key, c.in.substr(at, end - at)};
    happenings_.push(std::move(line));
    ++c.pending;
    at = end + 1;
  }
  c.in.erase(0, at);
  if (c.in.size() > kLineMax && c.in.find('\n') == std::string::npos) {
    close(c);
    return;
  }
  watch(c);
}

void ChannelHub::close(Connection& c) {
  if (c.dead) return;
  poller_.remove(c.fd.get());
  c.fd.reset();
  c.dead = true;
  happenings_.push(LineClosed{c.serial});
}

void ChannelHub::flush(Connection& c) {
  while (!c.out.empty()) {
    const ssize_t n = ::send(c.fd.get(), c.out.data(), c.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      close(c);
      return;
    }
    c.out.erase(0, static_cast<std::size_t>(n));
  }
  if (c.out.empty() && c.closing) {
    close(c);
    return;
  }
  watch(c);
}

void ChannelHub::send(const SendChannel& order) {
  if (order.conn != 0) {
    const auto found = connections_.find(static_cast<std::uint32_t>(order.conn));
    if (found != connections_.end() && !found->second->dead) send_to(*found->second, order);
    return;
  }
  for (const auto& [serial, c] : connections_) {
    if (!c->dead && c->bound && c->key == order.key) send_to(*c, order);
  }
}

void ChannelHub::send_to(Connection& c, const SendChannel& order) {
  if (order.bind) {
    c.bound = c.has_key = true;
    c.key = order.key;
  }
  c.closing = c.closing || order.close;
  if (c.out.size() + order.bytes.size() > kUnreadMax) {
    close(c);
    return;
  }
  const bool idle = c.out.empty();  // fds go only with the first bytes of an idle connection
  const Passed passed = idle ? passed_with(order) : Passed{};
  const std::string bytes = order.bytes + passed.path_line;
  if (passed.fds.empty()) {
    c.out += bytes;
    flush(c);
    return;
  }
  auto sent = os::send_message(c.fd.get(), bytes, passed.fds);
  if (!sent) {
    close(c);
    return;
  }
  c.out += bytes.substr(*sent);
  flush(c);
}

// The mailbox comes behind all sockets that the line names: by their count the child tells them apart.
// A language that cannot receive fds (Node) says so, and opens the memfd by our /proc, which its own user
// may; the line after the role's says where. It names the claim's number, too: such a process can neither add
// nor compare-and-swap in the mailbox, and so knows which lane is for it alone to take.
ChannelHub::Passed ChannelHub::passed_with(const SendChannel& order) {
  Passed passed;
  std::vector<int>& fds = passed.fds;
  for (const std::string& id : order.listeners) {
    if (const int fd = listeners_.fd(id); fd >= 0) fds.push_back(fd);
  }
  if (!order.mailbox || fds.size() != order.listeners.size()) return passed;
  const auto child = children_.living(order.key);
  const auto mailbox =
      child ? mailboxes_.give(order.key, child->service, order.instance_id, child->pid, child->kept)
            : std::nullopt;
  if (!mailbox) return passed;
  fds.insert(fds.end(), {mailbox->memory, mailbox->wake});
  if (!order.by_path) return passed;
  Mailboxes::mark_by_path(*mailbox);
  passed.path_line = "{\"v\":1,\"mailbox\":{\"path\":\"/proc/" + std::to_string(getpid()) + "/fd/" +
                     std::to_string(mailbox->memory) + "\",\"claim\":" + std::to_string(mailbox->claim) +
                     "}}\n";
  return passed;
}

void ChannelHub::acknowledged(const What& what) {
  if (const auto* closed = std::get_if<LineClosed>(&what)) {
    connections_.erase(static_cast<std::uint32_t>(closed->conn));
    return;
  }
  const auto* line = std::get_if<Line>(&what);
  if (line == nullptr) return;
  const auto found = connections_.find(static_cast<std::uint32_t>(line->conn));
  if (found == connections_.end() || found->second->dead) return;
  Connection& c = *found->second;
  if (c.pending > 0) --c.pending;
  tell_lines(c);
}

}  // namespace runmain::keeper

#include "channel.hpp"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <utility>

#include "sockets.hpp"

namespace runmain::child {
namespace {

constexpr unsigned kFdsMax = kListenersMax + 2;  // with a mailbox and its wake fd
constexpr int kConnectRetryMs = 10;              // a unix socket with a full backlog cannot be polled

// The fds that came with the answer. What is not taken out is closed.
struct FdList {
  int fds[kFdsMax];
  unsigned count = 0;
  bool cut = false;  // more came than we hold

  FdList() = default;
  FdList(const FdList&) = delete;
  FdList& operator=(const FdList&) = delete;
  ~FdList() {
    for (unsigned i = 0; i < count; ++i) close(fds[i]);
  }
};

std::int64_t now_ms() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
}

// Waits for `events`; false when the deadline has passed.
bool wait_for(int fd, short events, std::int64_t deadline_ms) {
  for (;;) {
    const std::int64_t left = deadline_ms - now_ms();
    if (left <= 0) return false;
    pollfd p{fd, events, 0};
    if (poll(&p, 1, static_cast<int>(left)) > 0) return true;
  }
}

// A connected, non-blocking socket, or a negative errno.
int connect_to(const char* name, std::int64_t deadline_ms) {
  sockaddr_un address{};
  const socklen_t size = unix_address(name, address);
  if (size == 0) return -EINVAL;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  while (connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    const int error = errno;
    if (error == EINTR) continue;
    if (error == EAGAIN && now_ms() < deadline_ms) {
      poll(nullptr, 0, kConnectRetryMs);
      continue;
    }
    close(fd);
    return -error;
  }
  return fd;
}

// An abstract name can be taken by anybody once its owner is gone: we hand our nonce to root and to our own
// user only.
bool peer_is_trusted(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == geteuid() || peer.uid == getuid();
}

// Reads once into the free part of p.in. Bytes read, 0 at the end of the stream, or a negative errno.
ssize_t receive(Process& p, int fd, FdList& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)];
  iovec part{p.in + p.in_size, sizeof p.in - p.in_size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = 0;
  do {
    n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return -errno;
  fds.cut = fds.cut || (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      if (fds.count < kFdsMax) {
        fds.fds[fds.count++] = received;
      } else {
        fds.cut = true;
        close(received);
      }
    }
  }
  p.in_size += static_cast<std::size_t>(n);
  return n;
}

enum class Taken : std::uint8_t { nothing, message, ignored, too_long };

// Takes the first complete line out of p.in and reads it into p.message.
Taken take_line(Process& p) {
  const void* newline = std::memchr(p.in, '\n', p.in_size);
  if (newline == nullptr) return p.in_size == sizeof p.in ? Taken::too_long : Taken::nothing;
  const auto length = static_cast<std::size_t>(static_cast<const char*>(newline) - p.in);
  const bool known = parse_message(p.in, length, p.message) && p.message.kind != MessageKind::none;
  p.in_size -= length + 1;
  std::memmove(p.in, p.in + length + 1, p.in_size);
  if (!known) p.ignored_lines.fetch_add(1, std::memory_order_relaxed);
  return known ? Taken::message : Taken::ignored;
}

// Gives the sockets of a granted role to the process, and the mailbox behind them to the caller.
bool adopt(Process& p, FdList& fds, MailboxFds& mailbox) {
  const unsigned named = p.message.listener_count;
  if (fds.cut || fds.count < named) {
    set_reason(p, "channel: the answer names %u sockets and %u came with it", named, fds.count);
    return false;
  }
  p.role = p.message.role;
  p.socket_count = 0;
  for (unsigned i = 0; i < named; ++i) {
    if (!add_socket(p, fds.fds[i], p.message.listeners[i])) continue;
    fds.fds[i] = -1;  // taken: close(-1) does nothing
  }
  if (p.message.mailbox && fds.count >= named + 2) {  // else there was none to be had
    mailbox = {std::exchange(fds.fds[named], -1), std::exchange(fds.fds[named + 1], -1)};
  }
  return true;
}

// Reads lines until one answers the claim.
ClaimState await_answer(Process& p, int fd, std::int64_t deadline_ms, MailboxFds& mailbox) {
  FdList fds;
  for (;;) {
    Taken taken = take_line(p);
    if (taken == Taken::too_long) {
      set_reason(p, "channel: a line of more than %d bytes", RUNMAIN_CHANNEL_LINE_MAX);
      return ClaimState::unreachable;
    }
    if (taken == Taken::message) {
      if (p.message.kind == MessageKind::role) {
        return adopt(p, fds, mailbox) ? ClaimState::granted : ClaimState::unreachable;
      }
      if (p.message.kind == MessageKind::refused) {
        set_reason(p, "%s", p.message.why[0] != '\0' ? p.message.why : "refused, no reason given");
        return ClaimState::refused;
      }
      p.ignored_lines.fetch_add(1, std::memory_order_relaxed);  // a drain before there is a role
    }
    if (taken != Taken::nothing) continue;
    if (!wait_for(fd, POLLIN, deadline_ms)) {
      set_reason(p, "channel: no answer within %d ms", RUNMAIN_SERVE_TIMEOUT_MS);
      return ClaimState::unreachable;
    }
    const ssize_t n = receive(p, fd, fds);
    if (n > 0 || n == -EAGAIN) continue;
    set_reason(p, "channel: %s", n == 0 ? "closed without an answer" : std::strerror(static_cast<int>(-n)));
    return ClaimState::unreachable;
  }
}

bool send_claim(Process& p, int fd, bool explicit_call) {
  LineWriter line;
  line.raw("{\"v\":1,\"claim\":{\"nonce\":").string(p.environment.nonce, sizeof p.environment.nonce);
  line.raw(",\"pid\":").number(static_cast<std::uint64_t>(getpid()));
  line.raw(",\"runtime\":\"cpp\",\"version\":\"" RUNMAIN_VERSION "\",\"explicit\":");
  line.raw(explicit_call ? "true}}\n" : "false}}\n");
  // A fresh stream socket has room for this; a short write would be a broken peer.
  return send(fd, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(line.size());
}

}  // namespace

ClaimState claim_role(Process& p, bool explicit_call, MailboxFds& mailbox) {
  const std::int64_t deadline = now_ms() + RUNMAIN_SERVE_TIMEOUT_MS;
  const int fd = connect_to(p.environment.channel, deadline);
  if (fd < 0) {
    set_reason(p, "channel %s: %s", p.environment.channel, std::strerror(-fd));
    return ClaimState::unreachable;
  }
  remember_channel(fd);
  p.in_size = 0;
  ClaimState state = ClaimState::unreachable;
  if (!peer_is_trusted(fd)) {
    set_reason(p, "channel %s: held by a foreign user", p.environment.channel);
  } else if (!send_claim(p, fd, explicit_call)) {
    set_reason(p, "channel %s: closed", p.environment.channel);
  } else {
    state = await_answer(p, fd, deadline, mailbox);
  }
  if (state != ClaimState::granted) {
    remember_channel(-1);
    close(fd);
    return state;
  }
  p.channel_number.store(fd + 1, std::memory_order_release);
  return state;
}

int flush(Process& p) {
  const int fd = p.channel();
  while (fd >= 0 && p.out_size > 0) {
    const ssize_t n = send(fd, p.out, p.out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0) {
      p.out_size = 0;  // the peer is gone; read_channel will see it and close
      return -EPIPE;
    }
    p.out_size -= static_cast<std::size_t>(n);
    std::memmove(p.out, p.out + n, p.out_size);
  }
  return 0;
}

int send_line(Process& p, LineWriter& line) {
  if (p.channel() < 0) return -ENOTCONN;
  line.raw("\n");
  if (line.overflow()) return -EMSGSIZE;
  if (line.size() > sizeof p.out - p.out_size && flush(p) != 0) return -EPIPE;
  if (line.size() > sizeof p.out - p.out_size) {
    p.dropped_lines.fetch_add(1, std::memory_order_relaxed);
    return -ENOBUFS;
  }
  std::memcpy(p.out + p.out_size, line.data(), line.size());
  p.out_size += line.size();
  return flush(p);
}

int handle_lines(Process& p, bool& drain_asked) {
  int messages = 0;
  for (;;) {
    switch (take_line(p)) {
      case Taken::nothing: return messages;
      case Taken::too_long: return -EPROTO;
      case Taken::ignored: break;
      case Taken::message:
        if (p.message.kind == MessageKind::drain) {
          drain_asked = true;
          p.drain_budget_ms = p.message.budget_ms;
          ++messages;
        } else {
          p.ignored_lines.fetch_add(1, std::memory_order_relaxed);  // an answer that nobody asked for
        }
    }
  }
}

int read_channel(Process& p, bool& drain_asked) {
  const int fd = p.channel();
  if (fd < 0) return -ENOTCONN;
  (void)flush(p);
  int messages = 0;
  for (int i = 0; i < kReadsPerDispatch; ++i) {
    FdList unwanted;
    const ssize_t n = receive(p, fd, unwanted);
    if (n == -EAGAIN) break;
    const int handled = n > 0 ? handle_lines(p, drain_asked) : -ENOTCONN;
    if (handled < 0) {
      p.channel_number.store(0, std::memory_order_release);
      remember_channel(-1);
      close(fd);
      p.in_size = p.out_size = 0;
      break;
    }
    messages += handled;
  }
  return messages;
}

}  // namespace runmain::child

// epoll with a token a source. Invariant: a source that is removed is never reported again, also not from the
// batch that is being handled (tokens carry a serial). Non-goal: callbacks; the keeper switches on the kind.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "os/linux/fd.hpp"

namespace runmain::keeper {

enum class Source : std::uint8_t {
  head,
  signals,
  room,
  channel,
  connection,
  pipe,
  notify,
  main_pid,
  listener,
  observer
};

struct Token {
  Source source{};
  std::uint32_t serial = 0;  // of the connection, stream, child, listener or observer; never used twice
};

class Poller {
 public:
  static Result<Poller> make() {
    os::UniqueFd fd(epoll_create1(EPOLL_CLOEXEC));
    if (!fd) return Error::from_errno("epoll_create1", errno);
    Poller poller;
    poller.fd_ = std::move(fd);
    return poller;
  }

  // EPOLLIN and EPOLLOUT bits; 0 keeps the fd known (errors and hang-ups still wake, so use remove() to
  // rest).
  bool add(int fd, std::uint32_t events, Token token) { return control(EPOLL_CTL_ADD, fd, events, token); }
  bool change(int fd, std::uint32_t events, Token token) { return control(EPOLL_CTL_MOD, fd, events, token); }
  void remove(int fd) { epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

  struct Happened {
    Token token;
    std::uint32_t events = 0;
  };
  // Waits at most `timeout_ms` (-1: for ever) and calls `each(Happened)`.
  template <class F>
  void wait(int timeout_ms, F&& each) {
    const int n = epoll_wait(fd_.get(), batch_.data(), static_cast<int>(batch_.size()), timeout_ms);
    for (int i = 0; i < n; ++i) {
      const epoll_event& e = batch_[static_cast<std::size_t>(i)];
      each(Happened{Token{static_cast<Source>(e.data.u64 >> 32U), static_cast<std::uint32_t>(e.data.u64)},
                    e.events});
    }
  }

 private:
  bool control(int operation, int fd, std::uint32_t events, Token token) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = (static_cast<std::uint64_t>(token.source) << 32U) | token.serial;
    return epoll_ctl(fd_.get(), operation, fd, &e) == 0;
  }

  os::UniqueFd fd_;
  std::array<epoll_event, 128> batch_{};
};

}  // namespace runmain::keeper

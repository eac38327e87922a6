// Small servers in processes of their own, and a listener, for the tests of readiness.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>

#include "os/linux/fd.hpp"
#include "os/linux/process_tree.hpp"
#include "os/linux/sockets.hpp"
#include "support/catch.hpp"

namespace runmain::test {

// A process that carries a tag, runs `body` and is killed and waited for at the end.
class Child {
 public:
  Child(std::uint64_t tag, const std::function<void()>& body) : tag_(tag), pid_(fork()) {
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const rlimit64 limit{tag, tag};
    prlimit64(0, static_cast<__rlimit_resource>(RLIMIT_RTTIME), &limit, nullptr);
    body();
    _exit(0);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }
  std::uint64_t tag() const { return tag_; }

 private:
  std::uint64_t tag_;
  pid_t pid_;
};

inline std::uint64_t next_tag() {
  static os::TagSource source;
  return source.next();
}

inline os::Listener listener(os::AddressKind kind = os::AddressKind::tcp, const std::string& path = {}) {
  os::Address address;
  address.kind = kind;
  if (path.empty()) address.host = "127.0.0.1";
  address.path = path;
  auto made = os::open_listener(address);
  if (!made) FAIL(made.error().text());
  return std::move(*made);
}

// Reads until the peer has sent all it wants: the end, or the blank line of a request. Returns the bytes.
inline std::size_t read_request(int fd) {
  std::string all;
  char bytes[512];
  for (ssize_t n = 0; (n = read(fd, bytes, sizeof bytes)) > 0;) {
    all.append(bytes, static_cast<std::size_t>(n));
    if (all.find("\r\n\r\n") != std::string::npos) break;
  }
  return all.size();
}

// Accepts and answers each connection with `answer`, one after the other, for ever. A byte for each
// connection that sent something goes to `told`, 'd', for each that did not, 'c'.
inline void serve(int listening, const std::string& answer, int told = -1) {
  for (;;) {
    const int fd = accept(listening, nullptr, nullptr);
    if (fd < 0) continue;
    const char kind = read_request(fd) > 0 ? 'd' : 'c';
    if (kind == 'd') (void)!send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
    close(fd);
    if (told >= 0) (void)!write(told, &kind, 1);
  }
}

// Has the socket in an epoll set and waits; accepts and closes if asked.
inline void serve_epoll(int listening, std::uint32_t flags, bool accepts, int told = -1) {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN | flags;
  epoll_ctl(set, EPOLL_CTL_ADD, listening, &event);
  if (told >= 0) (void)!write(told, "r", 1);
  while (!accepts) pause();
  for (;;) {
    epoll_event got{};
    if (epoll_wait(set, &got, 1, -1) != 1) continue;
    const int fd = accept4(listening, nullptr, nullptr, 0);
    if (fd < 0) continue;
    read_request(fd);
    close(fd);
  }
}

struct Pipe {
  os::UniqueFd read_end;
  os::UniqueFd write_end;
  Pipe() {
    int fds[2];
    REQUIRE(pipe(fds) == 0);
    read_end.reset(fds[0]);
    write_end.reset(fds[1]);
  }
  // The next byte, waiting for it for at most 10 s; 0 if there is none.
  char get() const {
    pollfd p{read_end.get(), POLLIN, 0};
    char c = 0;
    if (poll(&p, 1, 10'000) == 1 && read(read_end.get(), &c, 1) == 1) return c;
    return 0;
  }
  // What is there now.
  std::string drain() const {
    std::string all;
    for (pollfd p{read_end.get(), POLLIN, 0}; poll(&p, 1, 0) == 1;) {
      char bytes[256];
      const ssize_t n = read(read_end.get(), bytes, sizeof bytes);
      if (n <= 0) break;
      all.append(bytes, static_cast<std::size_t>(n));
    }
    return all;
  }
  void put() const { REQUIRE(write(write_end.get(), "x", 1) == 1); }
};

inline std::size_t open_fds() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

}  // namespace runmain::test

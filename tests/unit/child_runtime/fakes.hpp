// What the tests of child_runtime play with: a process of its own for each case, because the library keeps
// one state a process, and a supervisor's end of the channel and of NOTIFY_SOCKET.
//
// Everything waits on facts, with kGuardMs as the guard that turns a hang into a failure.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace fakes {

inline constexpr int kGuardMs = 20'000;

// An fd with an owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(o.release()) {}
  Fd& operator=(Fd&& o) noexcept;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// True once `fd` has one of `events`, false after the guard's time.
bool wait_for(int fd, short events);

// A forked process that runs `body` and ends; it must not use Catch. What it returns, and how it ended, comes
// back by finish(). The test itself never calls the library's stateful functions, so that each child begins
// afresh.
class Child {
 public:
  explicit Child(const std::function<std::string()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // The text; with " (status N)" behind it unless it exited with 0, and "timeout" if it did not come.
  std::string finish();

 private:
  pid_t pid_ = -1;
  Fd out_;
};

// One connection of a child.
class Peer {
 public:
  explicit Peer(Fd fd) : fd_(std::move(fd)) {}
  bool connected() const { return fd_.get() >= 0; }
  int fd() const { return fd_.get(); }
  // The next line without its newline; "closed" at the end, "timeout" after the guard's time.
  std::string line();
  // True if all was sent.
  bool send(const std::string& text, const std::vector<int>& fds = {});
  void hang_up() { fd_.reset(); }

 private:
  Fd fd_;
  std::string in_;
};

// The supervisor's listening socket, with an abstract name of its own.
class Channel {
 public:
  Channel();
  const std::string& name() const { return name_; }
  Peer accept();
  // Whether nobody has connected so far.
  bool untouched() const;

 private:
  std::string name_;
  Fd fd_;
};

// NOTIFY_SOCKET, abstract.
class Notify {
 public:
  Notify();
  const std::string& name() const { return name_; }
  std::string message();
  bool empty() const;

 private:
  std::string name_;
  Fd fd_;
};

inline const std::string kNonce = "00112233445566778899aabbccddeeff";

// In a child: the environment of a supervised process; removes what the test's own process may have.
void clear_environment();
void supervise(const std::string& channel, const std::string& nonce = kNonce);

std::string role_line(const std::string& listeners = "[]", const std::string& instance = "i-1");

// A listening TCP socket on a free port of 127.0.0.1, and its port.
Fd listen_tcp();
int port_of(int fd);

// How many fds this process has open.
int open_fds();

}  // namespace fakes

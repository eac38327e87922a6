// A program that is run as a service with `adopt = true` would be: preloaded, with listeners from fd 3 on and
// their addresses and cookies in its environment, and a channel where it can ask for them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace adopted {

// A listening (TCP) or bound (UDP) socket. `text` is its address as RUNMAIN_ADOPT has it.
class Listener {
 public:
  explicit Listener(const std::string& host, int type = 1, bool v6only = false);
  Listener(Listener&& other) noexcept;
  ~Listener();
  int fd() const { return fd_; }
  std::uint16_t port() const { return port_; }
  std::string port_text() const { return std::to_string(port_); }
  std::string text() const;
  std::string cookie() const;  // hexadecimal
  bool is_listening() const;
  bool is_nonblocking() const;
  int backlog() const;  // as the kernel has it

 private:
  std::string host_;
  int type_ = 0;
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

// Where the process of the test answers as the keeper would. One question is answered, with the fds.
class Channel {
 public:
  explicit Channel(std::vector<int> fds);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  const std::string& name() const { return name_; }
  // What was asked; empty: nobody has.
  std::string asked();

 private:
  std::string name_;
  int fd_ = -1;
  pid_t pid_ = -1;  // who answers
  int out_ = -1;
};

struct World {
  std::vector<const Listener*> listeners;
  std::string channel;                   // RUNMAIN_CHANNEL; empty: none
  std::vector<std::string> environment;  // more of it, or other values
  bool preloaded = true;
};

// Runs t_bind with these words to its end. What it printed, and " (status N)" behind it unless it ended with
// 0.
std::string run(const World& world, const std::vector<std::string>& words);

}  // namespace adopted

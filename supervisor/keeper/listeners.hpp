// The listening sockets. They are made before the first child and live as long as the keeper, through every
// generation and every head. Invariant: one socket an id; unix socket files that we made are removed with
// theirs.
#pragma once

#include <map>
#include <string>

#include "keeper/protocol.hpp"
#include "os/linux/sockets.hpp"

namespace runmain::keeper {

class Listeners {
 public:
  ~Listeners() { close_all(); }

  // Finds or makes the socket. Opened.error is 0 or the errno.
  Opened open(const OpenListener& wanted);
  void close(const std::string& id);
  void close_all();
  // The fd, -1 if there is none of this id.
  int fd(const std::string& id) const;

 private:
  struct Held {
    os::Listener listener;
    std::string unlink_path;
  };
  std::map<std::string, Held> held_;
};

}  // namespace runmain::keeper

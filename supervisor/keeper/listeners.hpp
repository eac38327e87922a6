// The listening sockets. They are made before the first child and live as long as the keeper, through every
// generation and every head. Invariant: one socket an id, open as long as the head wants it or a child that
// got it is there: a port that is let go and wanted back meanwhile is the same socket. Unix socket files that
// we made, and that nobody has replaced, are removed with theirs.
#pragma once

#include <sys/types.h>

#include <cstdint>
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
  // As soon as no child has it.
  void close(const std::string& id);
  void close_all();
  // A child that gets it begins and ends.
  void hold(const std::string& id);
  void release(const std::string& id);
  // The fd, -1 if there is none of this id.
  int fd(const std::string& id) const;

 private:
  struct Held {
    os::Listener listener;
    std::string unlink_path;
    dev_t device = 0;  // of the unix socket file
    ino_t inode = 0;
    std::uint32_t children = 0;
    bool closing = false;
  };
  void drop(std::map<std::string, Held>::iterator at);
  std::map<std::string, Held> held_;
};

}  // namespace runmain::keeper

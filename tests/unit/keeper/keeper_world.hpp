// The real runmain-keeper with a test as its head. Waiting is on what it tells; every wait has a guard, which
// only a failure reaches. The destructor ends it and all its children.
#pragma once

#include <sys/types.h>

#include <deque>
#include <string>
#include <variant>
#include <vector>

#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"
#include "support/catch.hpp"

namespace runmain::keeper::test {

class KeeperWorld {
 public:
  // `inherited`: so many fds more are open in the keeper when it begins.
  explicit KeeperWorld(int inherited = 0);
  ~KeeperWorld();
  KeeperWorld(const KeeperWorld&) = delete;
  KeeperWorld& operator=(const KeeperWorld&) = delete;

  pid_t pid() const { return pid_; }
  // Kills the head, and is the next one.
  Welcome take_over();

  void request(const Request& request, const std::vector<int>& fds = {});
  void order(Order order) { request(Numbered{++number_, std::move(order)}); }
  Opened open(const std::string& id, bool per_slot, std::uint8_t kind = 0, const std::string& path = {});
  // A copy of a plain TCP socket on 127.0.0.1.
  os::UniqueFd socket_of(const std::string& id);
  // Starts `argv` with these sockets from fd 3 on; stdout is the keeper's.
  Started spawn(std::uint32_t slot, std::vector<std::string> argv, std::vector<std::string> listeners,
                bool print = false);
  ChildKey key(std::uint32_t slot) const { return ChildKey{ServiceId{1}, slot, 1, attempts_.at(slot)}; }
  // Until it is told that it died.
  void kill_child(std::uint32_t slot);
  // A connection to the channel, its number, and what it says first.
  struct Connection {
    os::UniqueFd socket;
    std::uint64_t number = 0;
  };
  Connection connect_channel(const std::string& line = "a line\n");
  // Orders the end, without waiting for it. Then its exit status.
  void quit(std::int32_t status);
  int exit_status();
  bool has_exited();

  bool acknowledges = true;
  // The next happening of this kind; others that come before it are dropped. All are acknowledged, if so.
  template <class T>
  T wait() {
    for (;;) {
      const What what = next();
      if (const T* found = std::get_if<T>(&what)) return *found;
    }
  }
  // What the keeper has told until it has executed all orders so far.
  std::vector<What> told();
  // What was printed, up to and with a line that has this text.
  std::string printed(const std::string& text);

 private:
  void welcome_head();
  Message receive();
  Opened await_opened();
  What next();

  std::string name_;
  os::UniqueFd listener_;
  os::UniqueFd channel_;
  os::UniqueFd socket_;
  os::UniqueFd output_;
  pid_t pid_ = -1;
  int status_ = -1;  // once it was waited for
  pid_t head_ = 0;
  Welcome welcome_;
  std::uint64_t number_ = 0;
  std::vector<std::uint32_t> attempts_;
  std::deque<Happening> early_;
  std::vector<os::UniqueFd> received_;  // with the last message
  std::string scratch_;
};

// Listens at an abstract name.
os::UniqueFd listen_at(const std::string& name, int type);
// A TCP connection to the loopback that has sent a request.
os::UniqueFd ask(std::uint16_t port);
// Whether an answer comes.
bool is_answered(const os::UniqueFd& client);
std::uint16_t port_of(const Opened& opened);

}  // namespace runmain::keeper::test

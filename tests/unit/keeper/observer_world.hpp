// Observers of the real keeper, with the test in the place of each of them: their process (t_head) gives away
// its socket and waits to be killed.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

#include "keeper/observer_messages.hpp"
#include "keeper_world.hpp"

namespace runmain::keeper::test {

class Observer {
 public:
  Observer(pid_t pid, os::UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}

  pid_t pid() const { return pid_; }
  void say(const ObserverSays& says) const;
  void say_bytes(const std::string& bytes) const;
  // The next message, and what came with it.
  ObserverMessage hear();
  const std::vector<os::UniqueFd>& fds() const { return fds_; }
  // The next one must be of this kind.
  template <class T>
  T hear() {
    const ObserverMessage message = hear();
    REQUIRE(std::holds_alternative<T>(message));
    return std::get<T>(message);
  }
  // Says Hello, and takes in what comes first.
  ObserverWelcome greet();
  void kill() const { ::kill(pid_, SIGKILL); }
  // The keeper has closed its end.
  bool is_dropped();

 private:
  pid_t pid_;
  os::UniqueFd socket_;
  std::vector<os::UniqueFd> fds_;
  std::string scratch_;
};

class Observers {
 public:
  explicit Observers(KeeperWorld& world);

  // From now on the keeper has one, with this configuration.
  void configure(const std::string& text = "what it is to do", std::vector<std::string> listeners = {});
  // The next one that the keeper has started.
  Observer next();

 private:
  KeeperWorld& world_;
  std::string name_;
  os::UniqueFd listener_;
};

// What came with a claim: `line`, and the fds beside it.
struct Granted {
  os::UniqueFd connection;
  std::string line;
  std::vector<os::UniqueFd> fds;
};
// Grants the role of this slot's child to a new connection; `by_path`: it is to hear where the mailbox is.
Granted claim(KeeperWorld& world, std::uint32_t slot, std::vector<std::string> listeners = {},
              bool mailbox = true, bool by_path = false);

}  // namespace runmain::keeper::test

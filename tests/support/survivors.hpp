// For tests of what becomes of workers whose keeper is killed.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

namespace runmain::test {

// Nobody else ends these, however the test goes.
class Orphans {
 public:
  explicit Orphans(std::vector<pid_t> pids) : pids_(std::move(pids)) {}
  ~Orphans() {
    for (const pid_t pid : pids_) kill(pid, SIGKILL);
    for (const pid_t pid : pids_) wait_gone(pid);
  }
  Orphans(const Orphans&) = delete;
  Orphans& operator=(const Orphans&) = delete;
  void forget() { pids_.clear(); }

 private:
  std::vector<pid_t> pids_;
};

inline int rounds() {
  const char* text = std::getenv("RUNMAIN_TEST_ROUNDS");
  return text != nullptr ? std::atoi(text) : 5;
}

inline std::string pool(const std::string& on_death, int workers, const std::string& more = "") {
  return "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\", "
         "\"--count\"]\nlisten = \"127.0.0.1:" +
         std::to_string(free_port()) + "\"\nworkers = " + std::to_string(workers) +
         "\nready = { notify = true }\nlog = { file = \"web.log\" }\non_keeper_death = \"" + on_death +
         "\"\n" + more;
}

inline void kill_keeper(Supervised& up) {
  up.signal(SIGKILL);
  REQUIRE(up.wait_exit() == 128 + SIGKILL);
}

// Who listens here would be refused: it is free.
inline bool can_bind(const std::string& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  const bool ok = bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 && listen(fd, 1) == 0;
  close(fd);
  return ok;
}

inline std::vector<pid_t> sorted(std::vector<pid_t> pids) {
  std::sort(pids.begin(), pids.end());
  return pids;
}

}  // namespace runmain::test

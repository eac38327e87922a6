// The head: its process, its socket, and its next life.
//
// Invariant: at most one head lives; a new one is started when the old one has been waited for. Three crashes
// within kColdWindow make the next head start cold (without the state log), and further ones wait, doubling
// up to kHeadBackoffMax, while the children serve on. A SIGKILL from outside is not a crash; kDeathsMax of
// them wait too.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "keeper/poller.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/spawn.hpp"

namespace runmain::keeper {

inline constexpr Duration kColdWindow = std::chrono::seconds(10);
inline constexpr std::size_t kColdDeaths = 3;
inline constexpr std::size_t kDeathsMax = 200;  // within the window, of any kind
inline constexpr Duration kHeadBackoffMax = std::chrono::seconds(10);

class HeadLink {
 public:
  HeadLink(Poller& poller, os::Spawner& spawner, std::vector<std::string> argv);

  // Starts a head if none lives and its time has come.
  // False: it was due and could not be started.
  bool start_if_due(Time now);
  Time due() const { return pid_ == 0 ? due_ : kNever; }
  pid_t pid() const { return pid_; }
  int socket() const { return socket_.get(); }
  std::uint32_t takeovers() const { return starts_ == 0 ? 0 : starts_ - 1; }
  bool cold() const { return cold_; }
  // A head that said Hello may be sent to.
  bool welcomed() const { return welcomed_; }
  void set_welcomed() {
    welcomed_ = true;
    before_.clear();
  }

  // One message; false: the socket is full (EPOLLOUT is wanted now) or the head is gone.
  bool send(const Message& message, const std::vector<int>& fds = {});
  // nullptr-like: ok() false with EAGAIN when there is nothing; empty bytes at end of file.
  Result<os::Received> receive();
  void want_write(bool on);

  // The process was waited for: `status` is its wait status.
  void died(int status, Time now);
  void close_socket();
  void kill();

  // The next head is of this program; for good once it has said Hello; fall_back() if it cannot: then the one
  // before is next. False: there is none.
  void use(std::string program, Time now);
  bool fall_back(Time now);
  // For an upgrade (keeper_state.hpp): what is saved and resumed.
  const std::vector<std::string>& argv() const { return argv_; }
  const std::string& before() const { return before_; }
  std::uint32_t starts() const { return starts_; }
  Time started() const { return started_; }
  void resume(std::uint32_t starts, std::string before);

 private:
  Poller& poller_;
  os::Spawner& spawner_;
  std::vector<std::string> argv_;
  std::string before_;  // argv[0] until use()
  os::UniqueFd socket_;
  pid_t pid_ = 0;
  std::uint32_t starts_ = 0;
  Time started_{};
  Time due_{};
  Duration backoff_{};
  struct Death {
    Time time{};
    bool suspicious = false;
  };
  std::deque<Death> deaths_;
  bool cold_ = false;
  bool welcomed_ = false;
  bool writing_ = false;
  std::string scratch_;
  std::string encoded_;
};

}  // namespace runmain::keeper

// runmain-observer's process: the keeper's messages on fd 3 become calls of telemetry's Observer, its answers
// go back, and its socket is served.
//
// Invariant: what the keeper does not take at once waits, bounded; when its socket is at its end so are we.
// Thread: one. Non-goal: an observer of another version than its keeper.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/observer_finder.hpp"
#include "keeper/observer_messages.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/observer.hpp"
#include "telemetry/observer_server.hpp"
#include "telemetry/receiver.hpp"

namespace runmain::app {

class ObserverProcess {
 public:
  // `keeper`: the SOCK_SEQPACKET socket.
  explicit ObserverProcess(os::UniqueFd keeper, telemetry::ObserverLimits limits = {});

  // Until the keeper has gone, or has told us to finish. Returns the exit status.
  int run();

 private:
  void read_messages();
  void take(keeper::ObserverMessage message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::ObserverWelcome& message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::ObserverConfiguration& message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::MailboxMade& message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::ChildGone& message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::TreeGone& message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::MailboxesLost& message, std::vector<os::UniqueFd>& fds);
  void on(const keeper::FinishObserving& message, std::vector<os::UniqueFd>& fds);
  void listen(const std::vector<std::string>& names, std::vector<os::UniqueFd>& fds,
              const std::string& secret);
  void receive_on(os::UniqueFd listener, const std::string& secret);

  // In development: the doctor's rules on what comes.
  void find_faults();

  void finish_receiving();
  void finish_observing();
  void on_keeper_gone();
  void tell_last_words();
  void tell_what_waits() const;

  void say(const keeper::ObserverSays& words);
  void write_messages();
  void end(int status, const std::string& why = {});

  os::Loop loop_;
  os::UniqueFd keeper_;
  std::string buffer_;
  std::deque<std::string> unsaid_;
  bool finishing_ = false;  // the observer is
  bool finished_ = false;
  bool keeper_gone_ = false;
  int status_ = 0;
  std::unique_ptr<os::Poll> poll_;
  telemetry::Observer observer_;
  telemetry::ObserverServer server_;
  std::unique_ptr<telemetry::Receiver> receiver_;
  std::unique_ptr<os::Timer> finish_timer_;
  ObserverFinder finder_;
  std::uint64_t found_up_to_ = 0;  // number of the last span that it has looked at
  std::unique_ptr<os::Timer> find_timer_;
  bool find_set_ = false;
  std::shared_ptr<void> added_;  // none in production
  Time receive_by_{};
  Time finish_by_{};
};

}  // namespace runmain::app

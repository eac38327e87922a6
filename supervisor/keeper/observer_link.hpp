// The observer: its process, its socket, and its next life (keeper/observer_messages.hpp).
//
// Invariant: at most one observer lives; a new one is started when the old one has been waited for, and is
// told everything anew. What its socket does not take waits as marks, here and in Mailboxes: nobody waits for
// an observer, but runmain's end, for kFinishBudget and kFinishGrace at most, or kHurryGrace. One that dies
// while runmain ends has no successor. Non-goal: an observer that lives and reads nothing is left alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/listeners.hpp"
#include "keeper/mailboxes.hpp"
#include "keeper/observer_messages.hpp"
#include "keeper/poller.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/spawn.hpp"

namespace runmain::keeper {

inline constexpr Duration kObserverBackoffMin = std::chrono::milliseconds(100);
inline constexpr Duration kObserverBackoffMax = std::chrono::seconds(1);  // a mailbox holds but seconds
inline constexpr Duration kObserverToldEvery = std::chrono::minutes(1);   // of one that ends again and again
inline constexpr Duration kObserverWell = std::chrono::seconds(10);       // after such a life none is waited
inline constexpr Duration kFinishBudget = std::chrono::seconds(2);
inline constexpr Duration kFinishGrace = std::chrono::seconds(1);  // from its budget's end to SIGKILL
inline constexpr Duration kHurryGrace =
    std::chrono::milliseconds(500);  // where a person does not want to wait

class ObserverLink {
 public:
  ObserverLink(Poller& poller, os::Spawner& spawner, const Listeners& listeners, Mailboxes& mailboxes);

  // From now on there is an observer. `memory` holds what it says; without it nothing happens.
  void configure(ConfigureObserver what, os::UniqueFd memory);

  // Starts an observer if there shall be one, none lives and its time has come.
  void start_if_due(Time now);
  // When start_if_due() or is_over() has something to do next.
  Time due() const;
  pid_t pid() const { return pid_; }

  void on_socket(std::uint32_t serial, std::uint32_t events);
  // Tells what was not told, as far as the socket takes it.
  void tell();
  // The process was waited for: `status` is its wait status.
  void died(int status, Time now);

  // Another program takes its place, and goes on where it stands.
  void retire(const std::string& program);

  // For an upgrade (keeper_state.hpp). restore(): into an empty one; the observer that lived has been killed.
  ObserverState save() const;
  void restore(const ObserverState& state);

  // runmain ends and no child lives: the observer, if one lives, sends what it can and ends.
  void finish(Time now);
  // A person does not want to wait for what is sent: what is left goes to disk.
  void hurry(Time now);
  // Nobody is waited for any more. Kills one whose time is over.
  bool is_over(Time now);

 private:
  bool make_cursors();
  void read_messages(int limit);
  bool take(const ObserverSays& says);
  bool tell_configuration();
  bool send(const ObserverMessage& message, const std::vector<int>& fds = {});
  void want_write(bool on);
  void close_socket();
  void drop();

  Poller& poller_;
  os::Spawner& spawner_;
  const Listeners& listeners_;
  Mailboxes& mailboxes_;
  ConfigureObserver configuration_;
  os::UniqueFd configuration_memory_;
  os::UniqueFd cursors_;  // the observers'; it outlives them
  os::UniqueFd null_;
  os::UniqueFd socket_;
  pid_t pid_ = 0;
  std::uint32_t starts_ = 0;
  Time started_{};
  Time due_{};
  Duration backoff_{};
  Time told_{};           // when it was last said that it ended
  bool greeted_ = false;  // it has said Hello
  bool writing_ = false;  // its socket is full
  bool welcome_told_ = false;
  bool configuration_told_ = false;
  bool finishing_ = false;
  bool finish_told_ = false;
  bool hurried_ = false;
  bool retiring_ = false;
  MailboxesLost lost_told_;
  Time deadline_ = kNever;  // of finishing
  std::string scratch_;
  std::string encoded_;
};

}  // namespace runmain::keeper

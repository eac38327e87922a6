// The keeper: the hands of runmain. It owns everything that must not die with a decision-maker: children and
// their wait statuses, listening sockets, output, connections, and the head's own memory. It decides nothing,
// but for what nobody else is there to decide: when a stop is asked for and no head answers within
// kHeadlessStop, it stops all children itself; an upgrade whose head does not come to a word is taken back;
// and where the first head cannot begin, what was taken over is left as it was found.
//
// Invariant: nothing that a child, a client or a head sends can end it. Thread: one. Start reading at run().
#pragma once

#include <sys/resource.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "keeper/channel_hub.hpp"
#include "keeper/children.hpp"
#include "keeper/head_link.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/observer_link.hpp"
#include "keeper/survivors.hpp"
#include "keeper/upgrade.hpp"

namespace runmain::keeper {

inline constexpr Duration kHeadlessStop = std::chrono::seconds(5);
inline constexpr Duration kHeadlessGrace =
    std::chrono::seconds(10);                                    // from SIGTERM to SIGKILL, without a head
inline constexpr Duration kQuitGrace = std::chrono::seconds(5);  // for the head to end after QuitKeeper
inline constexpr std::size_t kSignalsPendingMax = 16;

struct KeeperOptions {
  int control_fd = -1;  // listening; handed to each head
  int channel_fd = -1;  // listening; ours
  int lock_fd = -1;     // held for our life
  int journal_fd = -1;
  rlimit original_nofile{};       // RLIMIT_NOFILE as runmain was started: what children get back
  std::string adoption;           // path of the adoption table; empty: nothing is written down
  std::vector<std::string> head;  // argv
};

class Keeper {
 public:
  // Takes the process over: signals, subreaper, fds 3 … 127. On failure nothing was started.
  static Result<std::unique_ptr<Keeper>> make(const KeeperOptions& options);
  // In the process of the keeper that has saved this, right after execve(2): goes on where it stood. On
  // failure everything is lost, which is why it was checked (upgrade.hpp).
  static Result<std::unique_ptr<Keeper>> resume(const KeeperState& state);
  // Until QuitKeeper, or a stop without a head. Returns the exit status.
  int run();

 private:
  Keeper() = default;
  Result<void> make_loop();
  void make_rooms(os::UniqueFd channel, std::vector<std::string> head);
  Result<void> make_memory();
  void take_over(const KeeperOptions& options, const std::string& channel);
  void write_down(bool ahead = false);
  void describe_ourselves(AdoptionTable& table);
  void write_ahead(const Order& order);
  void end_record();
  std::uint32_t adopt_output(Survivors::Worker& worker);
  void head_has_begun();
  void head_is_gone();
  void leave_survivors_if_refused(int status);
  Result<void> take_signals();
  int timeout_ms(Time now) const;
  void handle(const Poller::Happened& happened);
  void on_signals();
  void on_signal(int signal, bool typed);
  void tell_signal(int signal, bool typed);
  void stop_and_continue();
  void back_in_foreground();
  bool can_be_continued() const;
  void reap();
  void on_head(std::uint32_t events);
  void on_request(Request& request, std::vector<os::UniqueFd>& fds);
  void welcome();
  void execute(Numbered& numbered, std::vector<os::UniqueFd>& fds);
  void acknowledge(std::uint64_t number);
  void tell_head();
  bool send_answers();
  void policy(Time now);
  void end(Time now);
  void stop_without_head(Time now);
  void quit(int status, Time now);

  // keeper_upgrade.cpp
  KeeperState save() const;
  void replace_programs(const ReplacePrograms& order, Time now);
  void go_on_upgrading(Time now);
  bool given_up_to_end();
  void use_programs(Time now);
  std::optional<std::string> execute_anew(const std::string& program);
  void start_head(Time now);
  Time hello_due() const;
  void head_failed_while_upgrading(int status);
  void tell_upgrade(std::string error);

  Poller poller_;
  std::unique_ptr<os::Spawner> spawner_;
  UserTerminal terminal_;
  Happenings happenings_;
  Listeners listeners_{poller_, happenings_};
  Mailboxes mailboxes_{mailboxes_max()};
  struct Answer {
    Opened opened;
    bool with_fd = false;
  };
  std::deque<Answer> answers_;  // of OpenListener, that the head's socket has not taken; the head awaits each
  std::unique_ptr<Streams> streams_;
  std::unique_ptr<Children> children_;
  std::unique_ptr<ChannelHub> hub_;
  std::unique_ptr<HeadLink> head_;
  std::unique_ptr<ObserverLink> observer_;
  std::unique_ptr<Upgrade> upgrade_;
  os::UniqueFd signals_;
  os::UniqueFd control_;
  os::UniqueFd lock_;
  os::UniqueFd journal_;
  os::UniqueFd state_;
  os::UniqueFd table_;
  os::UniqueFd history_;
  rlimit original_nofile_{};
  std::string secret_;
  AdoptionFile adoption_;  // no path: there is none
  std::string config_;
  struct Written {
    std::uint64_t children = 0;
    std::uint64_t listeners = 0;
    std::uint64_t mailboxes = 0;
    pid_t head = 0;
    pid_t observer = 0;
    bool operator==(const Written&) const = default;
  };
  struct Named {
    std::string boot;
    os::ProcessName keeper;
    os::ProcessName head;
    os::ProcessName observer;
  };
  Named named_;         // as it says who we are
  Written written_;     // as the adoption table says it
  Time write_again_{};  // after a failure
  bool write_fault_told_ = false;
  os::ProcessName unread_of_;  // whose unread output no head of ours has taken yet
  bool begun_ = false;         // the head is at work
  std::uint64_t executed_ = 0;
  std::size_t signals_pending_ = 0;
  Time next_sweep_ = kNever;
  Duration stood_{};          // by Ctrl-Z, and not told
  Time stop_asked_ = kNever;  // the oldest stop signal that no head has acknowledged
  int stop_signal_ = 0;
  bool nohup_ = false;  // SIGHUP was ignored when we started: it does not say that a terminal is gone
  Time headless_kill_ = kNever;  // stopping without a head: when SIGKILL comes
  bool headless_ = false;
  bool quitting_ = false;
  bool head_over_ = false;  // not waited for any more
  Upgrading upgrading_ = Upgrading::no;
  Time quit_deadline_ = kNever;
  int status_ = 0;
  bool leaves_ = false;  // what was taken over stays as it was found
  bool done_ = false;
};

}  // namespace runmain::keeper

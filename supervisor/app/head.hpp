// The head of runmain: wires the rooms together and decides nothing.
//
//   keeper ──happenings──►┐
//   watcher ──changes────►├─ feed(Event) ─► core::Machine ─► Effects ─► Performer ─► keeper
//   control ──commands───►┘                      └─► Facts ─► Narrator, control clients
//
// One turn of the loop gathers Events; flush() then writes them to the state log, and only then carries the
// Effects out and acknowledges the happenings. So a head that dies at any instruction leaves a successor
// everything it needs. Thread: one.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/browser.hpp"
#include "app/configuration.hpp"
#include "app/narrator.hpp"
#include "app/observer_client.hpp"
#include "app/options.hpp"
#include "app/own_telemetry.hpp"
#include "app/stand_ins.hpp"
#include "app/suspects.hpp"
#include "app/telemetry.hpp"
#include "app/uncounted.hpp"
#include "control/server.hpp"
#include "core/machine.hpp"
#include "drive/examiner.hpp"
#include "drive/happenings.hpp"
#include "drive/health.hpp"
#include "drive/journal.hpp"
#include "drive/keeper_client.hpp"
#include "drive/keyboard.hpp"
#include "drive/keys.hpp"
#include "drive/load.hpp"
#include "drive/log.hpp"
#include "drive/output.hpp"
#include "drive/output_terminal.hpp"
#include "drive/performer.hpp"
#include "drive/queue_watch.hpp"
#include "drive/state_log.hpp"
#include "drive/watcher.hpp"
#include "keeper/board.hpp"
#include "os/linux/memfd_cell.hpp"
#include "os/linux/other_process.hpp"

namespace runmain::app {

class Head final : public control::Backend {
 public:
  // `keeper_socket` is fd 3.
  Head(HeadOptions options, os::UniqueFd keeper_socket);
  ~Head() override;

  // Until the core says Quit or the keeper is gone. Returns the exit status of this process.
  int run();

  // control::Backend
  core::Snapshot snapshot() override { return machine_.snapshot(); }
  std::vector<std::string> listening(ServiceId service) override;
  control::Queues queues() override;
  control::OwnTelemetryLost own_telemetry_lost() override;
  std::string instance_id(ChildKey key) override;
  control::Identity identity() override;
  std::uint64_t command(core::CommandVerb verb, std::vector<ServiceId> services, int signal,
                        std::uint32_t number) override;
  std::uint64_t upgrade(const std::string& folder) override;
  Result<void> check_scale(const std::vector<ServiceId>& services, std::uint32_t workers) override;
  void set_doctor(const std::vector<ServiceId>& services, const std::string& folder) override;
  std::optional<control::RequestsTold> requests(ChildKey key) override;
  std::vector<control::LogLine> last_words(ChildKey key, std::size_t count) override;
  std::vector<control::LogLine> recent(const std::vector<ServiceId>& services, std::size_t count) override;
  control::Json explain(ServiceId service, const std::string& path) override;
  Result<void> apply() override;

 private:
  Result<void> connect();
  void make_rooms();
  Result<void> begin();
  bool take_over();
  Result<void> start_fresh();
  Result<void> adopt();
  void on_happening(const keeper::Happening& happening);
  void on_keeper_lost();
  void leave_unread();
  int fd_of(keeper::WelcomeFd which) const;
  void on_timer();
  void note_standstill();
  void stood_still(Duration span);
  void feed(const core::Event& event, std::uint64_t happening = 0);
  void flush();
  void commit();
  void carry_out(const core::Effect& effect);
  void prepare_facts();
  void save_table();
  void tell_facts();
  void trace_facts();
  void checkpoint_if_wanted();
  void take_ports();
  void use(const Configuration& configuration);
  void name_services(Configuration& configuration);
  void resume_journal();
  void on_change(core::Changed changed);
  void make_suspects();
  void make_uncounted();
  void read_again();
  void watch_services();
  void open_browser();
  void tell_browser(const core::Fact& fact);
  void follow_output();
  std::vector<std::string> last_words(ServiceId service);
  std::string advice(const core::Fact& failed);
  std::vector<std::string> words_of_failed(const core::Fact& failed);

  // the observer (head_telemetry.cpp)
  void make_telemetry(std::vector<std::string> environment, drive::Bootstrap bootstrap);
  void refresh_telemetry();
  void begin_own_telemetry();
  void note_start(const core::Fact& fact);

  // the person at the terminal (head_terminal.cpp)
  void make_keys();
  void set_up_terminal();
  bool on_signal(const keeper::GotSignal& signal);
  bool any_at_pty() const;
  std::vector<keeper::TerminalSeen> look_at_terminals();
  void note_terminals(const std::vector<keeper::TerminalSeen>& seen);
  const keeper::TerminalSeen* owner_in(const std::vector<keeper::TerminalSeen>& seen) const;
  std::optional<drive::Keys::Owner> owner_of_keys();
  std::optional<ChildKey> anyone_at_pty() const;
  void on_key(drive::KeyAction action);
  void pause(bool on);
  void on_held(const core::Held& held);
  void say_keys();

  static control::LogLine log_line(const drive::OutputLine& line);
  void say(const Line& line);
  void say_start();
  void finish(int status);

  HeadOptions options_;
  os::Loop loop_;
  drive::KeeperClient keeper_;
  drive::KeeperClient::Greeting greeting_;
  keeper::Board* board_ = nullptr;
  os::ProcessName keeper_name_;
  drive::ServiceTable services_;
  drive::ChildInfos children_;
  std::unique_ptr<drive::OutputTerminal> terminal_;
  std::unique_ptr<drive::Log> lines_;
  std::unique_ptr<drive::Output> output_;
  std::unique_ptr<drive::Channel> channel_;
  std::unique_ptr<drive::Readiness> readiness_;
  std::unique_ptr<drive::Health> health_;
  std::unique_ptr<drive::Examiner> examiner_;
  std::unique_ptr<drive::Load> load_;
  std::unique_ptr<drive::QueueWatch> queues_;
  drive::FileTable table_;
  std::unique_ptr<os::MemfdCell> table_cell_;
  std::unique_ptr<drive::Watcher> watcher_;
  std::unique_ptr<Suspects> suspects_;
  std::unique_ptr<Uncounted> uncounted_;
  std::unique_ptr<drive::Performer> performer_;
  std::unique_ptr<drive::HappeningReader> reader_;
  std::unique_ptr<drive::StateLog> log_;
  std::unique_ptr<drive::JournalWriter> journal_;
  std::unique_ptr<StandIns> stand_ins_;
  std::unique_ptr<Browser> browser_;
  std::unique_ptr<Telemetry> telemetry_;
  std::unique_ptr<ObserverClient> observer_;
  std::unique_ptr<OwnTelemetry> own_telemetry_;
  std::unique_ptr<control::Server> server_;
  std::unique_ptr<os::Timer> timer_;
  std::unique_ptr<os::Timer> narrator_timer_;
  std::unique_ptr<os::Timer> table_timer_;
  Time table_due_ = kNever;  // when a table that has changed is saved
  std::uint64_t machine_seed_ = 1;
  core::Machine machine_;
  core::Desired desired_;
  Narrator narrator_{[this](const core::Fact& fact) { return advice(fact); },
                     [this](const core::Fact& fact) { return words_of_failed(fact); }};
  std::unique_ptr<drive::Keyboard> keyboard_;
  std::unique_ptr<drive::Keys> keys_;
  std::set<ServiceId> held_by_tools_;
  bool paused_ = false;    // by the person: changes are gathered
  bool stopping_ = false;  // every key is ours
  bool told_unknown_ = false;
  std::optional<Time> suspended_at_;  // by Ctrl-Z; until SIGCONT the children stand still, and so does time
  std::optional<Time> rested_;        // when the latest turn was over, if nothing has been fed since …
  Time due_ = kNever;                 // … and when the next one was to begin for the core
  int late_turns_ = 0;                // in a row
  std::optional<Time> told_still_;    // until then the core was told that time stood still
  // What the core was told of a child, and when that is over if it is not seen to wait until then.
  struct Waiting {
    bool told = false;
    Time until = kNever;
  };
  std::map<ChildKey, Waiting> at_terminal_;
  std::unique_ptr<os::Timer> look_again_;

  struct Journaled {
    std::uint64_t number = 0;
    Time time{};
    core::Event event;
    std::optional<std::uint64_t> digest;
  };
  std::vector<Journaled> to_journal_;
  std::vector<core::Effect> effects_;
  std::vector<core::Fact> facts_;
  std::vector<core::Fact> to_trace_;
  std::vector<core::Fact> to_tell_;  // prepared, with the lines that they deserve
  std::vector<Line> to_say_;
  std::vector<std::pair<std::uint64_t, std::string>> answers_;
  core::Output out_;
  std::uint64_t happening_ = 0;  // the last one handled
  std::uint64_t acknowledged_ = 0;
  std::uint64_t request_ = 0;
  bool following_ = false;
  bool exports_logs_ = false;  // some service wants its output exported
  bool quitting_ = false;
  bool begun_ = false;  // begin() has succeeded
  int status_ = 0;
};

}  // namespace runmain::app

// The server side of the control socket, in the head.
//
// Answers come from the Backend's Snapshot, commands go to it; logs and events are pushed by the app and
// copied to whoever follows. Invariant: bounded in clients, bytes and time (protocol.hpp); a slow reader of
// logs misses lines and is told how many, a slow reader of events is dropped; nothing here ever waits.
// Thread: the loop's. Non-goal: deciding anything.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/backend.hpp"
#include "control/connection.hpp"
#include "control/protocol.hpp"
#include "control/status_json.hpp"
#include "os/loop/loop.hpp"

namespace runmain::control {

class Server {
 public:
  struct Counters {
    std::uint64_t accepted = 0;
    std::uint64_t refused_uid = 0;   // neither our user nor root
    std::uint64_t refused_full = 0;  // kClientsMax were busy
    std::uint64_t accept_failed = 0;
    std::uint64_t bad_requests = 0;
    std::uint64_t timed_out = 0;          // silent or stalled clients that were dropped
    std::uint64_t followers_dropped = 0;  // slow readers of events
    std::uint64_t lines_skipped = 0;      // log lines that slow readers missed
  };

  // `listener` is a listening unix socket, non-blocking; it stays the caller's and outlives this. Loop and
  // backend outlive this.
  Server(os::Loop& loop, int listener, Backend& backend, const Limits& limits = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A Command is done (empty `error`) or cannot be. An unknown number is ignored: its client has gone.
  void answered(std::uint64_t request, const std::string& error);
  // To be called for each line of output and each Fact, in order; cheap while nobody follows.
  void log_line(const LogLine& line);
  void fact(const core::Fact& fact, std::string_view service_name);
  // The Snapshot may have changed: looks after those who `wait`.
  void changed();

  // Sends what was said, before the loop comes to it. Calls no one back.
  void flush();

  // Whether log_line() has anybody to tell.
  bool follows_logs() const;

  std::size_t clients() const { return clients_.size(); }
  const Counters& counters() const { return counters_; }

 private:
  enum class Work : std::uint8_t { none, command, wait, logs, events };

  struct Client {
    std::unique_ptr<Connection> connection;
    Work work = Work::none;
    std::string id;                   // of the request, as JSON
    std::uint64_t request = 0;        // command: the backend's number
    Time deadline = kNever;           // wait: the client's own
    Time since{};                     // command: when it came
    std::set<ServiceId> services;     // logs, command: empty means all
    std::deque<std::string> backlog;  // logs, events: items from before the request, not yet sent
    bool follow = false;
    std::uint64_t skipped = 0;  // logs: lines missed since the last one sent
    Time look_at = kNever;      // half closed: whether it is gone altogether
  };

  // Clients are only taken away when no call of ours is on the stack.
  class Scope {
   public:
    explicit Scope(Server& server) : server_(server) { ++server_.depth_; }
    ~Scope() {
      if (--server_.depth_ == 0) server_.tidy();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Server& server_;
  };

  // server.cpp: clients, time, streams
  void accept_some();
  void accept_one(os::UniqueFd fd);
  bool make_room();
  void pause_accepting();
  void serve(Client& client);
  void tidy();
  void on_timer();
  static Time deadline_of(Client& client);
  void pump(Client& client);
  void push_line(Client& client, const std::string& item);
  void reply(Client& client, Json ok);
  void fail(Client& client, const char* code, const Error& error, const Json& output = {});
  void end_work(Client& client);

  // verbs.cpp: what each verb does
  void handle(Client& client, const std::string& line);
  bool named_services(Client& client, const Json& args, std::vector<ServiceId>& ids);
  void do_upgrade(Client& client, const Json& args);
  void do_command(Client& client, core::CommandVerb verb, const Json& args);
  void do_logs(Client& client, const Json& args);
  void look_at_numbers(const core::Snapshot& snapshot);
  void do_events(Client& client, const Json& args);
  void do_explain(Client& client, const Json& args);
  void do_why(Client& client, const Json& args);
  void do_ping(Client& client);
  Json output_of_failed(const Client& client);
  void look_at_wait(Client& client, const core::Snapshot& snapshot);

  os::Loop& loop_;
  int listener_;
  Backend& backend_;
  Limits limits_;
  std::unique_ptr<os::Poll> accepting_;
  std::unique_ptr<os::Timer> timer_;
  Time accept_again_ = kNever;
  std::map<std::uint64_t, Client> clients_;  // by number of acceptance: the oldest first
  std::uint64_t last_client_ = 0;
  std::uint64_t last_seq_ = 0;
  std::deque<FactLine> facts_;    // the latest kFactsKept
  std::set<ServiceId> numbered_;  // services with several workers, as of the latest `logs`
  std::map<std::uint64_t, std::vector<ServiceId>> doctored_;  // reloads for the doctor, by their number
  std::map<std::uint64_t, std::string> early_answers_;        // answered() before command() returned
  bool commanding_ = false;
  int depth_ = 0;
  Counters counters_;
};

}  // namespace runmain::control

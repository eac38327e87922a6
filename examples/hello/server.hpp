// One thread, one epoll set: listeners shared with other workers, keep-alive connections, timers without
// sleeping, and a drain that loses no request.
//
// The drain: accept what is already waiting for us and no more; answer what is in flight; wait a moment for
// the request of a connection that was accepted but not heard of yet; every answer from then on says
// "Connection: close".
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "child_runtime/child_runtime.hpp"
#include "child_runtime/trace.hpp"
#include "http.hpp"

namespace hello {

class Server {
 public:
  // Blocks SIGTERM and SIGINT for the calling thread: they are the server's. Throws std::system_error.
  Server();
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts on `fd`, which is the server's from now on. Throws std::system_error if it cannot be polled.
  void add_listener(int fd);

  // Calls `action` so often while run() serves, from its first moment on; in the drain, too. One at most.
  void every(std::chrono::milliseconds interval, std::function<void()> action);

  // Says that it is ready and serves until a drain (SIGTERM, SIGINT, or the supervisor's word) is over. Call
  // it once.
  void run();

 private:
  static constexpr std::uint32_t kUnwatched = ~0U;
  using Clock = std::chrono::steady_clock;

  enum class State {
    reading,  // for a request; also between two requests
    waiting,  // for the time to answer
    writing,
    closing,  // our side is shut, so that the client gets the answer whole whatever it still sends
    dead,     // to be removed
  };

  struct Connection {
    int fd = -1;
    std::uint64_t id = 0;
    State state = State::reading;
    std::uint32_t watched = kUnwatched;  // what epoll has been told
    bool fresh = true;                   // not one answer yet
    bool peer_done = false;              // the client has shut its side
    bool keep = true;                    // stays open after this answer
    bool head_only = false;
    std::string in;
    std::string out;
    std::size_t sent = 0;
    Answer answer;  // while waiting
    Clock::time_point deadline;
    std::optional<runmain::InFlight> in_flight;  // from the first byte of a request to the last of its answer
    std::optional<runmain::Span> span;           // from the whole request to the last byte of its answer
  };

  // What happens to a connection. Handlers change its state; settle() then tells epoll, or removes it.
  void on_event(std::uint64_t id, std::uint32_t events);
  void on_deadline(Connection& c);
  void read_some(Connection& c);
  void take_requests(Connection& c);
  void take(Connection& c, const Request& request);
  void send_answer(Connection& c);
  void write_some(Connection& c);
  void answered(Connection& c);
  void discard(Connection& c);
  void settle(Connection& c);
  void set_deadline(Connection& c, Clock::duration from_now);
  void expect_request(Connection& c);

  void on_signal();
  void accept_from(int listener, int limit);
  void add_connection(int fd);
  void poll_listeners(bool on);
  void begin_drain();
  void beat();
  void expire();
  int wait_ms() const;

  int epoll_ = -1;
  int signals_ = -1;
  bool draining_ = false;
  std::vector<int> listeners_;
  std::chrono::milliseconds interval_{0};  // of action_; 0: there is none
  std::function<void()> action_;
  Clock::time_point beat_at_;
  std::optional<Clock::time_point> resume_at_;  // accepting is paused until then
  std::uint64_t last_id_;
  std::unordered_map<std::uint64_t, Connection> connections_;
  std::set<std::pair<Clock::time_point, std::uint64_t>> deadlines_;
};

}  // namespace hello

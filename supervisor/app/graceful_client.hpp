// One client of the program under check: a connection, what is sent on it and when, and how it ended.
//
// Invariant: never blocks; every request that was begun is one Ask, and a connection that ends without a
// request on it is one, too. Who is at fault at an end is told by the kernel: a reset means that our request
// lay unread in the server's socket when it was closed; an end that had come before we sent (TCP_INFO says
// CLOSE_WAIT, or our data is answered by a reset behind the FIN: EPIPE) is nobody's. Follows tcp(7) and
// Linux's tcp_reset(). On loopback an end arrives within close(2), so that this is exact up to a preemption
// between two calls. Thread: one.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "graceful/answer.hpp"
#include "graceful/observation.hpp"
#include "os/linux/fd.hpp"

namespace runmain::app {

// Where the program serves.
struct GracefulTarget {
  sockaddr_storage name{};
  socklen_t size = 0;
  std::string host;  // for the Host field
};
// "127.0.0.1:8000", "[::1]:8000", ":8000", "unix:/run/web.sock", "unix:@web"; a wildcard means loopback. On
// failure says what it is not.
Result<GracefulTarget> target_of(const std::string& listen);

struct GracefulPlan {
  graceful::Client client = graceful::Client::fresh;
  std::string path = "/";
  graceful::Nanoseconds interval = 0;  // kept, fresh: between two requests
  graceful::Nanoseconds delay =
      0;  // hesitant, trickled: after the drain's begin; kept, fresh: before the first
  graceful::Nanoseconds limit = 0;  // for an answer, from when it was due
  std::uint32_t times = 0;          // kept, fresh: so many requests, 0: until it is told to finish
};

class GracefulClient {
 public:
  GracefulClient(const GracefulTarget& target, GracefulPlan plan, graceful::Nanoseconds now);

  int fd() const { return fd_.get(); }
  short wanted() const;                    // events for poll(2); 0: none
  graceful::Nanoseconds wakes_at() const;  // 0: at no time
  bool is_over() const { return over_; }
  // What it waits for before it goes on is its worker's drain, and nobody knows whose connection it is.
  bool wants_owner() const;
  void set_owner(pid_t main) { owner_ = main; }
  pid_t owner() const { return owner_; }
  // When its worker's drain began, or, where the owner is not known, the latest one's; 0: not yet.
  void set_drain(graceful::Nanoseconds drain) { drain_ = drain; }
  // A trickled request of which only the end is held back; of the others: all.
  bool is_prepared() const;
  bool is_connected() const { return phase_ != Phase::none && phase_ != Phase::connecting; }

  // Something came, or its time has.
  void step(graceful::Nanoseconds now, bool ready);
  // No more requests, and those who wait for a drain go on as if it had come.
  void finish();
  // Ends it as it is.
  void close(graceful::Nanoseconds now);
  // Moves out what has ended since the last time.
  std::vector<graceful::Ask> take_asks();

 private:
  enum class Phase : std::uint8_t { none, connecting, idle, sending, waiting };

  void connect(graceful::Nanoseconds now);
  void begin_request(graceful::Nanoseconds now);
  void prepare(graceful::Nanoseconds now);
  void send_some(graceful::Nanoseconds now);
  void read_some(graceful::Nanoseconds now);
  bool see_end_while_idle(graceful::Nanoseconds now);
  void end_by(int error, graceful::Nanoseconds now);
  void record(graceful::Outcome outcome, graceful::Nanoseconds now);
  void after_answer(graceful::Nanoseconds now);
  void drop_connection();
  bool is_peer_closed() const;
  std::string request() const;
  bool drain_has_begun(graceful::Nanoseconds now) const;
  std::size_t allowed_to_send(graceful::Nanoseconds now) const;
  std::size_t allowed_to_read(graceful::Nanoseconds now) const;

  GracefulTarget target_;
  GracefulPlan plan_;
  os::UniqueFd fd_;
  Phase phase_ = Phase::none;
  graceful::AnswerReader reader_;
  std::string out_;
  std::size_t sent_ = 0;
  bool crossed_ = false;
  bool finishing_ = false;
  bool over_ = false;
  pid_t owner_ = 0;
  graceful::Nanoseconds drain_ = 0;
  graceful::Nanoseconds due_ = 0;        // of the next request
  graceful::Nanoseconds begin_ = 0;      // of this one
  graceful::Nanoseconds last_byte_ = 0;  // sent or read, of a slow one
  std::uint32_t before_ = 0;
  std::uint32_t done_ = 0;
  std::vector<graceful::Ask> asks_;
};

}  // namespace runmain::app

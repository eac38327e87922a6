// The observer's own socket: what there is (status), recent spans (traces), and facts as they come (follow).
// JSON lines, one request a line:
//
//     {"v":1,"verb":"status"}            one line {"v":1,"ok":true,…}
//     {"v":1,"verb":"traces",…}          lines {"v":1,"span":{…}}, then {"v":1,"end":true} unless "follow";
//                                        with "kept":false where no spans were kept before somebody asked
//     {"v":1,"verb":"follow"}            lines {"v":1,"fact":TYPE,"text":…}
//
// Invariant: bounded in clients and bytes; who does not read is cut off and counted. A slow reader of traces
// misses those that are gone by then. Thread: the loop's. Non-goal: commands; those go to the head.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/observer.hpp"

namespace runmain::telemetry {

struct ServerLimits {
  std::size_t clients = 16;
  std::size_t request = 4096;       // bytes of a line
  std::size_t pending = 1U << 20U;  // unread bytes; an answer to status may be longer
  Duration stalled = std::chrono::seconds(10);
};

class ObserverServer {
 public:
  struct Counters {
    std::uint64_t accepted = 0;
    std::uint64_t refused_uid = 0;   // neither our user nor root
    std::uint64_t refused_full = 0;  // all were busy
    std::uint64_t bad_requests = 0;
    std::uint64_t cut_off = 0;  // did not read
  };

  // Loop and observer outlive this.
  ObserverServer(os::Loop& loop, Observer& observer, ServerLimits limits = {});
  ~ObserverServer();
  ObserverServer(const ObserverServer&) = delete;
  ObserverServer& operator=(const ObserverServer&) = delete;

  // A listening unix socket; it takes the place of the one before.
  void listen(os::UniqueFd listener);
  // To all who follow; while nobody does, the latest kUntoldMax wait for the first one who will.
  void tell(const ObserverFact& fact);
  // What nobody was told of: for our end, when nobody will ask any more.
  std::deque<ObserverFact> take_untold() { return std::exchange(untold_, {}); }

  std::size_t clients() const { return clients_.size(); }
  const Counters& counters() const { return counters_; }

 private:
  enum class Work : std::uint8_t { none, traces, facts };
  struct Client {
    os::UniqueFd fd;
    std::unique_ptr<os::Poll> poll;
    std::string in;
    std::string out;
    std::size_t sent = 0;  // of `out`
    Time sent_at{};        // when it last took a byte, or nothing waited
    Work work = Work::none;
    TraceQuery query;
    std::uint64_t seen = 0;  // number of the last span that it was given, or that was looked at
    bool follows = false;
    bool half_closed = false;
    bool wants_store = false;
    bool kept = true;  // spans were kept before it asked
    bool dead = false;
    std::size_t pending() const { return out.size() - sent; }
  };

  void accept_some();
  bool make_room();
  void on_ready(Client& client, int events);
  void read_some(Client& client);
  void write_some(Client& client);
  void serve(Client& client);
  void handle(Client& client, const std::string& line);
  void answer(Client& client, const std::string& line);
  void fail(Client& client, const char* why);
  void pump(Client& client);
  bool waits(const Client& client) const;
  void show_interest(Client& client);
  void check_later();
  void tidy();
  void on_timer();

  os::Loop& loop_;
  Observer& observer_;
  ServerLimits limits_;
  os::UniqueFd listener_;
  std::unique_ptr<os::Poll> accepting_;
  std::unique_ptr<os::Timer> timer_;
  std::unique_ptr<os::Timer> grown_;  // spans were stored
  bool grown_set_ = false;
  std::shared_ptr<void> added_;
  bool checking_ = false;      // timer_ is set
  std::list<Client> clients_;  // the oldest first
  static constexpr std::size_t kUntoldMax = 50;
  std::deque<ObserverFact> untold_;
  Counters counters_;
};

}  // namespace runmain::telemetry

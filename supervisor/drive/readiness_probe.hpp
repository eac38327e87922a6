// One connection to a service, to find out who accepts it and, for http, what it answers.
//
// Invariant: over after kProbeTime or as its maker says, whatever the other side does; not a byte is sent
// before the accepted socket is known to be the tested child's; at most kProbeBytes of an answer are looked
// at, redirects are not followed. Non-goal: retrying, TLS. Thread: the loop's.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr Duration kProbeTime = std::chrono::seconds(1);
inline constexpr std::size_t kProbeBytes = 8192;                                // of an answer
inline constexpr std::size_t kProbePathMax = 2048;                              // bytes of an http path
inline constexpr Duration kAcceptCheckFirst = std::chrono::milliseconds(1);     // doubled each time …
inline constexpr Duration kAcceptCheckSlowest = std::chrono::milliseconds(20);  // … up to this

struct ProbeTarget {
  sockaddr_storage address{};
  socklen_t size = 0;
  std::string host;  // for the Host header
};

// Where to connect to reach an address as it is bound or configured: "127.0.0.1:80", "[::1]:80",
// "localhost:80", "unix:/path", "unix:@name". Of an address that stands for all (":80", "0.0.0.0:80",
// "[::]:80") the loopback ones, v4 and v6 where both may answer, to be tried in turn. On failure an Error: no
// such address, or a datagram one.
Result<std::vector<ProbeTarget>> probe_targets(const std::string& address);

// The text of a GET (RFC 9112). On failure an Error: the path is no path of a request line.
Result<std::string> probe_request(const std::string& path, const std::string& host);

// The status of an answer that begins with these bytes; informational ones (1xx) are passed over. nullopt:
// more bytes are needed. 0: this is no HTTP/1.
std::optional<int> http_status(std::string_view bytes);

class Probe {
 public:
  enum class Outcome : std::uint8_t {
    counted,  // accepted by the tested child, and answered 2xx or 3xx where there is a request
    foreign,  // accepted by somebody else
    failed,   // refused, not accepted in time, closed, or another answer
  };

  // Begins to connect. `owns` says whether an accepted socket (its inode) is the tested child's. `wake` is
  // called from the loop when step() has something to do; it may destroy this. The loop outlives this.
  Probe(os::Loop& loop, const ProbeTarget& target, std::string request,
        std::function<bool(std::uint64_t)> owns, std::function<void()> wake, Time now,
        Duration at_most = kProbeTime);

  // Goes as far as it can without waiting. An Outcome ends it.
  std::optional<Outcome> step(Time now);
  // Of the answer, if one came; 0: none, or it was no HTTP/1.
  int status() const { return status_; }
  bool connected() const { return state_ != State::connecting; }
  // When step() wants to be called without a wake.
  Time next() const { return next_; }

 private:
  enum class State : std::uint8_t { connecting, unaccepted, answering };
  std::optional<Outcome> connecting();
  std::optional<Outcome> unaccepted(Time now);
  std::optional<Outcome> answering();
  bool readable() const;

  ProbeTarget target_;
  std::string request_;
  std::function<bool(std::uint64_t)> owns_;
  State state_ = State::connecting;
  Time deadline_;
  Time next_;
  Duration pause_ = kAcceptCheckFirst;
  std::string answer_;
  int status_ = 0;
  os::UniqueFd fd_;
  std::unique_ptr<os::Poll> poll_;  // after fd_: it goes first
};

}  // namespace runmain::drive

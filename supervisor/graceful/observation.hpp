// What was seen of a program under `runmain check-graceful`: values only, filled by app/graceful_*.cpp.
//
// Times are CLOCK_MONOTONIC in nanoseconds, 0 where something has not happened.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace runmain::graceful {

using Nanoseconds = std::int64_t;

// In the order in which they are run. All from `quiet` to `load` have one reload or more.
enum class Trial : std::uint8_t {
  start,      // from the start until it serves
  plain,      // requests, and nothing else
  quiet,      // a reload without any connection
  idle,       // … with kept connections that are not asked
  silent,     // … with connections that never speak, and some that speak after the drain began
  half,       // … with connections that have sent half a request
  in_flight,  // … with requests that are on their way when the drain begins
  slow,       // … with clients that read a byte at a time
  load,       // … under steady load, over new and over kept connections
  end,        // SIGTERM to everything
};
inline constexpr std::size_t kTrials = 10;
const char* id_of(Trial trial);  // "in-flight"

enum class Client : std::uint8_t {
  fresh,        // a new connection, one request
  kept,         // asked again and again
  idle,         // asked once, and kept
  hesitant,     // speaks for the first time after its worker's drain began
  silent,       // never speaks
  half,         // sends half a request
  trickled,     // sends its request byte by byte, the end of it after the drain began
  slow_reader,  // reads a byte at a time
  slow_path,    // asks for what takes long
};

// How a request, or a connection without one, ended.
enum class Outcome : std::uint8_t {
  answered,
  closed,      // in order, and no request was on its way
  crossed,     // the request was sent when the connection had been closed: nobody could know
  refused,     // connect(2)
  reset,       // after the request was sent, without an answer: it was never read
  dropped,     // the request was read, and the connection closed without an answer
  cut,         // within the answer
  reset_idle,  // no request was on its way, and it was reset instead of closed
  timed_out,
  not_http,
  open,  // still open when we closed it
};

struct Ask {
  Client client = Client::fresh;
  Outcome outcome = Outcome::answered;
  int status = 0;         // of the answer; 0: none came
  Nanoseconds begin = 0;  // when it was due, or the connection was made
  Nanoseconds end = 0;
  Nanoseconds drain = 0;       // when the worker's drain began, or the latest one's; 0: none had
  std::uint32_t before = 0;    // answers on this connection before
  bool last = false;           // the answer said that it is the last
  std::size_t body_bytes = 0;  // of the answer
};

struct Worker {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  pid_t pid = 0;
  Nanoseconds started = 0;
  Nanoseconds ready = 0;
  std::string proof;      // how it is known that it is ready: "notify", "health", "alive" …
  Nanoseconds drain = 0;  // asked to end
  Nanoseconds ended = 0;
  int status = -1;                // as waitpid(2) says; -1: unknown
  bool asked = false;             // to end
  bool killed = false;            // not gone by the end of the time-out
  Trial trial = Trial::start;     // in which it ended
  std::vector<std::string> left;  // processes that its main process left behind: "pid 12 (sleep)"
};

struct Seen {
  Trial trial = Trial::start;
  Nanoseconds begin = 0;
  Nanoseconds end = 0;
  std::vector<Ask> asks;
  std::size_t reloads = 0;
  std::string reload_fault;  // why one failed
  bool skipped = false;      // by us, as it cannot be told: `reason`
  std::string reason;
};

struct Observation {
  std::vector<std::string> command;
  std::string listen;  // as bound
  Nanoseconds stop_timeout = 0;
  std::string path;
  bool served = false;
  std::vector<Seen> trials;
  std::vector<Worker> workers;
  std::vector<std::uint32_t> idle_slots;   // those whose worker answered nobody, though it was alone
  std::vector<Trial> listener_shut;        // somebody shut it down, in these trials
  bool unlinked = false;                   // the unix socket is gone, or another one
  std::vector<std::string> own_addresses;  // where its processes listen by themselves
  bool says_in_use = false;                // its output says that the address is in use
  std::uint64_t asks_left_out = 0;         // over a bound
};

inline constexpr std::size_t kAsksMax = 50'000;  // of a trial

// The trial, or nothing.
const Seen* find_trial(const Observation& o, Trial trial);

}  // namespace runmain::graceful

// Finds out when a child that does not say so by itself is ready.
//
// Without `ready`: a process of the child's tree has one of our listeners in an epoll set, else a connection
// to it was accepted by a process of the tree. Of a program that binds by itself: it accepts at its port
// where that is known, else a process of the tree listens anywhere over TCP (but for debuggers' ports). Else
// the child has been started for 1 s (unproven). `tcp` and `http` connect until such a connection is accepted
// by the tree, and for http answered with 2xx or 3xx. The kept listeners accept connections whoever lives, so
// a connection that the old generation or another worker took proves nothing. Invariant: at most kProbesMax
// connections are open, each for at most kProbeTime; a request is sent only on a connection that the child
// has accepted. No work while nothing is waited for. Non-goal: READY=1 and claims (they come as Events of
// their own), start timeouts, knowing that a child died (the core says StopProbe). Thread: the loop's.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "core/event.hpp"
#include "core/spec.hpp"
#include "drive/readiness_probe.hpp"
#include "drive/readiness_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr std::size_t kProbesMax = 64;     // connections in flight, of all children
inline constexpr std::size_t kProbesEachMax = 8;  // of one child
inline constexpr Duration kLookFirst = std::chrono::milliseconds(1);   // between looks; doubled each time …
inline constexpr Duration kLooksAlone = std::chrono::milliseconds(4);  // up to here who has no child is alone
inline constexpr Duration kLookSlowest = std::chrono::milliseconds(50);  // … up to this
inline constexpr Duration kProbeAfter =
    std::chrono::milliseconds(100);  // a silent listener is probed from then on
inline constexpr Duration kUnprovenAfter = std::chrono::seconds(1);
inline constexpr Duration kProbesFull =
    std::chrono::milliseconds(10);      // until the next try when kProbesMax are open
inline constexpr int kStepsATurn = 64;  // jobs looked at before the loop may do something else

// Node's inspector, debugpy: they listen before the program does.
inline constexpr std::array<std::uint16_t, 2> kDebuggerPorts{9229, 5678};
inline constexpr Duration kOwnLookShare =
    std::chrono::microseconds(500);  // between looks at fds, for each that waits: about 5 % of the time
inline constexpr std::size_t kListeningToldMax = 3;  // addresses

struct ReadyListener {
  std::string bound;  // "127.0.0.1:8000", "unix:/run/web.sock", "unix:@name", "udp:…"
  std::uint64_t inode = 0;
};

// What to connect to: what the file says, else the first stream listener, else the program's own port. Empty:
// there is nothing.
std::string probe_address(const std::string& configured, const std::vector<ReadyListener>& listeners,
                          std::uint16_t port);

struct ReadinessJob {
  ChildKey key;
  std::int32_t pid = 0;   // its main process
  std::uint64_t tag = 0;  // of its tree
  core::ReadySpec spec;
  std::vector<ReadyListener> listeners;  // the service's, in their order
  std::uint16_t port = 0;                // that the program binds by itself; 0: none
  Time since{};                          // when it was started; the epoch: now
};

class Readiness {
 public:
  // `ready` is called at most once for each start(), from the loop, never from inside start(). It may call
  // start() and stop(). The loop outlives this.
  Readiness(os::Loop& loop, std::function<void(const core::Ready&)> ready);

  // Begins to look; a job of the same key is replaced. On failure the Error says why this can never find out:
  // an address that is none, nothing to connect to, a path with blanks or control characters.
  Result<void> start(ReadinessJob job);
  // Ends looking and closes its connections; nothing happens if there is none.
  void stop(const ChildKey& key);
  // Another process of the tree is the main one now.
  void set_pid(const ChildKey& key, std::int32_t pid);

  std::size_t jobs() const { return jobs_.size(); }
  std::size_t probes() const { return probes_.size(); }
  std::uint64_t foreign() const { return foreign_; }  // connections that someone else accepted, ever

 private:
  struct Job {
    ReadinessJob spec;
    bool looks = false;                                 // for our listeners in an epoll set …
    bool looks_own = false;                             // … or for any that it has made by itself
    Time elapsed_at = kNever;                           // ready by then without a better sign …
    core::Proof elapsed_proof = core::Proof::unproven;  // … told as this
    std::vector<ProbeTarget> targets;                   // what probes connect to, in turn; empty: no probes
    std::string request;                                // http; empty: accepting is enough
    Time next_look = kNever;
    Time next_probe = kNever;
    Duration look_pause = kLookFirst;
    Duration probe_pause = kLookFirst;
    std::size_t attempts = 0;  // that failed; picks the target
    std::size_t in_flight = 0;
    std::size_t burst = 1;  // connections at once: more after a round that others took
    bool round_foreign = false;
    Time due = kNever;  // its place in jobs_due_
  };
  struct Running {
    std::unique_ptr<Probe> probe;
    ChildKey key;
    Time due = kNever;  // its place in probes_due_
  };

  static Result<void> prepare(Job& job, Time now);
  static Result<void> prepare_probes(Job& job, Time now);
  void on_timer();
  void step_job(const ChildKey& key, Time now);
  void step_probe(std::uint64_t number, Time now);
  bool sees_epoll(const Job& job, Time now);
  void give_up(const ChildKey& key, const Job& job, Time now);
  std::string listens_at(const Job& job, Time now, bool at_last);
  bool owns(const ChildKey& key, std::uint64_t inode);
  void start_round(const ChildKey& key, Job& job, Time now);
  void finished(std::uint64_t number, Probe::Outcome outcome, Time now);
  void report(const ChildKey& key, core::Proof proof, std::string address = {});
  void schedule(const ChildKey& key, Job& job);
  void drop_probe(std::map<std::uint64_t, Running>::iterator it);
  void arm();

  os::Loop& loop_;
  std::function<void(const core::Ready&)> ready_;
  std::unique_ptr<os::Timer> timer_;
  Time armed_ = kNever;
  std::map<ChildKey, Job> jobs_;
  std::map<std::uint64_t, Running> probes_;
  std::set<std::pair<Time, ChildKey>> jobs_due_;
  std::set<std::pair<Time, std::uint64_t>> probes_due_;
  TreeIndex trees_;
  std::uint64_t last_probe_ = 0;
  std::uint64_t foreign_ = 0;
};

}  // namespace runmain::drive

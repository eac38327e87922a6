// Looks after ready workers: whether each one still answers, and how much memory it takes.
//
// Every interval a worker has a round. Its connections count for the worker whose tree has accepted them: the
// listeners are shared, so others may be faster, and what they answer well is a look at them. A worker that
// takes none is looked at from outside before it is judged (os/linux/stall.hpp): one that waits in an epoll
// set with our listener is well, one that wanted a CPU and did not get it is starved and not hung. Memory is
// the sum of Pss of the tree, asked for once the sum of Rss, which is never less, is above the limit.
//
// Invariant: at most kHealthProbesMax connections are open, each until its round's end at most; a request is
// sent only on a connection that a watched worker of the service has accepted. Nothing runs while nobody is
// watched. A worker of which nothing can be found out, or that a debugger
// has stopped, is not told of. Non-goal: judging (the core counts the
// looks), health commands (the core starts them). Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "core/event.hpp"
#include "core/spec.hpp"
#include "drive/readiness.hpp"
#include "drive/readiness_probe.hpp"
#include "drive/readiness_tree.hpp"
#include "os/linux/stall.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr std::size_t kHealthProbesMax = 64;  // connections in flight, of all workers
inline constexpr std::size_t kHealthProbesEach = 8;  // of one worker at once
inline constexpr Duration kHealthPauseFirst = std::chrono::milliseconds(10);  // between bursts; doubled …
inline constexpr Duration kHealthPauseSlowest = std::chrono::milliseconds(200);  // … up to this
inline constexpr Duration kStallSpan = std::chrono::milliseconds(100);  // at least, between two samples
inline constexpr Duration kHealthLate = std::chrono::milliseconds(250);  // we are late ourselves: once more …
inline constexpr int kHealthRepeatsMax = 3;                              // … but not for ever
inline constexpr Duration kMemoryEvery = std::chrono::seconds(5);

struct HealthJob {
  ChildKey key;
  std::int32_t pid = 0;   // its main process
  std::uint64_t tag = 0;  // of its tree
  core::HealthSpec spec;
  core::RecycleSpec recycle;
  std::vector<ReadyListener> listeners;  // the service's
  std::string address;                   // what to connect to, as probe_address() says
  bool shared = true;    // other workers may take a connection to it; false: a port of its own
  bool resumed = false;  // the first good look is told in any case: another head has watched it, a roll waits
};

class Health {
 public:
  // `tell` is called from the loop with core::Looked and core::Measured, never from inside watch(). It may
  // call watch() and stop(). The loop outlives this.
  Health(os::Loop& loop, std::function<void(const core::Event&)> tell);

  // Begins to look; a job of the same key is replaced. On failure the Error says why looks can never find
  // out; its memory is looked at all the same.
  Result<void> watch(HealthJob job);
  void stop(const ChildKey& key);
  // Another process of the tree is the main one now.
  void set_pid(const ChildKey& key, std::int32_t pid);
  // While held nobody is looked at: all of them stand still, and that is no fault of theirs.
  void hold(bool on);

  std::size_t jobs() const { return jobs_.size(); }
  std::size_t probes() const { return probes_.size(); }
  std::uint64_t connections() const { return last_probe_; }  // ever
  std::uint64_t unclear() const { return unclear_; }         // rounds of which nothing could be said, ever

 private:
  struct Round {
    Time begun{};
    Time deadline = kNever;
    Time next_try = kNever;
    Time next_sample = kNever;
    Duration pause = kHealthPauseFirst;
    std::size_t in_flight = 0;
    std::size_t burst = 1;
    bool taken = false;       // a connection, by others …
    bool took = false;        // … by the worker itself …
    bool unaccepted = false;  // … by nobody in the whole time
    std::string fault;        // why the latest connection failed
    std::optional<os::StallSample> first;
  };
  struct Job {
    HealthJob spec;
    std::vector<ProbeTarget> targets;  // in turn; empty: no rounds
    std::string request;
    std::size_t attempts = 0;
    Time next_round = kNever;
    Time next_memory = kNever;
    std::optional<Round> round;
    bool failed = false;  // the latest look that was told
    int repeats = 0;
    std::uint64_t starved_cpu = 0;  // that it got in rounds in which it was starved, since it was well
    Time due = kNever;              // its place in jobs_due_
  };
  struct Running {
    std::unique_ptr<Probe> probe;
    ChildKey key;                   // whose round it is of
    std::optional<ChildKey> owner;  // who has accepted it
    Time due = kNever;              // its place in probes_due_
  };

  Result<void> prepare(Job& job, Time now);
  void on_timer();
  void step_job(const ChildKey& key, Time now);
  void step_round(const ChildKey& key, Job& job, Time now);
  void step_probe(std::uint64_t number, Time now);
  static void begin_round(Job& job, Time now);
  void connect(const ChildKey& key, Job& job, Time now);
  bool accepted(std::uint64_t number, std::uint64_t inode);
  std::optional<ChildKey> owner_of(const ChildKey& first, std::uint64_t inode);
  void finished(std::uint64_t number, Probe::Outcome outcome, Time now);
  void next_burst(Round& round, Time now);
  void credit(const ChildKey& key, Time now);
  void judge(const ChildKey& key, Job& job, Time now);
  bool waits_for_connections(const Job& job, const os::StallSample& sample) const;
  os::StallSample sample(const Job& job, Time now);
  std::vector<pid_t> tree(const Job& job, Time now);
  void conclude(const ChildKey& key, core::Looked look, Time now);
  void end_round(const ChildKey& key, Job& job, Time now);
  void look_at_memory(const ChildKey& key, Job& job, Time now);
  void drop_probe(std::map<std::uint64_t, Running>::iterator it);
  void drop_probes(const ChildKey& key, bool all);
  void schedule(const ChildKey& key, Job& job);
  void arm();

  os::Loop& loop_;
  std::function<void(const core::Event&)> tell_;
  std::unique_ptr<os::Timer> timer_;
  Time armed_ = kNever;
  bool held_ = false;
  std::map<ChildKey, Job> jobs_;
  std::map<std::uint64_t, Running> probes_;
  std::set<std::pair<Time, ChildKey>> jobs_due_;
  std::set<std::pair<Time, std::uint64_t>> probes_due_;
  TreeIndex trees_;
  std::uint64_t last_probe_ = 0;
  std::uint64_t unclear_ = 0;
};

}  // namespace runmain::drive

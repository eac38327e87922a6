#include "drive/health.hpp"

#include <algorithm>
#include <iterator>

#include "base/text.hpp"
#include "drive/examiner.hpp"
#include "os/linux/memory.hpp"
#include "os/linux/sock_diag.hpp"

namespace runmain::drive {
namespace {

constexpr int kJobsATurn = 64;

// A part of `whole` that is the worker's own, so that those that became ready together do not all probe at
// once.
Duration phase_of(const ChildKey& key, Duration whole) {
  return whole / 1024 * static_cast<int>(std::hash<ChildKey>{}(key) % 1024 + 1);
}

std::string milliseconds(Duration d) { return std::to_string(to_ms(d)) + " ms"; }

}  // namespace

Health::Health(os::Loop& loop, std::function<void(const core::Event&)> tell)
    : loop_(loop), tell_(std::move(tell)), timer_(loop.timer([this] { on_timer(); })) {}

Result<void> Health::watch(HealthJob spec) {
  const ChildKey key = spec.key;
  const Time now = os::Loop::now();
  stop(key);
  Job job;
  job.failed = spec.resumed;
  job.spec = std::move(spec);
  if (job.spec.recycle.memory > 0) job.next_memory = now + phase_of(key, kMemoryEvery);
  auto prepared = prepare(job, now);
  if (job.targets.empty() && job.next_memory == kNever) return prepared;
  schedule(key, jobs_.emplace(key, std::move(job)).first->second);
  arm();
  return prepared;
}

Result<void> Health::prepare(Job& job, Time now) {
  const core::HealthSpec& health = job.spec.spec;
  if (health.kind != core::HealthKind::http && health.kind != core::HealthKind::tcp) return {};
  if (job.spec.address.empty())
    return Error{"there is no address to look at", {}, "set listen, port or health.address", EINVAL};
  auto targets = probe_targets(job.spec.address);
  if (!targets) return targets.error();
  if (health.kind == core::HealthKind::http) {
    auto request = probe_request(health.path, targets->front().host);
    if (!request) return request.error();
    job.request = std::move(*request);
  }
  job.targets = std::move(*targets);
  job.next_round = now + phase_of(job.spec.key, health.interval);
  return {};
}

void Health::stop(const ChildKey& key) {
  const auto it = jobs_.find(key);
  if (it == jobs_.end()) return;
  drop_probes(key, true);
  jobs_due_.erase({it->second.due, key});
  jobs_.erase(it);
  arm();
}

void Health::set_pid(const ChildKey& key, std::int32_t pid) {
  const auto it = jobs_.find(key);
  if (it != jobs_.end()) it->second.spec.pid = pid;
}

void Health::hold(bool on) {
  if (on == held_) return;
  held_ = on;
  const Time now = os::Loop::now();
  for (auto& [key, job] : jobs_) {
    drop_probes(key, true);
    job.round.reset();
    if (!job.targets.empty()) job.next_round = now + phase_of(key, job.spec.spec.interval);
    schedule(key, job);
  }
  arm();
}

void Health::on_timer() {
  armed_ = kNever;
  const Time now = os::Loop::now();
  int steps = 0;
  while (!held_ && !probes_due_.empty() && probes_due_.begin()->first <= now && steps++ < kJobsATurn) {
    step_probe(probes_due_.begin()->second, now);
  }
  while (!held_ && !jobs_due_.empty() && jobs_due_.begin()->first <= now && steps++ < 2 * kJobsATurn) {
    const ChildKey key = jobs_due_.begin()->second;  // a copy: the step moves the entry
    step_job(key, now);
  }
  arm();
}

void Health::step_job(const ChildKey& key, Time now) {
  Job& job = jobs_.at(key);
  if (now >= job.next_memory) {
    look_at_memory(key, job, now);
    if (jobs_.count(key) == 0) return;
  }
  if (!job.round && now >= job.next_round) begin_round(job, now);
  if (job.round) step_round(key, job, now);
  if (const auto it = jobs_.find(key); it != jobs_.end()) schedule(key, it->second);
}

void Health::begin_round(Job& job, Time now) {
  const Duration timeout = job.spec.spec.timeout;
  Round round;
  round.begun = now;
  round.deadline = now + timeout;
  round.next_try = now;
  // A look at all the threads costs something; who answers within half of the time needs none.
  round.next_sample = now + timeout / 2;
  job.round = std::move(round);
}

void Health::step_round(const ChildKey& key, Job& job, Time now) {
  Round& round = *job.round;
  if (now >= round.next_sample) {
    round.next_sample = kNever;
    round.first = sample(job, now);
  }
  if (now >= round.deadline) return judge(key, job, now);
  if (now < round.next_try) return;
  if (round.taken && !round.took && waits_for_connections(job, sample(job, now))) {
    return conclude(key, {key, true, core::Stall::unknown, "waits for connections, others were faster"}, now);
  }
  connect(key, job, now);
}

// Several at once, because an idle worker can be the first in the kernel's queue for ever: while it is busy
// with one connection, the next goes to somebody else.
void Health::connect(const ChildKey& key, Job& job, Time now) {
  Round& round = *job.round;
  round.next_try = kNever;
  const ProbeTarget& target = job.targets[job.attempts++ % job.targets.size()];
  while (round.in_flight < round.burst && probes_.size() < kHealthProbesMax) {
    const std::uint64_t number = ++last_probe_;
    Running running;
    running.key = key;
    running.due = now;
    running.probe = std::make_unique<Probe>(
        loop_, target, job.request, [this, number](std::uint64_t inode) { return accepted(number, inode); },
        [this, number] {
          step_probe(number, os::Loop::now());
          arm();
        },
        now, round.deadline - now);
    probes_.emplace(number, std::move(running));
    probes_due_.emplace(now, number);
    ++round.in_flight;
  }
  if (round.in_flight == 0) next_burst(round, now);  // the others have them all
}

void Health::next_burst(Round& round, Time now) {
  round.next_try = now + round.pause;
  round.pause = std::min<Duration>(round.pause * 2, kHealthPauseSlowest);
}

// Somebody has accepted the connection. Whoever it is, what becomes of it is a look at that one: the round
// that it is of goes on with others.
bool Health::accepted(std::uint64_t number, std::uint64_t inode) {
  Running& running = probes_.at(number);
  running.owner = owner_of(running.key, inode);
  Job& job = jobs_.at(running.key);
  Round& round = *job.round;
  if (running.owner == running.key) {
    round.took = true;
    return true;
  }
  --round.in_flight;
  round.taken = true;
  if (round.in_flight == 0) {
    round.burst = std::min(round.burst * 2, kHealthProbesEach);
    next_burst(round, os::Loop::now());
  }
  schedule(running.key, job);
  return running.owner.has_value();
}

std::optional<ChildKey> Health::owner_of(const ChildKey& first, std::uint64_t inode) {
  std::vector<const Job*> all{&jobs_.at(first)};
  for (const auto& [key, job] : jobs_) {
    if (key.service == first.service && key != first) all.push_back(&job);
  }
  for (const Job* job : all) {
    if (os::process_has_socket(job->spec.pid, inode)) return job->spec.key;
  }
  const Time now = os::Loop::now();
  for (const Job* job : all) {
    const auto& pids = trees_.of(job->spec.tag, now);
    if (std::any_of(pids.begin(), pids.end(),
                    [&](pid_t pid) { return pid != job->spec.pid && os::process_has_socket(pid, inode); }))
      return job->spec.key;
  }
  return std::nullopt;
}

void Health::step_probe(std::uint64_t number, Time now) {
  const auto it = probes_.find(number);
  if (it == probes_.end()) return;
  const auto outcome = it->second.probe->step(now);
  if (outcome) return finished(number, *outcome, now);
  Running& running = it->second;
  probes_due_.erase({running.due, number});
  running.due = running.probe->next();
  probes_due_.emplace(running.due, number);
}

void Health::finished(std::uint64_t number, Probe::Outcome outcome, Time now) {
  const auto it = probes_.find(number);
  const ChildKey key = it->second.key;
  const std::optional<ChildKey> owner = it->second.owner;
  const int status = it->second.probe->status();
  const bool connected = it->second.probe->connected();
  drop_probe(it);
  const bool own = owner == key;
  if (outcome == Probe::Outcome::counted && !own) return credit(*owner, now);
  if (outcome != Probe::Outcome::foreign && !own && owner) return;  // its own round will tell
  Job& job = jobs_.at(key);
  if (outcome == Probe::Outcome::counted) return conclude(key, {key, true, core::Stall::unknown, {}}, now);
  if (outcome == Probe::Outcome::foreign) {  // accepted() has counted it
    if (job.spec.shared) return;
    return conclude(key, {key, false, core::Stall::unknown, "another process accepts at " + job.spec.address},
                    now);
  }
  if (own && status != 0) {
    return conclude(key, {key, false, core::Stall::unknown, "answered " + std::to_string(status), true}, now);
  }
  Round& round = *job.round;
  --round.in_flight;
  round.unaccepted |= connected && !own;
  round.fault = own         ? "took a connection and did not answer"
                : connected ? "nobody took the connection"
                            : "nobody can connect to " + job.spec.address;
  if (round.in_flight == 0) next_burst(round, now);
  schedule(key, job);
}

// A good answer in another's round. Its own next one can wait, but not so long that two are missed.
void Health::credit(const ChildKey& key, Time now) {
  const auto it = jobs_.find(key);
  if (it == jobs_.end()) return;
  Job& job = it->second;
  if (job.round || job.failed) return conclude(key, {key, true, core::Stall::unknown, {}}, now);
  job.starved_cpu = 0;
  if (job.next_round - now < job.spec.spec.interval / 2) job.next_round += job.spec.spec.interval;
  schedule(key, job);
}

// The round is over, and it has not answered.
void Health::judge(const ChildKey& key, Job& job, Time now) {
  Round& round = *job.round;
  const bool late = now - round.deadline > std::max<Duration>(kHealthLate, job.spec.spec.timeout / 2);
  if (late && job.repeats++ < kHealthRepeatsMax) {
    drop_probes(key, false);
    return begin_round(job, now);  // it was us who had no CPU, or was stopped
  }
  job.repeats = 0;
  os::StallSample second = sample(job, now);
  if (second.threads.empty()) return end_round(key, job, now);  // it is gone; the keeper says so
  if (!round.first || second.at - round.first->at < kStallSpan) {
    if (!round.first) round.first = std::move(second);
    round.deadline = round.first->at + kStallSpan;
    return;
  }
  const bool all_taken = round.taken && !round.took && !round.unaccepted && round.in_flight == 0;
  if (all_taken && waits_for_connections(job, second)) {
    return conclude(key, {key, true, core::Stall::unknown, "waits for connections, others were faster"}, now);
  }
  os::StallVerdict verdict = os::stall_verdict(*round.first, second);
  if (verdict.kind == os::StallKind::starved) {
    // Time is counted in CPU that it got: with as much as the timeout, others are no excuse any more.
    job.starved_cpu += verdict.cpu_ns;
    const auto enough = static_cast<std::uint64_t>(job.spec.spec.timeout.count());
    if (job.starved_cpu >= enough) {
      verdict.kind = os::StallKind::busy;
      verdict.text += ", but has used a timeout's worth of it without an answer";
    }
  }
  const bool blind = std::all_of(second.threads.begin(), second.threads.end(),
                                 [](const auto& t) { return t.place.empty() && t.call.empty(); });
  const bool unclear =
      verdict.kind == os::StallKind::unknown || (verdict.kind == os::StallKind::waiting && blind);
  if (verdict.traced || (all_taken && unclear)) {
    ++unclear_;
    return end_round(key, job, now);
  }
  std::string text = "no answer within " + milliseconds(job.spec.spec.timeout);
  if (!round.fault.empty()) text += " (" + round.fault + ")";
  if (!verdict.text.empty()) text += ": " + verdict.text;
  conclude(key, {key, false, stall_of(verdict.kind), std::move(text)}, now);
}

// Only an epoll set shows what a process waits for.
bool Health::waits_for_connections(const Job& job, const os::StallSample& sample) const {
  pid_t asked = 0;  // threads of a process stand together, and have the same fds
  return std::any_of(sample.threads.begin(), sample.threads.end(), [&](const os::StallThread& thread) {
    if (thread.pid == asked || !os::waits_for_events(thread)) return false;
    asked = thread.pid;
    return std::any_of(job.spec.listeners.begin(), job.spec.listeners.end(),
                       [&](const ReadyListener& l) { return os::process_polls_inode(thread.pid, l.inode); });
  });
}

std::vector<pid_t> Health::tree(const Job& job, Time now) {
  std::vector<pid_t> pids{job.spec.pid};
  for (const pid_t pid : trees_.of(job.spec.tag, now)) {
    if (pid != job.spec.pid) pids.push_back(pid);
  }
  return pids;
}

os::StallSample Health::sample(const Job& job, Time now) { return os::stall_sample(tree(job, now), now); }

void Health::conclude(const ChildKey& key, core::Looked look, Time now) {
  Job& job = jobs_.at(key);
  const bool told = !look.well || job.failed;
  job.failed = !look.well;
  if (look.well) job.starved_cpu = 0;
  end_round(key, job, now);
  if (told) tell_(look);
}

void Health::end_round(const ChildKey& key, Job& job, Time now) {
  drop_probes(key, false);
  const Time begun = job.round ? job.round->begun : now;
  job.round.reset();
  job.repeats = 0;
  job.next_round = std::max(begun + job.spec.spec.interval, now);
  schedule(key, job);
}

void Health::look_at_memory(const ChildKey& key, Job& job, Time now) {
  job.next_memory = now + kMemoryEvery;
  const core::RecycleSpec& recycle = job.spec.recycle;
  const std::uint64_t jitter = recycle.memory / 100 * std::min<std::uint32_t>(recycle.jitter_percent, 100);
  const std::uint64_t limit = recycle.memory - jitter;
  const std::vector<pid_t> pids = tree(job, now);
  if (os::resident_memory(pids) <= limit) return;
  const std::uint64_t bytes = os::shared_out_memory(pids);
  if (bytes > limit) tell_(core::Measured{key, bytes});
}

void Health::drop_probe(std::map<std::uint64_t, Running>::iterator it) {
  probes_due_.erase({it->second.due, it->first});
  probes_.erase(it);
}

// Those of this worker's round; those that another has taken go on as looks at that one, unless `all` go.
void Health::drop_probes(const ChildKey& key, bool all) {
  for (auto it = probes_.begin(); it != probes_.end();) {
    const auto next = std::next(it);
    const bool of_round = it->second.key == key && (all || !it->second.owner || it->second.owner == key);
    if (of_round || (all && it->second.owner == key)) drop_probe(it);
    it = next;
  }
}

void Health::schedule(const ChildKey& key, Job& job) {
  jobs_due_.erase({job.due, key});
  job.due = job.next_memory;
  if (job.round) {
    const Round& r = *job.round;
    job.due = std::min({job.due, r.deadline, r.next_try, r.next_sample});
  } else {
    job.due = std::min(job.due, job.next_round);
  }
  if (job.due != kNever) jobs_due_.emplace(job.due, key);
}

void Health::arm() {
  Time first = kNever;
  if (!held_ && !jobs_due_.empty()) first = jobs_due_.begin()->first;
  if (!held_ && !probes_due_.empty()) first = std::min(first, probes_due_.begin()->first);
  if (first == armed_) return;
  armed_ = first;
  timer_->set(first);
}

}  // namespace runmain::drive

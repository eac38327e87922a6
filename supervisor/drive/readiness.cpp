#include "drive/readiness.hpp"

#include <algorithm>
#include <iterator>

#include "os/linux/listening.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/sock_diag.hpp"

namespace runmain::drive {
namespace {

// As /proc has them, 15 bytes at most.
constexpr std::string_view kObserverName = "runmain-observe";
constexpr std::string_view kKeeperName = "runmain-keeper";

Duration slower(Duration pause) { return std::min<Duration>(pause * 2, kLookSlowest); }

bool is_stream(const ReadyListener& l) { return l.bound.rfind("udp:", 0) != 0; }

std::string probe_address(const ReadinessJob& job) {
  return drive::probe_address(job.spec.address, job.listeners, job.port);
}

}  // namespace

std::string probe_address(const std::string& configured, const std::vector<ReadyListener>& listeners,
                          std::uint16_t port) {
  if (!configured.empty()) return configured;
  const auto it = std::find_if(listeners.begin(), listeners.end(), is_stream);
  if (it != listeners.end()) return it->bound;
  return port == 0 ? std::string() : ":" + std::to_string(port);
}

Readiness::Readiness(os::Loop& loop, std::function<void(const core::Ready&)> ready)
    : loop_(loop), ready_(std::move(ready)), timer_(loop.timer([this] { on_timer(); })) {}

Result<void> Readiness::start(ReadinessJob spec) {
  const ChildKey key = spec.key;
  const Time now = os::Loop::now();
  stop(key);
  if (spec.spec.kind == core::ReadyKind::notify || spec.spec.kind == core::ReadyKind::exec) return {};
  if (spec.since == Time()) spec.since = now;
  Job job;
  job.spec = std::move(spec);
  if (auto prepared = prepare(job, now); !prepared) return prepared.error();
  schedule(key, jobs_.emplace(key, std::move(job)).first->second);
  arm();
  return {};
}

Result<void> Readiness::prepare(Job& job, Time now) {
  const core::ReadySpec& ready = job.spec.spec;
  if (ready.kind == core::ReadyKind::after) {
    job.elapsed_at = job.spec.since + ready.after;
    job.elapsed_proof = core::Proof::elapsed;
    return {};
  }
  if (ready.kind != core::ReadyKind::automatic) return prepare_probes(job, now + kLookFirst);
  job.elapsed_at = job.spec.since + kUnprovenAfter;
  job.looks = !job.spec.listeners.empty();
  job.looks_own = !job.looks && probe_address(job.spec).empty();
  if (job.looks || job.looks_own) job.next_look = now + kLookFirst;
  if (probe_address(job.spec).empty()) return {};
  // Our listener accepts at once, so a probe that comes too early only waits in its backlog; a port of the
  // program's own refuses at once.
  return prepare_probes(job, job.looks ? std::max(now, job.spec.since + kProbeAfter) : now + kLookFirst);
}

Result<void> Readiness::prepare_probes(Job& job, Time first) {
  const std::string address = probe_address(job.spec);
  if (address.empty())
    return Error{"there is no address to probe", {}, "set listen, port or ready.address", EINVAL};
  auto targets = probe_targets(address);
  if (!targets) return targets.error();
  job.targets = std::move(*targets);
  if (job.spec.spec.kind == core::ReadyKind::http) {
    auto request = probe_request(job.spec.spec.path, job.targets.front().host);
    if (!request) return request.error();
    job.request = std::move(*request);
  }
  job.next_probe = first;
  if (job.looks) job.probe_pause = kLookSlowest;
  return {};
}

void Readiness::stop(const ChildKey& key) {
  const auto it = jobs_.find(key);
  if (it == jobs_.end()) return;
  for (auto p = probes_.begin(); p != probes_.end();) {
    const auto next = std::next(p);
    if (p->second.key == key) drop_probe(p);
    p = next;
  }
  jobs_due_.erase({it->second.due, key});
  jobs_.erase(it);
  arm();
}

void Readiness::set_pid(const ChildKey& key, std::int32_t pid) {
  const auto it = jobs_.find(key);
  if (it != jobs_.end()) it->second.spec.pid = pid;
}

void Readiness::on_timer() {
  armed_ = kNever;
  const Time now = os::Loop::now();
  int steps = 0;
  while (!jobs_due_.empty() && jobs_due_.begin()->first <= now && steps++ < kStepsATurn) {
    const ChildKey key = jobs_due_.begin()->second;  // a copy: the step moves the entry
    step_job(key, now);
  }
  while (!probes_due_.empty() && probes_due_.begin()->first <= now && steps++ < 2 * kStepsATurn) {
    step_probe(probes_due_.begin()->second, now);
  }
  arm();
}

void Readiness::step_job(const ChildKey& key, Time now) {
  Job& job = jobs_.at(key);
  if (now >= job.next_look) {
    if (job.looks && sees_epoll(job, now)) return report(key, core::Proof::epoll);
    if (std::string at = job.looks_own ? listens_at(job, now, false) : std::string(); !at.empty())
      return report(key, core::Proof::listens, std::move(at));
    job.next_look = now + job.look_pause;
    job.look_pause = slower(job.look_pause);
    if (job.looks_own)
      job.look_pause = std::max<Duration>(job.look_pause, kOwnLookShare * static_cast<int>(jobs_.size()));
  }
  if (now >= job.elapsed_at) return give_up(key, job, now);
  if (now >= job.next_probe) start_round(key, job, now);
  schedule(key, job);
}

bool Readiness::sees_epoll(const Job& job, Time now) {
  const auto polls = [&](pid_t pid) {
    return std::any_of(job.spec.listeners.begin(), job.spec.listeners.end(),
                       [&](const ReadyListener& l) { return os::process_polls_inode(pid, l.inode); });
  };
  if (polls(job.spec.pid)) return true;
  // Most programs are one process so early, and a pass over /proc takes as long as the start of some.
  if (job.look_pause <= kLooksAlone && !os::has_children(job.spec.pid)) return false;
  const auto& tree = trees_.of(job.spec.tag, now);
  return std::any_of(tree.begin(), tree.end(), [&](pid_t pid) { return pid != job.spec.pid && polls(pid); });
}

// It is time. What it was thought to bind need not be what it has bound.
void Readiness::give_up(const ChildKey& key, const Job& job, Time now) {
  const bool by_itself = job.elapsed_proof == core::Proof::unproven && job.spec.listeners.empty();
  std::string at = by_itself ? listens_at(job, now, true) : std::string();
  const core::Proof proof = at.empty() ? job.elapsed_proof : core::Proof::listens;
  report(key, proof, std::move(at));
}

// "127.0.0.1:3000, :3001", empty while there is nothing. A runmain in the tree listens for its services, and
// for its programs' telemetry, which is no address of the service: that socket is its observer's, too. Until
// that one is there nobody can tell them apart, so what its keeper has counts then or at last.
std::string Readiness::listens_at(const Job& job, Time now, bool at_last) {
  std::vector<pid_t> pids{job.spec.pid};
  for (const pid_t pid : trees_.of(job.spec.tag, now)) {
    if (pid != job.spec.pid) pids.push_back(pid);
  }
  std::vector<pid_t> observers;
  bool has_keeper = false;
  for (const pid_t pid : pids) {
    const auto process = os::process_state(pid);
    if (process && process->name == kObserverName) observers.push_back(pid);
    has_keeper = has_keeper || (process && process->name == kKeeperName);
  }
  if (has_keeper && observers.empty() && !at_last) return {};
  std::string text;
  std::size_t told = 0;
  for (const os::Listening& l : os::listening_sockets(pids, observers)) {
    if (std::find(kDebuggerPorts.begin(), kDebuggerPorts.end(), l.port) != kDebuggerPorts.end()) continue;
    if (told++ < kListeningToldMax) text += (text.empty() ? "" : ", ") + l.address;
  }
  return text;
}

bool Readiness::owns(const ChildKey& key, std::uint64_t inode) {
  const auto it = jobs_.find(key);
  if (it == jobs_.end()) return false;
  const ReadinessJob& job = it->second.spec;
  if (os::process_has_socket(job.pid, inode)) return true;
  const auto& tree = trees_.of(job.tag, os::Loop::now());
  return std::any_of(tree.begin(), tree.end(),
                     [&](pid_t pid) { return pid != job.pid && os::process_has_socket(pid, inode); });
}

// Several at once, because an idle old generation can be the first in the kernel's queue for ever: while it
// is busy with one connection, the next goes to somebody else.
void Readiness::start_round(const ChildKey& key, Job& job, Time now) {
  job.next_probe = kNever;
  job.round_foreign = false;
  const ProbeTarget& target = job.targets[job.attempts % job.targets.size()];
  while (job.in_flight < job.burst && probes_.size() < kProbesMax) {
    const std::uint64_t number = ++last_probe_;
    Running running;
    running.key = key;
    running.due = now;
    running.probe = std::make_unique<Probe>(
        loop_, target, job.request, [this, key](std::uint64_t inode) { return owns(key, inode); },
        [this, number] {
          step_probe(number, os::Loop::now());
          arm();
        },
        now);
    probes_.emplace(number, std::move(running));
    probes_due_.emplace(now, number);
    ++job.in_flight;
  }
  if (job.in_flight == 0) job.next_probe = now + kProbesFull;
}

void Readiness::step_probe(std::uint64_t number, Time now) {
  const auto it = probes_.find(number);
  if (it == probes_.end()) return;
  if (const auto outcome = it->second.probe->step(now)) {
    finished(number, *outcome, now);
    return;
  }
  Running& running = it->second;
  probes_due_.erase({running.due, number});
  running.due = running.probe->next();
  probes_due_.emplace(running.due, number);
}

void Readiness::finished(std::uint64_t number, Probe::Outcome outcome, Time now) {
  const auto it = probes_.find(number);
  const ChildKey key = it->second.key;
  drop_probe(it);
  if (outcome == Probe::Outcome::counted) {
    const Job& job = jobs_.at(key);
    const bool own = job.spec.listeners.empty() && !job.targets.empty();
    std::string at = own ? job.targets[job.attempts % job.targets.size()].host : std::string();
    report(key, core::Proof::probe, std::move(at));
    return;
  }
  Job& job = jobs_.at(key);
  --job.in_flight;
  if (outcome == Probe::Outcome::foreign) {
    ++foreign_;
    job.round_foreign = true;
  } else {
    ++job.attempts;
  }
  if (job.in_flight > 0) return;
  job.burst = job.round_foreign ? std::min(job.burst * 2, kProbesEachMax) : 1;
  job.next_probe = now + job.probe_pause;
  job.probe_pause = slower(job.probe_pause);
  schedule(key, job);
}

void Readiness::report(const ChildKey& key, core::Proof proof, std::string address) {
  const core::Ready ready{key, proof, std::move(address)};
  stop(ready.key);  // the job that `key` may be part of
  ready_(ready);
}

void Readiness::drop_probe(std::map<std::uint64_t, Running>::iterator it) {
  probes_due_.erase({it->second.due, it->first});
  probes_.erase(it);
}

void Readiness::schedule(const ChildKey& key, Job& job) {
  jobs_due_.erase({job.due, key});
  job.due = std::min({job.next_look, job.next_probe, job.elapsed_at});
  if (job.due != kNever) jobs_due_.emplace(job.due, key);
}

void Readiness::arm() {
  Time first = kNever;
  if (!jobs_due_.empty()) first = jobs_due_.begin()->first;
  if (!probes_due_.empty()) first = std::min(first, probes_due_.begin()->first);
  if (first == armed_) return;
  armed_ = first;
  timer_->set(first);
}

}  // namespace runmain::drive

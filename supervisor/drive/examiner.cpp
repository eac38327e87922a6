#include "drive/examiner.hpp"

#include <algorithm>
#include <utility>

namespace runmain::drive {

core::Stall stall_of(os::StallKind kind) {
  switch (kind) {
    case os::StallKind::unknown: return core::Stall::unknown;
    case os::StallKind::starved: return core::Stall::starved;
    case os::StallKind::stopped: return core::Stall::stopped;
    case os::StallKind::waiting: return core::Stall::waiting;
    case os::StallKind::busy: return core::Stall::busy;
    case os::StallKind::uninterruptible: return core::Stall::uninterruptible;
  }
  return core::Stall::unknown;
}

// One that is gone is told of by the keeper, and one that a debugger has stopped is in a person's hand.
core::Looked examined(const ChildKey& key, const os::StallSample& first, const os::StallSample& second) {
  os::StallVerdict verdict = os::stall_verdict(first, second);
  core::Looked seen{key, second.threads.empty() || verdict.traced, stall_of(verdict.kind), {}};
  seen.text = std::move(verdict.text);
  seen.asked = true;
  seen.cpu = std::chrono::nanoseconds(verdict.cpu_ns);
  return seen;
}

Examiner::Examiner(os::Loop& loop, std::function<void(const core::Event&)> tell)
    : loop_(loop), tell_(std::move(tell)), timer_(loop_.timer([this] { on_timer(); })) {}

void Examiner::examine(const ChildKey& key, std::int32_t pid, std::uint64_t tag) {
  Patient patient;
  patient.pid = pid;
  patient.tag = tag;
  patient.first = sample(patient, os::Loop::now());
  open_.insert_or_assign(key, std::move(patient));
  arm();
}

void Examiner::stop(const ChildKey& key) {
  if (open_.erase(key) != 0) arm();
}

void Examiner::on_timer() {
  const Time now = os::Loop::now();
  std::vector<core::Looked> seen;
  for (auto it = open_.begin(); it != open_.end();) {
    Patient& patient = it->second;
    const Duration between = now - patient.first.at;
    if (between < kStallSpan) {
      ++it;
      continue;
    }
    os::StallSample second = sample(patient, now);
    if (between > kStallSpan + kHealthLate && patient.repeats++ < kHealthRepeatsMax) {
      patient.first = std::move(second);  // it was us who had no CPU, or was stopped, and perhaps all of us
      ++it;
      continue;
    }
    seen.push_back(examined(it->first, patient.first, second));
    it = open_.erase(it);
  }
  arm();
  for (const core::Looked& look : seen) tell_(look);
}

os::StallSample Examiner::sample(const Patient& patient, Time now) {
  std::vector<pid_t> pids{patient.pid};
  for (const pid_t pid : trees_.of(patient.tag, now)) {
    if (pid != patient.pid) pids.push_back(pid);
  }
  return os::stall_sample(pids, now);
}

void Examiner::arm() {
  Time first = kNever;
  for (const auto& [key, patient] : open_) first = std::min(first, patient.first.at + kStallSpan);
  timer_->set(first);
}

}  // namespace runmain::drive

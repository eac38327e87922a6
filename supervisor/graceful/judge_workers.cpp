// How workers start and end.
#include <sys/wait.h>

#include <algorithm>

#include "graceful/rules.hpp"

namespace runmain::graceful {
namespace {

constexpr Nanoseconds kReadyMax = kSecond;  // from ready to the first answer, beyond what one takes
constexpr std::size_t kWorkersTold = 3;

std::string how_it_ended(const Worker& worker) {
  if (worker.status == -1) return "ended";
  if (WIFSIGNALED(worker.status)) return "was ended by signal " + std::to_string(WTERMSIG(worker.status));
  return "exited with status " + std::to_string(WEXITSTATUS(worker.status));
}

// Sentences about the first few of them.
template <class Which, class Say>
std::vector<std::string> told(const Observation& o, const Which& which, const Say& say) {
  std::vector<std::string> lines;
  std::size_t n = 0;
  for (const Worker& worker : o.workers) {
    if (which(worker) && ++n <= kWorkersTold) lines.push_back(say(worker));
  }
  if (n > kWorkersTold) lines.push_back(std::to_string(n - kWorkersTold) + " more");
  return lines;
}

Nanoseconds slowest_plain(const Observation& o) {
  Nanoseconds slowest = 0;
  for (const Ask* ask : asks_of(o, Trial::plain, [](const Ask& a) { return a.outcome == Outcome::answered; }))
    slowest = std::max(slowest, ask->end - ask->begin);
  return slowest;
}

const char* trial_text(Trial trial) {
  switch (trial) {
    case Trial::idle: return "with kept connections that nobody asks";
    case Trial::silent: return "with connections that say nothing";
    case Trial::half: return "with connections that have sent half a request";
    case Trial::in_flight: return "with requests in flight";
    case Trial::slow: return "with slow readers";
    case Trial::load: return "under load";
    case Trial::end: return "at the end";
    default: return "without any connection";
  }
}

std::string timeout_text(const Observation& o, Trial trial) {
  const auto n = std::count_if(o.workers.begin(), o.workers.end(),
                               [trial](const Worker& w) { return w.killed && w.trial == trial; });
  return std::string(trial_text(trial)) + " " + counted(static_cast<std::size_t>(n), "worker") +
         (n == 1 ? " was" : " were") + " not gone after " + time_text(o.stop_timeout) +
         ", and had to be killed";
}

}  // namespace

void judge_own_socket(const Observation& o, Findings& found) {
  const auto answered = asks_of(o, [](const Ask& a) { return a.outcome == Outcome::answered; });
  if (!answered.empty()) return;
  if (o.own_addresses.empty() && !o.says_in_use) return;
  std::vector<std::string> evidence;
  for (const std::string& address : o.own_addresses)
    evidence.push_back("it listens at " + address + " by itself");
  if (o.says_in_use) evidence.push_back("its output says that an address is already in use");
  evidence.push_back("nobody answers at " + (o.listen.empty() ? "the socket of runmain" : o.listen) +
                     ", which it has as fd 3");
  add(found, Cause::own_socket, std::move(evidence));
}

void judge_ready(const Observation& o, Findings& found) {
  if (has(found, Cause::own_socket)) return;
  const auto first = asks_of(o, Trial::start, [](const Ask&) { return true; });
  const auto bad = [](const Ask* a) { return is_lost(*a) || a->status >= 500; };
  const auto fails = std::count_if(first.begin(), first.end(), bad);
  const auto plain = asks_of(o, Trial::plain, [](const Ask& a) { return a.outcome == Outcome::answered; });
  const bool plain_is_good =
      std::any_of(plain.begin(), plain.end(), [](const Ask* a) { return a->status < 500; });
  const auto good = std::find_if(first.begin(), first.end(), [&](const Ask* a) { return !bad(a); });
  if (good == first.end() || !plain_is_good) return;
  const Nanoseconds took = (*good)->end - first.front()->begin;
  std::vector<std::string> evidence;
  if (fails > 0) {
    evidence.push_back(
        counted(static_cast<std::size_t>(fails), "request") + " right after it was ready failed" +
        ((*std::find_if(first.begin(), first.end(), bad))->status >= 500 ? " with an error" : ""));
  } else if (took <= kReadyMax + 3 * slowest_plain(o)) {
    return;
  }
  const auto ready =
      std::find_if(o.workers.begin(), o.workers.end(), [](const Worker& w) { return w.ready != 0; });
  if (ready != o.workers.end())
    evidence.push_back("ready " + time_text(ready->ready - ready->started) + " after the start, known by \"" +
                       ready->proof + "\"");
  evidence.push_back("the first good answer came " + time_text(took) + " after that");
  add(found, Cause::ready_too_early, std::move(evidence));
}

void judge_idle_worker(const Observation& o, Findings& found) {
  if (o.idle_slots.empty() || has(found, Cause::own_socket)) return;
  std::vector<std::string> evidence;
  for (const std::uint32_t slot : o.idle_slots)
    evidence.push_back("worker " + std::to_string(slot) +
                       " answered no request, not even while the others were stopped");
  for (const std::string& address : o.own_addresses)
    evidence.push_back("one of its processes listens at " + address + " by itself");
  add(found, Cause::worker_idle, std::move(evidence));
}

void judge_crashes(const Observation& o, Findings& found) {
  // Who waits in accept(2) while another one shuts the socket down gets an error that programs do not expect.
  const auto is_shut = [&](Trial trial) {
    return std::find(o.listener_shut.begin(), o.listener_shut.end(), trial) != o.listener_shut.end();
  };
  auto evidence = told(
      o, [&](const Worker& w) { return w.ready != 0 && w.ended != 0 && !w.asked && !is_shut(w.trial); },
      [](const Worker& w) {
        return worker_text(w) + " " + how_it_ended(w) + ", in the trial \"" + id_of(w.trial) + "\"";
      });
  if (!evidence.empty()) add(found, Cause::crashes, std::move(evidence));
}

void judge_reloads(const Observation& o, Findings& found) {
  std::vector<std::string> evidence;
  for (const Seen& seen : o.trials) {
    if (!seen.reload_fault.empty() && evidence.empty()) evidence.push_back(seen.reload_fault);
  }
  const bool is_explained = has(found, Cause::crashes) || has(found, Cause::listener_shut);
  if (!evidence.empty() && !is_explained) add(found, Cause::reload_fails, std::move(evidence));
}

void judge_socket(const Observation& o, Findings& found) {
  if (o.unlinked)
    add(found, Cause::socket_unlinked, {o.listen + " is gone, or another socket has its place"});
  if (o.listener_shut.empty()) return;
  std::vector<std::string> evidence{"it was shut down " + counted(o.listener_shut.size(), "time") +
                                    ", first in the trial \"" + id_of(o.listener_shut.front()) + "\""};
  if (const auto lost = asks_of(o, is_lost); !lost.empty())
    evidence.push_back("of all requests " + outcomes_text(lost) + after_drain_text(lost));
  const auto crashed = std::count_if(o.workers.begin(), o.workers.end(), [](const Worker& w) {
    return w.ready != 0 && w.ended != 0 && !w.asked;
  });
  if (crashed > 0)
    evidence.push_back(counted(static_cast<std::size_t>(crashed), "worker") + " ended by " +
                       (crashed == 1 ? "itself" : "themselves") +
                       ", perhaps of the error that accept(2) says then");
  add(found, Cause::listener_shut, std::move(evidence));
}

void judge_sigterm(const Observation& o, Findings& found) {
  if (timed_out(o, Trial::quiet)) {
    add(found, Cause::sigterm_ignored, {timeout_text(o, Trial::quiet)});
    return;
  }
  // Not explained by connections that it waits for: all that was on its way is answered by then.
  std::vector<std::string> evidence;
  for (const Trial trial : {Trial::in_flight, Trial::slow, Trial::end}) {
    if (timed_out(o, trial)) evidence.push_back(timeout_text(o, trial));
  }
  if (!evidence.empty()) add(found, Cause::sigterm_ignored, std::move(evidence));
}

void judge_exit_status(const Observation& o, Findings& found) {
  auto evidence = told(
      o,
      [](const Worker& w) {
        return w.asked && !w.killed && w.status != -1 && w.status != 0 && !died_of_sigterm(w);
      },
      [](const Worker& w) { return worker_text(w) + " " + how_it_ended(w) + " after it was asked to end"; });
  if (!evidence.empty()) add(found, Cause::exit_status, std::move(evidence));
}

void judge_left(const Observation& o, Findings& found) {
  auto evidence = told(
      o, [](const Worker& w) { return !w.left.empty() && !w.killed && !died_of_sigterm(w); },
      [](const Worker& w) {
        return w.left.front() +
               (w.left.size() > 1 ? " and " + std::to_string(w.left.size() - 1) + " more" : "") + " of " +
               worker_text(w) + " still lived when its main process had ended, and had to be killed";
      });
  if (!evidence.empty()) add(found, Cause::child_left, std::move(evidence));
}

void judge_waits(const Observation& o, Findings& found) {
  if (timed_out(o, Trial::quiet)) return;
  std::vector<std::string> kept;
  if (timed_out(o, Trial::idle)) kept.push_back(timeout_text(o, Trial::idle));
  if (timed_out(o, Trial::load)) kept.push_back(timeout_text(o, Trial::load));
  const auto told_last =
      asks_of(o, Trial::load, [](const Ask& a) { return a.client == Client::kept && a.last; });
  if (timed_out(o, Trial::load) && told_last.empty())
    kept.push_back("no answer on a kept connection said Connection: close");
  if (!kept.empty()) add(found, Cause::keeps_connections, std::move(kept));
  if (timed_out(o, Trial::silent)) add(found, Cause::waits_for_silent, {timeout_text(o, Trial::silent)});
  if (timed_out(o, Trial::half)) add(found, Cause::waits_for_half, {timeout_text(o, Trial::half)});
}

}  // namespace runmain::graceful

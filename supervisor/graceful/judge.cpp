#include "graceful/judge.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <utility>

#include <sys/wait.h>

#include "graceful/fixes.hpp"
#include "graceful/rules.hpp"

namespace runmain::graceful {
namespace {

// Those that explain others go first.
constexpr std::array<void (*)(const Observation&, Findings&), 16> kRules{
    judge_own_socket, judge_ready,   judge_idle_worker, judge_plain,  judge_socket,    judge_crashes,
    judge_reloads,    judge_sigterm, judge_exit_status, judge_left,   judge_in_flight, judge_accepted,
    judge_refusals,   judge_kept,    judge_waits,       judge_held_up};

const char* word_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::answered: return "answered";
    case Outcome::closed: return "closed before anything was asked";
    case Outcome::crossed: return "sent as it was closed";
    case Outcome::refused: return "refused";
    case Outcome::reset: return "reset";
    case Outcome::dropped: return "closed without an answer";
    case Outcome::cut: return "cut within the answer";
    case Outcome::reset_idle: return "reset while idle";
    case Outcome::timed_out: return "not answered in time";
    case Outcome::not_http: return "answered with what is no HTTP";
    case Outcome::open: return "left open";
  }
  return "";
}

}  // namespace

std::vector<Finding> judge(const Observation& o) {
  Findings found;
  for (const auto rule : kRules) rule(o, found);
  std::sort(found.begin(), found.end(), [](const Finding& a, const Finding& b) { return a.cause < b.cause; });
  for (Finding& one : found) one.fix = fix_of(one.cause, o);
  return found;
}

std::vector<std::string> notes_of(const Observation& o) {
  std::vector<std::string> notes;
  const auto crossed = asks_of(o, [](const Ask& a) { return a.outcome == Outcome::crossed; });
  if (!crossed.empty())
    notes.push_back(counted(crossed.size(), "request") +
                    " met the end of an idle connection half way; no server can help it, clients ask again");
  const auto resignal = std::count_if(o.workers.begin(), o.workers.end(), [](const Worker& w) {
    return w.asked && !w.killed && died_of_sigterm(w);
  });
  if (resignal > 0)
    notes.push_back(
        "workers end by SIGTERM itself instead of status 0: nothing handles it, or it is raised again after "
        "the "
        "drain, or a shell stands in front; runmain takes it as an end in order");
  std::size_t longest = 0;
  for (const Ask* ask : asks_of(o, Trial::slow, [](const Ask& a) { return a.client == Client::slow_reader; }))
    longest = std::max(longest, ask->body_bytes);
  if (find_trial(o, Trial::slow) != nullptr && longest < (256U << 10U))
    notes.push_back(
        "the answer of " + o.path + " has " + std::to_string(longest) +
        " bytes, which fit into the socket's buffer: for a slow reader that counts give --request a "
        "path with a longer one");
  for (const Seen& seen : o.trials) {
    if (seen.skipped) notes.push_back(std::string(id_of(seen.trial)) + " was left out: " + seen.reason);
  }
  if (o.asks_left_out > 0)
    notes.push_back(std::to_string(o.asks_left_out) + " requests more than are kept were not judged");
  return notes;
}

bool has(const Findings& found, Cause cause) {
  return std::any_of(found.begin(), found.end(), [cause](const Finding& f) { return f.cause == cause; });
}

void add(Findings& found, Cause cause, std::vector<std::string> evidence) {
  found.push_back({cause, std::move(evidence), {}});
}

std::vector<const Ask*> asks_of(const Observation& o, const Wanted& wanted) {
  std::vector<const Ask*> asks;
  for (const Seen& seen : o.trials) {
    for (const Ask& ask : seen.asks) {
      if (wanted(ask)) asks.push_back(&ask);
    }
  }
  return asks;
}

std::vector<const Ask*> asks_of(const Observation& o, Trial trial, const Wanted& wanted) {
  std::vector<const Ask*> asks;
  const Seen* seen = find_trial(o, trial);
  if (seen == nullptr) return asks;
  for (const Ask& ask : seen->asks) {
    if (wanted(ask)) asks.push_back(&ask);
  }
  return asks;
}

bool is_lost(const Ask& ask) {
  switch (ask.outcome) {
    case Outcome::refused:
    case Outcome::reset:
    case Outcome::dropped:
    case Outcome::cut:
    case Outcome::timed_out:
    case Outcome::not_http: return true;
    default: return false;
  }
}

bool timed_out(const Observation& o, Trial trial) {
  return std::any_of(o.workers.begin(), o.workers.end(),
                     [trial](const Worker& w) { return w.killed && w.trial == trial; });
}

bool died_of_sigterm(const Worker& worker) {
  return worker.status != -1 && WIFSIGNALED(worker.status) && WTERMSIG(worker.status) == SIGTERM;
}

std::string outcomes_text(const std::vector<const Ask*>& asks) {
  std::string text;
  for (int i = 0; i <= static_cast<int>(Outcome::open); ++i) {
    const auto outcome = static_cast<Outcome>(i);
    const auto n = std::count_if(asks.begin(), asks.end(),
                                 [outcome](const Ask* ask) { return ask->outcome == outcome; });
    if (n == 0) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(n) + (n == 1 ? " was " : " were ") + word_of(outcome);
  }
  return text;
}

std::string after_drain_text(const std::vector<const Ask*>& asks) {
  Nanoseconds least = 0;
  Nanoseconds most = -1;
  for (const Ask* ask : asks) {
    if (ask->drain == 0 || ask->end < ask->drain) continue;
    const Nanoseconds after = ask->end - ask->drain;
    least = most < 0 ? after : std::min(least, after);
    most = std::max(most, after);
  }
  if (most < 0) return "";
  const std::string to = time_text(most);
  const std::string from = time_text(least);
  return from == to ? ", " + to + " after the drain began"
                    : ", " + from + " to " + to + " after the drain began";
}

std::string time_text(Nanoseconds time) {
  char text[32];
  if (time < kSecond) {
    std::snprintf(text, sizeof text, "%lld ms", static_cast<long long>(time / kMillisecond));
  } else {
    std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(time) / static_cast<double>(kSecond));
  }
  return text;
}

std::string counted(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string worker_text(const Worker& worker) {
  return "worker " + std::to_string(worker.slot) + " of generation " + std::to_string(worker.generation) +
         " (pid " + std::to_string(worker.pid) + ")";
}

}  // namespace runmain::graceful

// What clients saw.
#include <algorithm>

#include "graceful/rules.hpp"

namespace runmain::graceful {
namespace {

constexpr Nanoseconds kHeldUpMin = kSecond;
constexpr Nanoseconds kHeldUpTimes = 10;  // as long as the slowest without slow clients

bool is_of_reload(const Observation& o, const Ask& ask) {
  return std::any_of(o.trials.begin(), o.trials.end(), [&](const Seen& seen) {
    return seen.reloads > 0 && ask.begin >= seen.begin && ask.begin <= seen.end;
  });
}

std::string of_all(const std::vector<const Ask*>& bad, std::size_t all, const std::string& what) {
  return std::to_string(bad.size()) + " of " + counted(all, what) + ": " + outcomes_text(bad) +
         after_drain_text(bad);
}

// Slow at the client's wish: on their way when a drain begins.
bool is_on_its_way(Client client) {
  return client == Client::trickled || client == Client::slow_path || client == Client::slow_reader;
}

bool is_killed_by_time_out(const Observation& o, const Ask& ask) {
  return std::any_of(o.workers.begin(), o.workers.end(), [&](const Worker& w) {
    return w.killed && w.drain != 0 && ask.end >= w.drain + o.stop_timeout - kSecond / 10;
  });
}

}  // namespace

void judge_plain(const Observation& o, Findings& found) {
  if (has(found, Cause::own_socket)) return;
  const auto all = asks_of(o, Trial::plain, [](const Ask&) { return true; });
  const auto bad = asks_of(o, Trial::plain, [](const Ask& a) { return is_lost(a) || a.status >= 500; });
  if (bad.empty() || (has(found, Cause::worker_idle) && bad.size() < all.size())) return;
  std::vector<std::string> evidence{of_all(bad, all.size(), "request")};
  const auto error = std::find_if(bad.begin(), bad.end(), [](const Ask* a) { return a->status >= 500; });
  if (error != bad.end()) evidence.push_back("status " + std::to_string((*error)->status) + " for " + o.path);
  add(found, Cause::plain_fails, std::move(evidence));
}

void judge_in_flight(const Observation& o, Findings& found) {
  if (has(found, Cause::listener_shut)) return;  // it has the figures
  const auto all = asks_of(o, [](const Ask& a) { return is_on_its_way(a.client); });
  const auto bad = asks_of(o, [&](const Ask& a) {
    return (is_on_its_way(a.client) && (is_lost(a) || a.outcome == Outcome::closed) &&
            a.outcome != Outcome::timed_out && !is_killed_by_time_out(o, a));
  });
  const auto cut = asks_of(o, [&](const Ask& a) {
    return !is_on_its_way(a.client) && a.outcome == Outcome::cut && is_of_reload(o, a);
  });
  if (bad.empty() && cut.empty()) return;
  std::vector<std::string> evidence;
  if (!bad.empty()) evidence.push_back(of_all(bad, all.size(), "slow request"));
  if (!cut.empty())
    evidence.push_back(counted(cut.size(), "answer") + " under load was cut" + after_drain_text(cut));
  const auto lost = asks_of(o, Trial::load, is_lost);
  if (!lost.empty()) evidence.push_back("under load " + outcomes_text(lost) + after_drain_text(lost));
  if (std::any_of(o.workers.begin(), o.workers.end(), died_of_sigterm))
    evidence.push_back("workers were ended by SIGTERM itself: perhaps nothing handles it");
  add(found, Cause::in_flight_cut, std::move(evidence));
}

void judge_accepted(const Observation& o, Findings& found) {
  if (has(found, Cause::in_flight_cut) || has(found, Cause::plain_fails)) return;
  const auto is_new = [&](const Ask& a) {
    return (a.client == Client::fresh || a.client == Client::hesitant) && is_of_reload(o, a) &&
           !is_killed_by_time_out(o, a);
  };
  const auto bad = asks_of(o, [&](const Ask& a) {
    if (!is_new(a) || a.outcome == Outcome::cut) return false;
    if (a.client == Client::hesitant)
      return is_lost(a) || a.outcome == Outcome::closed || a.outcome == Outcome::reset_idle;
    return is_lost(a);
  });
  // Held up by slow clients is another finding; what waited in a listener that was shut down, too.
  if (bad.empty() || has(found, Cause::listener_shut) || has(found, Cause::sigterm_ignored)) return;
  const auto late =
      std::count_if(bad.begin(), bad.end(), [](const Ask* a) { return a->outcome == Outcome::timed_out; });
  if (static_cast<std::size_t>(late) == bad.size() && has(found, Cause::worker_idle)) return;
  const auto hesitant = asks_of(o, [](const Ask& a) { return a.client == Client::hesitant; });
  std::vector<const Ask*> bad_hesitant;
  std::vector<const Ask*> bad_fresh;
  for (const Ask* ask : bad) (ask->client == Client::hesitant ? bad_hesitant : bad_fresh).push_back(ask);
  std::vector<std::string> evidence;
  if (!bad_fresh.empty())
    evidence.push_back(of_all(
        bad_fresh, asks_of(o, [&](const Ask& a) { return is_new(a) && a.client == Client::fresh; }).size(),
        "new connection"));
  if (!bad_hesitant.empty())
    evidence.push_back(of_all(bad_hesitant, hesitant.size(), "connection") +
                       ", on connections that were accepted and had not spoken");
  add(found, Cause::accepted_lost, std::move(evidence));
}

void judge_refusals(const Observation& o, Findings& found) {
  if (has(found, Cause::plain_fails)) return;
  const auto bad = asks_of(o, [&](const Ask& a) { return a.status >= 500 && is_of_reload(o, a); });
  if (bad.empty()) return;
  add(found, Cause::refuses_draining,
      {counted(bad.size(), "request") + (bad.size() == 1 ? " was" : " were") + " answered with status " +
       std::to_string(bad.front()->status) + after_drain_text(bad)});
}

void judge_kept(const Observation& o, Findings& found) {
  if (has(found, Cause::in_flight_cut) || has(found, Cause::plain_fails) || has(found, Cause::listener_shut))
    return;
  const auto is_kept = [](const Ask& a) { return a.client == Client::kept || a.client == Client::idle; };
  const auto all = asks_of(o, Trial::load, is_kept);
  const auto bad = asks_of(o, [&](const Ask& a) {
    const bool lost = a.outcome == Outcome::reset || a.outcome == Outcome::dropped;
    return is_kept(a) && a.before > 0 && lost && is_of_reload(o, a) && !is_killed_by_time_out(o, a);
  });
  const auto reset = asks_of(o, [&](const Ask& a) {
    return is_kept(a) && a.outcome == Outcome::reset_idle && is_of_reload(o, a) &&
           !is_killed_by_time_out(o, a);
  });
  if (bad.empty() && reset.empty()) return;
  std::vector<std::string> evidence;
  if (!bad.empty())
    evidence.push_back(of_all(bad, all.size(), "request") + ", on connections that had been used before");
  if (!reset.empty())
    evidence.push_back(counted(reset.size(), "kept connection") + (reset.size() == 1 ? " was" : " were") +
                       " reset instead of closed" + after_drain_text(reset));
  add(found, Cause::kept_lost, std::move(evidence));
}

void judge_held_up(const Observation& o, Findings& found) {
  if (has(found, Cause::ready_too_early)) return;  // they waited for who was not ready yet
  const auto is_fresh = [](const Ask& a) { return a.client == Client::fresh; };
  Nanoseconds slowest = 0;
  for (const Ask* ask : asks_of(o, Trial::plain, is_fresh))
    slowest = std::max(slowest, ask->end - ask->begin);
  const Nanoseconds limit = std::max(kHeldUpMin, kHeldUpTimes * slowest);
  std::vector<const Ask*> bad;
  Nanoseconds longest = 0;
  for (const Ask* ask : asks_of(o, Trial::slow, is_fresh)) {
    // What it waited from the drain on is about the drain.
    const Nanoseconds waited = (ask->drain == 0 ? ask->end : std::min(ask->end, ask->drain)) - ask->begin;
    if (waited <= limit) continue;
    bad.push_back(ask);
    longest = std::max(longest, waited);
  }
  if (bad.empty() || has(found, Cause::plain_fails) || has(found, Cause::own_socket)) return;
  add(found, Cause::holds_others_up,
      {counted(bad.size(), "request") + " beside slow clients took " + time_text(longest) +
       " at most, or got no answer; without them the slowest took " + time_text(slowest)});
}

}  // namespace runmain::graceful

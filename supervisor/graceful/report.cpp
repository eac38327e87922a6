#include "graceful/report.hpp"

#include <algorithm>

#include "graceful/judge.hpp"
#include "graceful/rules.hpp"

namespace runmain::graceful {
namespace {

using Json = nlohmann::ordered_json;

struct Range {
  Nanoseconds least = 0;
  Nanoseconds most = 0;
  std::size_t n = 0;

  void add(Nanoseconds time) {
    least = n == 0 ? time : std::min(least, time);
    most = std::max(most, time);
    ++n;
  }
  Json json() const {
    if (n == 0) return nullptr;
    return {{"least", least / kMillisecond}, {"most", most / kMillisecond}, {"of", n}};
  }
};

Range starts_of(const Observation& o) {
  Range range;
  for (const Worker& w : o.workers) {
    if (w.ready != 0) range.add(w.ready - w.started);
  }
  return range;
}

// Of a trial's workers; of all with Trial::start.
Range drains_of(const Observation& o, Trial trial) {
  Range range;
  for (const Worker& w : o.workers) {
    if (w.drain != 0 && w.ended != 0 && (trial == Trial::start || w.trial == trial))
      range.add(w.ended - w.drain);
  }
  return range;
}

Json trial_json(const Observation& o, const Seen& seen) {
  Json outcomes = Json::object();
  constexpr const char* kNames[] = {"answered", "closed",     "crossed",   "refused",  "reset", "dropped",
                                    "cut",      "reset_idle", "timed_out", "not_http", "open"};
  Nanoseconds slowest = 0;
  std::size_t requests = 0;
  std::size_t errors = 0;
  for (const Ask& ask : seen.asks) {
    auto& n = outcomes[kNames[static_cast<std::size_t>(ask.outcome)]];
    n = n.is_null() ? 1 : n.get<int>() + 1;
    requests += ask.outcome == Outcome::answered || is_lost(ask) ? 1 : 0;
    errors += ask.status >= 500 ? 1 : 0;
    if (ask.outcome == Outcome::answered && ask.client == Client::fresh)
      slowest = std::max(slowest, ask.end - ask.begin);
  }
  return {{"trial", id_of(seen.trial)},
          {"took_ms", (seen.end - seen.begin) / kMillisecond},
          {"reloads", seen.reloads},
          {"requests", requests},
          {"errors", errors},
          {"outcomes", std::move(outcomes)},
          {"slowest_ms", slowest / kMillisecond},
          {"drain_ms", seen.trial == Trial::start ? Json(nullptr) : drains_of(o, seen.trial).json()},
          {"left_out", seen.skipped}};
}

}  // namespace

nlohmann::ordered_json to_json(const Observation& o, const std::vector<Finding>& findings) {
  Json json{{"v", 1},
            {"command", o.command},
            {"listen", o.listen},
            {"served", o.served},
            {"stop_timeout_ms", o.stop_timeout / kMillisecond},
            {"start_ms", starts_of(o).json()},
            {"drain_ms", drains_of(o, Trial::start).json()}};
  json["trials"] = Json::array();
  for (const Seen& seen : o.trials) json["trials"].push_back(trial_json(o, seen));
  json["findings"] = Json::array();
  for (const Finding& f : findings)
    json["findings"].push_back({{"cause", id_of(f.cause)},
                                {"title", title_of(f.cause)},
                                {"contract", contract_of(f.cause)},
                                {"evidence", f.evidence},
                                {"fix", f.fix}});
  json["notes"] = notes_of(o);
  return json;
}

}  // namespace runmain::graceful

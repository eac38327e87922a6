#include "doctor/judge.hpp"

#include <algorithm>
#include <set>

#include "doctor/fixes.hpp"
#include "doctor/rules.hpp"

namespace runmain::doctor {
namespace {

using Rule = void (*)(const Look&, Findings&);
constexpr Rule kRules[] = {
    judge_double_init,        judge_auto_and_manual,    judge_exporter_twice, judge_reloader_both,
    judge_preload_fork,       judge_wrong_process,      judge_too_late,       judge_nothing_instrumented,
    judge_shared_instance_id, judge_refused_after_fork, judge_sigterm,        judge_lost_at_exit,
    judge_dead_collector,     judge_never_activated,    judge_never_ended,    judge_repeated_ids,
    judge_injector,           judge_no_telemetry,
};

// The same code in several workers is one thing to mend.
bool is_same_thing(const Finding& a, const Finding& b) {
  if (a.cause != b.cause || a.sides.size() != b.sides.size()) return false;
  for (std::size_t i = 0; i < a.sides.size(); ++i) {
    if (place_of(a.sides[i].stack) != place_of(b.sides[i].stack)) return false;
  }
  return true;
}

// Of several processes the one that serves tells it.
Findings joined(const Look& look, Findings all) {
  std::stable_sort(all.begin(), all.end(), [&](const Finding& a, const Finding& b) {
    if (a.cause != b.cause) return a.cause < b.cause;
    if (look.serves(a.pid) != look.serves(b.pid)) return look.serves(a.pid);
    return a.pid < b.pid;
  });
  Findings out;
  std::vector<std::set<pid_t>> others;
  for (Finding& one : all) {
    const auto same =
        std::find_if(out.begin(), out.end(), [&](const Finding& f) { return is_same_thing(f, one); });
    if (same != out.end()) {
      if (one.pid != same->pid) others[static_cast<std::size_t>(same - out.begin())].insert(one.pid);
    } else if (out.size() < kFindingsMax) {
      if (one.evidence.size() > kEvidenceMax) one.evidence.resize(kEvidenceMax);
      out.push_back(std::move(one));
      others.emplace_back();
    }
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!others[i].empty()) out[i].evidence.push_back("the same in pid " + list_of(others[i]));
  }
  return out;
}

}  // namespace

std::vector<Finding> judge(const Evidence& evidence) {
  const Look look(evidence);
  Findings found;
  for (const Rule rule : kRules) rule(look, found);
  found = joined(look, std::move(found));
  for (Finding& one : found) one.fix = fix_of(one, evidence);
  return found;
}

std::vector<std::string> notes_of(const Evidence& evidence) { return notes_on(Look(evidence)); }

}  // namespace runmain::doctor

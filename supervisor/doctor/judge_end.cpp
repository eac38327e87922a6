// How it ends: what SIGTERM does, what is lost, and what a dead collector costs.
#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "doctor/rules.hpp"

namespace runmain::doctor {
namespace {

constexpr Nanoseconds kSecond = 1'000'000'000;
constexpr Nanoseconds kLongBefore = kSecond;    // more than the delay of a batch that we set
constexpr Nanoseconds kDelayMin = 2 * kSecond;  // of a stop, before it is called delayed

std::string seconds(Nanoseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(time) / static_cast<double>(kSecond));
  return text;
}

const SignalHandled* handler_of(const Look& look, pid_t pid, const std::string& signal) {
  const SignalHandled* last = nullptr;
  for (const SignalHandled& s : look.all().signals) {
    if (s.pid == pid && s.signal == signal) last = &s;
  }
  return last;
}

// The caller of the language's own library is no program's file.
bool is_by_library(const Stack& stack) {
  const auto is_language = [](const std::string& frame) {
    return frame.find("/lib/python") != std::string::npos && frame.find("-packages/") == std::string::npos;
  };
  const auto caller = std::find_if_not(stack.begin(), stack.end(), is_language);
  return caller != stack.end() && is_library_frame(*caller);
}

// What ended the process, as far as anybody saw it.
struct End {
  Side side;
  std::string how;
};
std::optional<End> end_of(const Look& look, pid_t pid) {
  for (const Killed& kill : look.all().kills) {
    if (kill.target != pid || kill.signal != "SIGKILL") continue;
    // How a server ends its own children is nothing that its user does.
    if (look.all().stop.tried && kill.time >= look.all().stop.begin && is_by_library(kill.stack)) continue;
    return End{{kill.pid, "killed by " + look.name(kill.pid) + " here", kill.stack},
               "it was ended by SIGKILL, which runs nothing"};
  }
  for (const Exited& exit : look.all().exits) {
    const bool skips = exit.how == "os._exit" || exit.how == "os.abort" || exit.how == "process.reallyExit" ||
                       exit.how == "process.abort";
    if (exit.pid != pid || is_by_library(exit.stack)) continue;
    if (skips)
      return End{{pid, exit.how + " is called here", exit.stack},
                 exit.how + " skips what flushes at the end"};
    if (exit.how == "process.exit")
      return End{{pid, "process.exit is called here", exit.stack},
                 "process.exit waits for nothing that is on its way"};
  }
  return std::nullopt;
}

struct Loss {
  std::size_t ended = 0;
  std::set<std::string> names;
  std::size_t lost = 0;
};

// What a filter drops is no loss: spans of its names never come, also those that ended long before the
// process.
std::set<std::string> dropped_names(const Look& look, pid_t pid, const std::set<std::string>& came) {
  Nanoseconds last = 0;
  for (const SpanSeen& span : look.all().seen) {
    if (span.pid == pid && span.end) last = std::max(last, *span.end);
  }
  std::set<std::string> dropped;
  for (const SpanSeen& span : look.all().seen) {
    const bool long_before = span.end && *span.end + kLongBefore < last;
    if (span.pid == pid && long_before && came.count(span.trace + span.span) == 0) dropped.insert(span.name);
  }
  for (const SpanSeen& span : look.all().seen) {
    if (span.pid == pid && came.count(span.trace + span.span) != 0) dropped.erase(span.name);
  }
  return dropped;
}

Loss loss_of(const Look& look, pid_t pid) {
  const auto& seen = look.all().seen;
  Loss loss;
  if (std::none_of(seen.begin(), seen.end(), [pid](const SpanSeen& s) { return s.pid == pid && s.end; }))
    return loss;
  std::set<std::string> came;
  for (const WireSpan& span : look.all().spans) came.insert(span.trace + span.span);
  const std::set<std::string> dropped = dropped_names(look, pid, came);
  for (const SpanSeen& span : seen) {
    if (span.pid != pid || !span.end || !span.provider || !look.exports_by_otlp(pid, *span.provider))
      continue;
    if (dropped.count(span.name) != 0) continue;
    ++loss.ended;
    if (came.count(span.trace + span.span) != 0) continue;
    ++loss.lost;
    loss.names.insert(span.name);
  }
  return loss;
}

// Its spans are on their way nowhere, and other findings say why.
bool is_explained(const Look& look, pid_t pid) {
  const Stop& stop = look.all().stop;
  if (stop.collectors_imitated || stop.still_served) return true;
  // We have killed it: what it had would perhaps have come.
  return stop.tried && !stop.ended && !end_of(look, pid);
}

}  // namespace

void judge_sigterm(const Look& look, Findings& found) {
  const Stop& stop = look.all().stop;
  if (!stop.tried || stop.signal != "SIGTERM" || !stop.still_served) return;
  const pid_t pid = stop.still_served_by;
  const SignalHandled* handler = handler_of(look, pid, "SIGTERM");
  Finding f;
  f.cause = Cause::sigterm_swallowed;
  f.pid = pid;
  f.seen_by = {handler != nullptr, false, true};
  f.sure = handler != nullptr ? Sure::sure : Sure::likely;
  if (handler != nullptr)
    f.sides.push_back({pid, "SIGTERM is handled here (" + handler->handler + ")", handler->stack});
  f.evidence.push_back("it still answered " + seconds(*stop.still_served - stop.begin) + " after SIGTERM");
  const Process* process = look.process(pid);
  if (process != nullptr && process->handles_term) f.evidence.push_back("/proc says that it catches SIGTERM");
  found.push_back(std::move(f));
}

void judge_lost_at_exit(const Look& look, Findings& found) {
  for (const Process& process : look.all().processes) {
    const Loss loss = loss_of(look, process.pid);
    if (loss.lost == 0 || is_explained(look, process.pid)) continue;
    Finding f;
    f.cause = Cause::lost_at_exit;
    f.pid = process.pid;
    f.seen_by = {true, true, false};
    f.evidence.push_back(std::to_string(loss.lost) + " of " + counted(loss.ended, "span") +
                         " that had ended never came: " + quoted(*loss.names.begin()) +
                         (loss.names.size() > 1 ? " and others" : ""));
    // Ended by its signal, or with what waited in its queue: every program of its server would have that, and
    // it is told in passing (notes_on()).
    auto end = end_of(look, process.pid);
    if (!end) continue;
    f.sides.push_back(std::move(end->side));
    f.evidence.push_back(std::move(end->how));
    found.push_back(std::move(f));
  }
}

std::vector<std::string> notes_on(const Look& look) {
  std::vector<std::string> notes;
  const Stop& stop = look.all().stop;
  const auto& requests = look.all().requests;
  const bool good = std::any_of(requests.begin(), requests.end(),
                                [](const Request& r) { return r.status > 0 && r.status < 400; });
  if (!requests.empty() && !good)
    notes.push_back("no request was answered with success, but with " +
                    std::to_string(requests.front().status) +
                    ": is the path right (--request), and the host?");
  const auto& serving = look.serving();
  const bool is_set =
      std::any_of(serving.begin(), serving.end(), [&](pid_t pid) { return look.has_provider(pid); });
  if (good && is_set && look.all().spans.empty())
    notes.push_back(
        "no span came, though a provider is set: is this path excluded, filtered or not sampled?");
  if (!stop.tried) return notes;
  if (stop.asked_directly != 0)
    notes.push_back(stop.signal + " did not reach " + look.name(stop.asked_directly) +
                    " through the command, whose process does not pass it on: it was given to it directly");
  for (const Process& process : look.all().processes) {
    const Loss loss = loss_of(look, process.pid);
    if (loss.lost == 0 || is_explained(look, process.pid) || end_of(look, process.pid)) continue;
    const std::string& signal = stop.signal;
    notes.push_back(
        counted(loss.lost, "span") + " of " + look.name(process.pid) + " had ended right before " +
        (signal.empty() ? "its end" : signal) +
        " and never came: it ended without flushing. Under runmain a finished span outlives its process");
  }
  return notes;
}

void judge_dead_collector(const Look& look, Findings& found) {
  const Stop& stop = look.all().stop;
  for (const Collector& collector : look.all().collectors) {
    if (collector.reach == Reach::answers || !collector.asked_for) continue;
    const auto& all = look.all().processors;
    const auto user = std::find_if(all.begin(), all.end(),
                                   [&](const ProcessorAdded& p) { return p.endpoint == collector.endpoint; });
    Finding f;
    f.cause = Cause::dead_collector;
    f.pid = user != all.end() ? user->pid : look.serving().empty() ? 0 : look.serving().front();
    f.seen_by = {user != all.end(), false, true};
    f.evidence.push_back(collector.endpoint + (collector.reach == Reach::refused
                                                   ? " refuses connections"
                                                   : " takes connections and does not answer"));
    const Nanoseconds took = stop.tried ? stop.ended.value_or(stop.begin) - stop.begin : 0;
    const bool delayed = stop.tried && (!stop.ended || took >= kDelayMin);
    f.sure = delayed ? Sure::sure : Sure::likely;
    if (delayed)
      f.evidence.push_back("with such a collector the stop took " +
                           (stop.ended ? seconds(took) : std::string("longer than we waited")) +
                           ", and so does each reload");
    else if (stop.tried)
      f.evidence.push_back("the stop took " + seconds(took) + " nevertheless; spans are lost meanwhile");
    if (user != all.end()) f.sides.push_back({user->pid, "its exporter is made here", user->stack});
    found.push_back(std::move(f));
  }
}

}  // namespace runmain::doctor

// What instruments the program, and what its spans say.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "doctor/rules.hpp"

namespace runmain::doctor {
namespace {

constexpr int kServer = 2;  // SpanKind of OTLP
constexpr int kClient = 3;

// Libraries whose instrumentation makes the span of a request that comes in.
bool is_server_library(const std::string& library) {
  static const std::set<std::string> kServers = {
      "flask",   "fastapi",        "starlette", "django",      "asgi", "wsgi",    "tornado",
      "aiohttp", "aiohttp-server", "falcon",    "pyramid",     "http", "express", "koa",
      "hapi",    "fastify",        "restify",   "nestjs-core", "grpc"};
  return kServers.count(library) != 0;
}

bool began_by_request(const Look& look, pid_t pid) {
  const auto& seen = look.all().seen;
  if (std::any_of(seen.begin(), seen.end(),
                  [&](const SpanSeen& s) { return s.pid == pid && look.during_request(pid, s.time); }))
    return true;
  return !look.has_probe(pid) && look.has_wire(pid);
}

bool has_server_span(const Look& look, pid_t pid) {
  const auto& seen = look.all().seen;
  if (std::any_of(seen.begin(), seen.end(),
                  [&](const SpanSeen& s) { return s.pid == pid && s.kind == kServer; }))
    return true;
  const auto wire = look.wire_of(pid);
  return std::any_of(wire.begin(), wire.end(), [](const WireSpan* s) { return s->kind == kServer; });
}

// ---- automatic and manual

struct Pair {
  Side first;
  Side second;
  std::string evidence;
};

// Two middlewares of one app, one put in by an instrumentation and one by hand.
std::optional<Pair> two_middlewares(const Look& look, pid_t pid) {
  const Middleware* own = nullptr;
  const Middleware* other = nullptr;
  for (const Middleware& m : look.all().middlewares) {
    if (m.pid != pid) continue;
    (m.by_program ? own : other) = &m;
  }
  if (own == nullptr || other == nullptr) return std::nullopt;
  return Pair{{pid, "put in by the instrumentation here", other->stack},
              {pid, "and by the program here", own->stack},
              "two middlewares of OpenTelemetry are around the app: " + other->type + " and " + own->type};
}

// One library instrumented twice: by what was put in from outside and by the program, or twice by one of
// them.
std::optional<Pair> two_instruments(const Look& look, pid_t pid) {
  std::map<std::string, const Instrumented*> first;
  for (const Instrumented& i : look.all().instrumented) {
    if (i.pid != pid) continue;
    const auto [found, is_new] = first.try_emplace(i.type.empty() ? i.library : i.type, &i);
    if (is_new) continue;
    const Instrumented& before = *found->second;
    // Several apps, each by itself, are no repeat.
    if (before.app && i.app && before.app != i.app && !i.refused) continue;
    // What puts everything in does so once, whatever it does inside.
    if (before.automatic && i.automatic && !i.refused && before.stack == i.stack) continue;
    const auto by = [](const Instrumented& one) {
      return one.automatic ? "automatically" : "by the program";
    };
    return Pair{{pid, std::string("instrumented ") + by(before) + " here", before.stack},
                {pid, std::string("and ") + by(i) + " here" + (i.refused ? ", refused" : ""), i.stack},
                i.refused
                    ? i.type + " is applied twice; the second time was refused, so no span comes twice by it"
                    : i.type + " is applied twice"};
  }
  return std::nullopt;
}

// A server's span, from whichever evidence has it.
struct ServerSpan {
  std::string trace;
  std::string span;
  std::string parent;
  std::string words;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

std::string words_of(const std::string& name, const std::string& scope) {
  return quoted(name) + (scope.empty() ? "" : " (" + scope + ")");
}

std::vector<ServerSpan> server_spans(const Look& look, pid_t pid) {
  std::vector<ServerSpan> all;
  for (const SpanSeen& s : look.all().seen) {
    if (s.pid == pid && s.kind == kServer && s.end)
      all.push_back({s.trace, s.span, s.parent, words_of(s.name, s.scope), s.time, *s.end});
  }
  if (look.has_probe(pid)) return all;
  for (const WireSpan* s : look.wire_of(pid)) {
    if (s->kind != kServer) continue;
    const bool is_copy = std::any_of(all.begin(), all.end(), [&](const ServerSpan& other) {
      return other.trace == s->trace && other.span == s->span;
    });
    if (is_copy) continue;
    all.push_back({s->trace, s->span, s->parent, words_of(s->name, s->scope),
                   static_cast<std::int64_t>(s->start_unix_nano),
                   static_cast<std::int64_t>(s->end_unix_nano)});
  }
  return all;
}

const SpanSeen* seen_span(const Look& look, pid_t pid, const std::string& trace, const std::string& span) {
  const auto& all = look.all().seen;
  const auto found = std::find_if(all.begin(), all.end(), [&](const SpanSeen& s) {
    return s.pid == pid && s.trace == trace && s.span == span;
  });
  return found == all.end() ? nullptr : &*found;
}

// A program that calls itself has a client's span between its server's spans.
bool is_below_client(const Look& look, pid_t pid, const ServerSpan& span) {
  constexpr int kDepthMax = 32;
  const SpanSeen* at = seen_span(look, pid, span.trace, span.parent);
  for (int i = 0; at != nullptr && i < kDepthMax; ++i) {
    if (at->kind == kClient) return true;
    at = seen_span(look, pid, span.trace, at->parent);
  }
  return false;
}

// The number of the request of ours in which both began; nothing: of none.
std::optional<std::size_t> request_of(const Look& look, pid_t pid, const ServerSpan& one,
                                      const ServerSpan& other) {
  const auto& requests = look.all().requests;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Request& r = requests[i];
    const auto within = [&](const ServerSpan& span) { return r.begin <= span.begin && span.begin <= r.end; };
    if (r.pid == pid && within(one) && within(other)) return i;
  }
  return std::nullopt;
}

// A span of the same name right below a server's span: a second middleware, which takes the first one's for
// its parent.
std::string repeated_below(const Look& look, pid_t pid) {
  if (look.has_probe(pid)) return {};
  std::map<std::string, const WireSpan*> servers;
  for (const WireSpan* span : look.wire_of(pid)) {
    if (span->kind == kServer) servers[span->trace + span->span] = span;
  }
  for (const WireSpan* span : look.wire_of(pid)) {
    const auto above = servers.find(span->trace + span->parent);
    if (span->parent.empty() || above == servers.end() || above->second->name != span->name) continue;
    if (span->kind == kClient || above->second->span == span->span) continue;
    return "one request is traced twice: " + words_of(span->name, span->scope) + " below " +
           words_of(above->second->name, above->second->scope);
  }
  return {};
}

// Two server's spans of one request: seen by a probe in the requests that we drove, else on the wire one
// right below the other, or one within the other in a program that gets one request after the other. Of
// several requests more than one has to show it: what we once gave up waiting for is answered beside the next
// one.
std::string doubled_servers(const Look& look, pid_t pid) {
  const auto all = server_spans(look, pid);
  std::set<std::size_t> shown;
  std::string words;
  for (const ServerSpan& outer : all) {
    for (const ServerSpan& inner : all) {
      if (&inner == &outer || inner.begin < outer.begin) continue;
      if (inner.trace == outer.trace && inner.span == outer.span) continue;
      const bool is_below = inner.trace == outer.trace && inner.parent == outer.span;
      const bool is_within = look.all().one_at_a_time && inner.trace != outer.trace &&
                             inner.end <= outer.end && inner.begin < inner.end;
      const auto request = request_of(look, pid, outer, inner);
      const bool is_one = look.has_probe(pid) ? request.has_value() : is_below || is_within;
      if (!is_one || is_below_client(look, pid, inner)) continue;
      shown.insert(look.has_probe(pid) ? *request : shown.size());
      words = "one request has two server spans: " + outer.words + " and " + inner.words;
    }
  }
  const std::size_t enough = look.has_probe(pid) && look.all().requests.size() > 1 ? 2 : 1;
  return shown.size() >= enough ? words : std::string();
}

// ---- one exporter in two processors

struct Doubled {
  const ProcessorAdded* first = nullptr;
  const ProcessorAdded* second = nullptr;
  bool same_exporter = false;
};

std::optional<Doubled> doubled_in(const Look& look, pid_t pid) {
  const auto& all = look.all().processors;
  for (auto one = all.begin(); one != all.end(); ++one) {
    // What a worker has from before its fork is its own, too.
    if ((one->pid != pid && one->pid != look.forked_from(pid)) || !one->exporter) continue;
    for (auto other = std::next(one); other != all.end(); ++other) {
      if (other->pid != pid || other->provider != one->provider || !other->exporter) continue;
      const bool same = other->exporter == one->exporter;
      const bool to_one =
          !one->endpoint.empty() && other->endpoint == one->endpoint && other->headers == one->headers;
      if (same || to_one) return Doubled{&*one, &*other, same};
    }
  }
  return std::nullopt;
}

// How many spans of a process came again, byte by byte.
std::size_t copies_of(const Look& look, pid_t pid) {
  std::map<std::tuple<std::string, std::string, std::uint64_t>, std::size_t> times;
  std::size_t copies = 0;
  for (const WireSpan* span : look.wire_of(pid)) {
    if (times[{span->trace, span->span, span->digest}]++ > 0) ++copies;
  }
  return copies;
}

// Inherited processors, or one added after a fork: another cause.
bool is_fork_s_doing(const Look& look, pid_t pid) {
  const Forked* fork = look.fork_of(pid);
  return fork != nullptr && !fork->providers.empty();
}

}  // namespace

void judge_auto_and_manual(const Look& look, Findings& found) {
  for (const Process& process : look.all().processes) {
    std::string doubled = doubled_servers(look, process.pid);
    if (doubled.empty()) doubled = repeated_below(look, process.pid);
    auto pair = two_middlewares(look, process.pid);
    // Asked for twice and done once is no fault.
    if (!pair && doubled.empty()) continue;
    if (!pair) pair = two_instruments(look, process.pid);
    Finding f;
    f.cause = Cause::auto_and_manual;
    f.pid = process.pid;
    f.seen_by = {pair.has_value() || look.has_probe(process.pid),
                 !doubled.empty() && look.has_wire(process.pid), false};
    f.sure = pair ? Sure::sure : Sure::likely;
    if (pair) {
      f.sides = {pair->first, pair->second};
      f.evidence.push_back(pair->evidence);
    }
    if (!doubled.empty()) f.evidence.push_back(doubled);
    found.push_back(std::move(f));
  }
}

void judge_exporter_twice(const Look& look, Findings& found) {
  for (const Process& process : look.all().processes) {
    const pid_t pid = process.pid;
    const auto doubled = doubled_in(look, pid);
    const std::size_t copies = copies_of(look, pid);
    if (!doubled && (copies == 0 || look.has_probe(pid) || is_fork_s_doing(look, pid))) continue;
    Finding f;
    f.cause = Cause::exporter_twice;
    f.pid = pid;
    f.seen_by = {doubled.has_value(), copies > 0, false};
    f.sure = doubled ? Sure::sure : Sure::likely;
    if (doubled) {
      f.sides.push_back({pid, doubled->first->type + " is added here", doubled->first->stack});
      f.sides.push_back({pid, "and " + doubled->second->type + " here", doubled->second->stack});
      f.evidence.push_back(doubled->same_exporter ? "both have the same " + doubled->first->exporter_type
                                                  : "both have an exporter to " + doubled->first->endpoint);
    }
    if (copies > 0)
      f.evidence.push_back(counted(copies, "span") + " of " + std::to_string(look.wire_of(pid).size()) +
                           " came again, byte by byte");
    found.push_back(std::move(f));
  }
}

void judge_too_late(const Look& look, Findings& found) {
  for (const Instrumented& i : look.all().instrumented) {
    if (!i.late || i.refused || has_server_span(look, i.pid)) continue;
    Finding f;
    f.cause = Cause::too_late;
    f.pid = i.pid;
    f.seen_by = {true, look.serves(i.pid), false};
    f.sides.push_back({i.pid, "instrumented here, when the app had built its middleware", i.stack});
    if (look.serves(i.pid))
      f.evidence.push_back(counted(look.process(i.pid)->requests, "request") +
                           " answered, and no server's span of it");
    found.push_back(std::move(f));
  }
}

void judge_nothing_instrumented(const Look& look, Findings& found) {
  for (const pid_t pid : look.serving()) {
    if (!look.has_probe(pid) || !look.has_provider(pid) || began_by_request(look, pid)) continue;
    const auto& all = look.all().instrumented;
    // Applied and silent: excluded, not sampled, or too late. That is another matter.
    bool applied = !look.process(pid)->settings.empty();
    pid_t p = pid;
    for (int n = 0; n < kGenerationsMax && p != 0 && !applied; ++n, p = look.forked_from(p)) {
      applied =
          std::any_of(all.begin(), all.end(),
                      [p](const Instrumented& i) { return i.pid == p && is_server_library(i.library); }) ||
          std::any_of(look.all().middlewares.begin(), look.all().middlewares.end(),
                      [p](const Middleware& m) { return m.pid == p; });
    }
    if (applied) continue;
    Finding f;
    f.cause = Cause::nothing_instrumented;
    f.pid = pid;
    f.seen_by = {true, true, false};
    f.sides.push_back({pid, "a provider is set here", look.stack_of_start(pid)});
    f.evidence.push_back(counted(look.process(pid)->requests, "request") +
                         " answered, and no span began meanwhile");
    f.evidence.push_back("no instrumentation of its framework was applied in this process");
    found.push_back(std::move(f));
  }
}

void judge_never_activated(const Look& look, Findings& found) {
  const auto& seen = look.all().seen;
  for (const SpanSeen& span : seen) {
    if (!span.by_program || span.activated || !span.end) continue;
    const auto sibling = std::find_if(seen.begin(), seen.end(), [&](const SpanSeen& other) {
      const bool within = other.time > span.time && other.end && *other.end <= *span.end;
      // Two leaves beside each other are no parent and child.
      const bool has_more = other.activated || !other.by_program;
      return has_more && other.pid == span.pid && within && other.span != span.span &&
             other.parent == span.parent && other.at != span.at && other.task == span.task &&
             (span.parent.empty() || other.trace == span.trace);
    });
    if (sibling == seen.end()) continue;
    const bool told = std::any_of(found.begin(), found.end(), [&](const Finding& f) {
      return f.cause == Cause::never_activated && f.pid == span.pid;
    });
    if (told) continue;
    Finding f;
    f.cause = Cause::never_activated;
    f.pid = span.pid;
    f.sure = span.task.empty() ? Sure::likely : Sure::sure;
    f.seen_by = {true, look.has_wire(span.pid), false};
    f.sides.push_back({span.pid, quoted(span.name) + " begins here, and is never made current", {span.at}});
    f.sides.push_back(
        {span.pid, quoted(sibling->name) + " begins within it, and is not below it", {sibling->at}});
    f.evidence.push_back(span.parent.empty()
                             ? "both are roots: " + quoted(sibling->name) + " is in a trace of its own"
                             : "both have the same parent");
    found.push_back(std::move(f));
  }
}

void judge_never_ended(const Look& look, Findings& found) {
  if (look.all().records_lost > 0) return;  // its end may be among them
  std::map<std::pair<pid_t, std::string>, std::pair<const SpanSeen*, std::size_t>> open;
  for (const SpanSeen& span : look.all().seen) {
    // In Python what was made current ends with its block: it is a long task. In Node nothing ends it.
    const Process* process = look.process(span.pid);
    const bool ends_by_itself =
        span.activated && process != nullptr && process->runtime.rfind("python", 0) == 0;
    if (span.end || !span.by_program || ends_by_itself || !look.during_request(span.pid, span.time)) continue;
    // What the last request began may have been cut off by the stop.
    if (look.all().stop.tried && span.time >= look.all().stop.begin) continue;
    const auto& requests = look.all().requests;
    if (std::any_of(requests.begin(), requests.end(),
                    [&](const Request& r) { return r.last && r.begin <= span.time && span.time <= r.end; }))
      continue;
    auto& [first, times] = open[{span.pid, span.at}];
    if (times++ == 0) first = &span;
  }
  for (const auto& [key, seen] : open) {
    const auto& [span, times] = seen;
    Finding f;
    f.cause = Cause::never_ended;
    f.pid = span->pid;
    f.seen_by = {true, true, false};
    f.sure = times > 1 ? Sure::sure : Sure::likely;
    f.sides.push_back({span->pid, quoted(span->name) + " begins here", {span->at}});
    f.evidence.push_back(counted(times, "span") +
                         " of this place began with a request that was answered long ago, and " +
                         (times == 1 ? "has" : "have") + " not ended");
    f.evidence.push_back("a span that does not end is never exported");
    found.push_back(std::move(f));
  }
}

namespace {

// By hooks: the same ids began in two processes, or twice in one.
const SpanSeen* began_twice(const Look& look, const SpanSeen** other) {
  std::map<std::string, const SpanSeen*> first;
  for (const SpanSeen& span : look.all().seen) {
    if (span.trace.empty()) continue;
    const auto [at, is_new] = first.try_emplace(span.trace + span.span, &span);
    if (is_new) continue;
    *other = at->second;
    return &span;
  }
  return nullptr;
}

bool was_open_at_fork(const Look& look, const std::string& trace, const std::string& span) {
  const auto& forks = look.all().forks;
  return std::any_of(forks.begin(), forks.end(), [&](const Forked& fork) {
    return std::any_of(fork.open.begin(), fork.open.end(),
                       [&](const OpenSpan& o) { return o.trace == trace && o.span == span; });
  });
}

// On the wire: the same ids with other bytes, from two processes.
const WireSpan* came_twice(const Look& look, const WireSpan** other) {
  std::map<std::string, const WireSpan*> first;
  for (const WireSpan& span : look.all().spans) {
    const auto [at, is_new] = first.try_emplace(span.trace + span.span, &span);
    if (is_new || at->second->digest == span.digest || at->second->pid == span.pid) continue;
    if (at->second->start_unix_nano == span.start_unix_nano) continue;  // one span, ended twice
    if (was_open_at_fork(look, span.trace, span.span)) continue;
    *other = at->second;
    return &span;
  }
  return nullptr;
}

}  // namespace

void judge_repeated_ids(const Look& look, Findings& found) {
  const SpanSeen* seen_before = nullptr;
  const SpanSeen* seen = began_twice(look, &seen_before);
  const WireSpan* wire_before = nullptr;
  const WireSpan* wire = came_twice(look, &wire_before);
  if (seen == nullptr && wire == nullptr) return;
  Finding f;
  f.cause = Cause::repeated_ids;
  f.pid = seen != nullptr ? seen->pid : wire->pid;
  f.seen_by = {seen != nullptr, wire != nullptr, false};
  f.sure = seen != nullptr ? Sure::sure : Sure::likely;
  const std::string ids = seen != nullptr ? seen->trace + ":" + seen->span : wire->trace + ":" + wire->span;
  const pid_t before = seen != nullptr ? seen_before->pid : wire_before->pid;
  f.sides.push_back(
      {before, "the ids were first used here", seen != nullptr ? Stack{seen_before->at} : Stack()});
  f.sides.push_back({f.pid, "and again here", seen != nullptr ? Stack{seen->at} : Stack()});
  f.evidence.push_back("two spans have the ids " + ids +
                       ": the random numbers of the processes are the same");
  found.push_back(std::move(f));
}

}  // namespace runmain::doctor

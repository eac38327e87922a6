// Who starts telemetry, and where. The signatures are those of OpenTelemetry's SDKs for Python and
// JavaScript.
#include <algorithm>
#include <map>
#include <set>

#include "doctor/judge.hpp"
#include "doctor/rules.hpp"

namespace runmain::doctor {
namespace {

// Those that were made in the process itself, not inherited by a fork.
std::vector<const ProviderSet*> sets_in(const Look& look, pid_t pid) {
  std::vector<const ProviderSet*> sets;
  for (const ProviderSet& set : look.all().sets) {
    if (set.pid == pid && set.provider) sets.push_back(&set);
  }
  return sets;
}

// The endpoints of the exporters that a process itself added to a provider.
std::set<std::string> endpoints_of(const Look& look, pid_t pid, std::uint64_t provider) {
  std::set<std::string> endpoints;
  for (const ProcessorAdded& p : look.all().processors) {
    if (p.pid == pid && p.provider == provider && !p.endpoint.empty()) endpoints.insert(p.endpoint);
  }
  return endpoints;
}

bool was_shut_down(const Look& look, pid_t pid, std::uint64_t provider, Nanoseconds before) {
  const auto& all = look.all().shutdowns;
  return std::any_of(all.begin(), all.end(), [&](const Shutdown& s) {
    return s.pid == pid && s.provider == provider && s.time <= before;
  });
}

// Ids of providers that export and had not been shut down at the fork.
std::vector<std::uint64_t> alive_at(const Look& look, const Forked& fork) {
  std::vector<std::uint64_t> alive;
  for (const std::uint64_t id : fork.providers) {
    if (!was_shut_down(look, fork.parent, id, fork.time)) alive.push_back(id);
  }
  return alive;
}

Stack stack_of(const Look& look, const ProviderSet& set) {
  if (!set.stack.empty()) return set.stack;
  const ProviderMade* made = set.provider ? look.provider(set.pid, *set.provider) : nullptr;
  return made == nullptr ? Stack() : made->stack;
}

std::string spans_text(std::size_t n) { return counted(n, "span"); }

std::set<std::string> names_of(const Look& look, pid_t pid) {
  std::set<std::string> names;
  for (const WireSpan* span : look.wire_of(pid)) names.insert(span->name);
  return names;
}

// Names of spans that both processes sent: what runs at the start of each.
std::string common_names(const Look& look, pid_t one, pid_t other) {
  const std::set<std::string> theirs = names_of(look, other);
  for (const std::string& name : names_of(look, one)) {
    if (theirs.count(name) != 0) return name;
  }
  return {};
}

// The set that another one met: the same process's accepted one before it.
const ProviderSet* first_of(const std::vector<const ProviderSet*>& sets) {
  const auto found = std::find_if(sets.begin(), sets.end(), [](const ProviderSet* s) { return s->accepted; });
  return found == sets.end() ? nullptr : *found;
}

std::string consequence_of(const Look& look, const ProviderSet& second) {
  if (second.accepted)
    return "both providers live, each with its own exporter: what holds a tracer of the first one goes on "
           "with it";
  const bool exports = second.provider && !endpoints_of(look, second.pid, *second.provider).empty();
  return exports ? "the second one was refused: its exporter's thread runs, and only what asks it directly "
                   "is exported by it"
                 : "the second one was refused: it is never used";
}

Finding twice(const Look& look, const ProviderSet& first, const ProviderSet& second) {
  Finding f;
  f.cause = Cause::double_init;
  f.pid = second.pid;
  f.sure = second.accepted ? Sure::likely : Sure::sure;
  f.seen_by.hooks = true;
  f.sides.push_back({first.pid, "first started here", stack_of(look, first)});
  f.sides.push_back(
      {second.pid, second.accepted ? "and again here" : "and again here, refused", stack_of(look, second)});
  f.evidence.push_back(consequence_of(look, second));
  return f;
}

// Two providers with exporters to one place, the second one used directly.
const ProviderMade* rival_of(const Look& look, const ProviderMade& first) {
  const auto endpoints = endpoints_of(look, first.pid, first.id);
  if (endpoints.empty()) return nullptr;
  const auto service = [](const ProviderMade& p) {
    const auto found = p.resource.find("service.name");
    return found == p.resource.end() ? std::string() : found->second;
  };
  for (const ProviderMade& other : look.all().providers) {
    if (other.pid != first.pid || other.id <= first.id || service(other) != service(first)) continue;
    if (was_shut_down(look, first.pid, first.id, other.time)) continue;
    for (const std::string& endpoint : endpoints_of(look, other.pid, other.id)) {
      if (endpoints.count(endpoint) != 0) return &other;
    }
  }
  return nullptr;
}

void double_init_by_providers(const Look& look, Findings& found) {
  for (const ProviderMade& first : look.all().providers) {
    const bool told = std::any_of(found.begin(), found.end(), [&](const Finding& f) {
      return f.cause == Cause::double_init && f.pid == first.pid;
    });
    const ProviderMade* second = told ? nullptr : rival_of(look, first);
    if (second == nullptr) continue;
    Finding f;
    f.cause = Cause::double_init;
    f.pid = first.pid;
    f.sure = Sure::likely;
    f.seen_by.hooks = true;
    f.sides.push_back({first.pid, "one provider is made here", first.stack});
    f.sides.push_back({second->pid, "and another one here", second->stack});
    f.evidence.push_back("both have an exporter to " + *endpoints_of(look, first.pid, first.id).begin() +
                         " and the same service.name");
    found.push_back(std::move(f));
  }
}

// Without a probe: one process's spans with two instance ids.
void double_init_by_wire(const Look& look, Findings& found) {
  std::map<pid_t, std::set<std::string>> ids;
  std::map<pid_t, std::set<std::uint64_t>> connections;
  for (const WireSpan& span : look.all().spans) {
    if (span.pid == 0 || span.instance_id.empty() || look.has_probe(span.pid)) continue;
    ids[span.pid].insert(span.service + '\0' + span.instance_id);
    connections[span.pid].insert(span.connection);
  }
  for (const auto& [pid, set] : ids) {
    if (set.size() < 2 || connections[pid].size() < 2) continue;
    Finding f;
    f.cause = Cause::double_init;
    f.pid = pid;
    f.sure = Sure::likely;
    f.seen_by.spans = true;
    f.sides.push_back({pid, "sends for two instances", {}});
    f.evidence.push_back("its spans came by " + counted(connections[pid].size(), "connection") + " with " +
                         counted(set.size(), "service.instance.id"));
    found.push_back(std::move(f));
  }
}

// Processes that started telemetry and do not serve, above one that serves and has started its own.
bool is_beside(const Look& look, pid_t idle, pid_t serving) {
  if (idle == serving || look.serves(idle)) return false;
  if (look.is_tracker(idle)) return true;
  return look.is_ancestor(serving, idle);
}

// It came by a fork of this one (not by a new program).
bool came_by_fork(const Look& look, pid_t pid, pid_t from) {
  for (int i = 0; i < kGenerationsMax && pid != 0; ++i) {
    pid = look.forked_from(pid);
    if (pid == from) return true;
  }
  return false;
}

std::string service_of(const Look& look, pid_t pid) {
  for (const WireSpan* span : look.wire_of(pid)) {
    if (!span->service.empty()) return span->service;
  }
  for (const ProviderMade& made : look.all().providers) {
    const auto name = made.resource.find("service.name");
    if (made.pid == pid && name != made.resource.end()) return name->second;
  }
  return {};
}

std::set<pid_t> starters(const Look& look) {
  std::set<pid_t> pids;
  for (const Process& p : look.all().processes) {
    if (look.has_probe(p.pid) ? look.initialises(p.pid) : look.has_wire(p.pid) || !p.signs.empty())
      pids.insert(p.pid);
  }
  return pids;
}

}  // namespace

void judge_double_init(const Look& look, Findings& found) {
  for (const Process& process : look.all().processes) {
    const auto sets = sets_in(look, process.pid);
    const ProviderSet* first = first_of(sets);
    if (first == nullptr) continue;
    for (const ProviderSet* second : sets) {
      if (second == first || second->provider == first->provider || second->time < first->time) continue;
      // Set anew, after the first one has ended, is a change, not a second one.
      if (second->accepted && was_shut_down(look, first->pid, *first->provider, second->time)) continue;
      found.push_back(twice(look, *first, *second));
      break;
    }
  }
  double_init_by_providers(look, found);
  double_init_by_wire(look, found);
}

void judge_reloader_both(const Look& look, Findings& found) {
  const std::set<pid_t> started = starters(look);
  for (const pid_t idle : started) {
    for (const pid_t serving : look.serving()) {
      if (started.count(serving) == 0 || !is_beside(look, idle, serving) || came_by_fork(look, serving, idle))
        continue;
      // Who starts another service has telemetry of its own.
      const std::string own = service_of(look, idle);
      if (!own.empty() && own != service_of(look, serving)) continue;
      Finding f;
      f.cause = Cause::reloader_both;
      f.pid = idle;
      f.seen_by.hooks = look.has_probe(idle) && look.has_probe(serving);
      f.seen_by.spans = look.has_wire(idle) && look.has_wire(serving);
      for (const std::string& sign : look.process(idle)->signs)
        f.evidence.push_back(look.name(idle) + " has the " + sign);
      f.seen_by.proc = true;
      f.sure = f.seen_by.hooks ? Sure::sure : Sure::likely;
      f.sides.push_back({idle, "started here, and never serves", look.stack_of_start(idle)});
      f.sides.push_back({serving, "started here, and serves", look.stack_of_start(serving)});
      f.evidence.push_back(look.name(idle) + " started telemetry and answered none of " +
                           counted(look.all().requests.size(), "request"));
      if (const std::string name = common_names(look, idle, serving); !name.empty())
        f.evidence.push_back("the span " + quoted(name) + " came from both");
      found.push_back(std::move(f));
      break;
    }
  }
}

namespace {

// What a forked child did to telemetry that it had inherited.
struct Again {
  Side side;
  std::string what;
};
std::vector<Again> again_in(const Look& look, const Forked& fork) {
  std::vector<Again> all;
  const auto alive = alive_at(look, fork);
  const auto inherited = [&](std::uint64_t id) { return std::count(alive.begin(), alive.end(), id) > 0; };
  for (const ProviderSet& set : look.all().sets) {
    if (set.pid != fork.pid || !set.provider) continue;
    all.push_back(
        {{set.pid, set.accepted ? "started again after the fork" : "started again after the fork, refused",
          stack_of(look, set)},
         set.accepted
             ? "the worker has a provider of its own beside the inherited one, whose exporter lives on"
             : "the worker's own provider was refused, as one is set already: its spans go through "
               "the one of before the fork, with that one's resource"});
  }
  for (const ProcessorAdded& p : look.all().processors) {
    if (p.pid != fork.pid || !p.exporter || !inherited(p.provider)) continue;
    all.push_back(
        {{p.pid, "an exporter is added after the fork", p.stack},
         "the worker's provider has the exporter of before the fork, and one of its own: each span goes out "
         "twice"});
  }
  return all;
}

// Names of spans that this and another process sent with the same ids.
std::set<std::string> shared_spans(const Look& look, pid_t pid, std::set<pid_t>& others) {
  std::set<std::string> mine;
  std::set<std::string> names;
  for (const WireSpan* span : look.wire_of(pid)) mine.insert(span->trace + span->span);
  for (const WireSpan& span : look.all().spans) {
    if (span.pid == pid || span.pid == 0 || mine.count(span.trace + span.span) == 0) continue;
    names.insert(span.name);
    others.insert(span.pid);
  }
  return names;
}

}  // namespace

void judge_preload_fork(const Look& look, Findings& found) {
  for (const Forked& fork : look.all().forks) {
    if (alive_at(look, fork).empty()) continue;
    const auto again = again_in(look, fork);
    std::set<pid_t> others;
    const auto names = shared_spans(look, fork.pid, others);
    const bool was_open = std::any_of(fork.open.begin(), fork.open.end(),
                                      [&](const OpenSpan& s) { return names.count(s.name) != 0; });
    if (again.empty() && !was_open && (names.empty() || fork.queued == 0)) continue;
    Finding f;
    f.cause = Cause::preload_fork;
    f.pid = fork.pid;
    f.seen_by = {true, !names.empty(), false};
    f.sides.push_back({fork.parent, "started here, before the fork", look.stack_of_start(fork.parent)});
    if (!again.empty()) f.sides.push_back(again.front().side);
    for (const Again& one : again) f.evidence.push_back(one.what);
    if (!names.empty()) {
      others.insert(fork.pid);
      f.evidence.push_back("the span " + quoted(*names.begin()) + " came with the same ids from " +
                           std::to_string(others.size()) + " processes: " + list_of(others));
    }
    found.push_back(std::move(f));
  }
}

void judge_refused_after_fork(const Look& look, Findings& found) {
  for (const ProviderSet& set : look.all().sets) {
    const Forked* fork = look.fork_of(set.pid);
    // Where the exporter of before the fork lives, that is the cause: judge_preload_fork().
    if (set.accepted || !set.provider || fork == nullptr || !alive_at(look, *fork).empty()) continue;
    if (first_of(sets_in(look, set.pid)) != nullptr) continue;
    Finding f;
    f.cause = Cause::refused_after_fork;
    f.pid = set.pid;
    f.seen_by.hooks = true;
    const pid_t first = set.first_pid != 0 ? set.first_pid : fork->parent;
    f.sides.push_back({first, "set here, before the fork", look.stack_of_start(first)});
    f.sides.push_back({set.pid, "set again here, refused", stack_of(look, set)});
    f.evidence.push_back("the mark that a provider is set survives the fork, and nothing that exports does");
    if (!look.has_wire(set.pid)) f.evidence.push_back("no span came from " + look.name(set.pid));
    found.push_back(std::move(f));
  }
}

namespace {

// A proxy in front of who is traced: a server's span came, or any span began while we waited for an answer.
bool is_answered_behind(const Look& look) {
  const auto& all = look.all();
  return std::any_of(all.spans.begin(), all.spans.end(), [](const WireSpan& s) { return s.kind == 2; }) ||
         std::any_of(all.seen.begin(), all.seen.end(), [&](const SpanSeen& s) {
           return std::any_of(all.requests.begin(), all.requests.end(),
                              [&](const Request& r) { return r.begin <= s.time && s.time <= r.end; });
         });
}

}  // namespace

void judge_wrong_process(const Look& look, Findings& found) {
  for (const pid_t serving : look.serving()) {
    if (look.has_provider(serving) || look.has_wire(serving) || is_answered_behind(look)) continue;
    for (const pid_t other : starters(look)) {
      if (other == serving || look.serves(other)) continue;
      Finding f;
      f.cause = Cause::wrong_process;
      f.pid = serving;
      f.seen_by = {look.has_probe(other), look.has_wire(other), true};
      f.sure = look.has_probe(serving) && look.has_probe(other) ? Sure::sure : Sure::likely;
      f.sides.push_back({other, "telemetry is started here", look.stack_of_start(other)});
      f.sides.push_back({serving, "the requests are answered here, and nothing is started", {}});
      f.evidence.push_back(look.name(serving) + " answered " +
                           counted(look.process(serving)->requests, "request") + ": no span came from it");
      f.evidence.push_back(
          look.name(other) + " started telemetry and answered none" +
          (look.has_wire(other) ? ", " + spans_text(look.wire_of(other).size()) + " came from it" : ""));
      found.push_back(std::move(f));
      break;
    }
  }
}

void judge_no_telemetry(const Look& look, Findings& found) {
  if (look.serving().empty() || !look.all().spans.empty() || !found.empty()) return;
  const pid_t serving = look.serving().front();
  const Process* process = look.process(serving);
  const auto& all = look.all();
  const bool starts = std::any_of(all.processes.begin(), all.processes.end(), [&](const Process& p) {
    return look.initialises(p.pid) || look.has_provider(p.pid);
  });
  const bool exports = std::any_of(all.processors.begin(), all.processors.end(),
                                   [](const ProcessorAdded& p) { return !p.endpoint.empty(); });
  if (starts && exports && process->settings.empty()) return;  // not sampled or left out, by its code
  Finding f;
  f.cause = Cause::no_telemetry;
  f.pid = serving;
  f.seen_by = {look.has_probe(serving), true, true};
  f.sure = look.has_probe(serving) ? Sure::sure : Sure::likely;
  f.sides.push_back({serving, "the requests are answered here", look.stack_of_start(serving)});
  f.evidence.push_back(!starts   ? "no process of it has set a tracer provider, and no span came"
                       : exports ? "a provider is set, and no span came"
                                 : "a provider is set, and nothing exports its spans by OTLP");
  for (const std::string& setting : process->settings)
    f.evidence.push_back("its environment says " + setting);
  if (!starts && !process->hooks.empty())
    f.evidence.push_back("its environment asks for instrumentation (" + process->hooks.front() +
                         "), which has started nothing: its own words say why, a missing exporter perhaps");
  if (!look.has_probe(serving))
    f.evidence.push_back("it loads neither Python's nor Node's probe: seen from outside only");
  found.push_back(std::move(f));
}

namespace {

// Who uses which instance of which service, by what it sent and by the providers that it made.
std::map<std::string, std::set<pid_t>> users_of_instances(const Look& look) {
  std::map<std::string, std::set<pid_t>> users;
  for (const WireSpan& span : look.all().spans) {
    if (span.pid != 0 && !span.instance_id.empty())
      users[span.service + '\0' + span.instance_id].insert(span.pid);
  }
  for (const ProviderMade& made : look.all().providers) {
    const auto instance = made.resource.find("service.instance.id");
    const auto service = made.resource.find("service.name");
    if (instance == made.resource.end() || endpoints_of(look, made.pid, made.id).empty()) continue;
    const std::string name = service == made.resource.end() ? std::string() : service->second;
    users[name + '\0' + instance->second].insert(made.pid);
  }
  return users;
}

// Workers that follow one another are one at a time.
bool lived_together(const Look& look, const std::set<pid_t>& pids) {
  for (const pid_t one : pids) {
    for (const pid_t other : pids) {
      const Process* a = look.process(one);
      const Process* b = look.process(other);
      if (one == other || a == nullptr || b == nullptr) continue;
      if (a->last_seen == 0 || b->last_seen == 0) return true;
      if (a->first_seen < b->last_seen && b->first_seen < a->last_seen) return true;
    }
  }
  return false;
}

}  // namespace

void judge_shared_instance_id(const Look& look, Findings& found) {
  for (const auto& [key, all] : users_of_instances(look)) {
    // A parent that has sent something before it forked is no worker.
    std::set<pid_t> pids;
    for (const pid_t pid : all) {
      const bool above =
          std::any_of(all.begin(), all.end(), [&](pid_t other) { return look.is_ancestor(other, pid); });
      const bool explained = std::any_of(found.begin(), found.end(), [&](const Finding& f) {
        return f.pid == pid && f.cause == Cause::preload_fork;
      });
      if (!above && !explained && !look.is_tracker(pid)) pids.insert(pid);
    }
    if (pids.size() < 2 || !lived_together(look, pids)) continue;
    const pid_t first = *pids.begin();
    Finding f;
    f.cause = Cause::shared_instance_id;
    f.pid = first;
    f.seen_by = {look.initialises(first), look.has_wire(first), false};
    f.sides.push_back({first, "one of them", look.stack_of_start(first)});
    f.evidence.push_back("service.instance.id " + quoted(key.substr(key.find('\0') + 1)) +
                         " is that of pids " + list_of(pids) + ": a collector takes them for one process");
    found.push_back(std::move(f));
  }
}

void judge_injector(const Look& look, Findings& found) {
  for (const Process& p : look.all().processes) {
    const bool started = look.initialises(p.pid) || look.has_wire(p.pid);
    if (!started || (p.injectors.empty() && look.all().ebpf.empty())) continue;
    if (p.injectors.empty() && !look.serves(p.pid)) continue;
    Finding f;
    f.cause = Cause::sdk_and_injector;
    f.pid = p.pid;
    f.seen_by = {look.initialises(p.pid), look.has_wire(p.pid), true};
    f.sure = p.injectors.empty() ? Sure::possible : Sure::likely;
    f.sides.push_back({p.pid, "the program starts its own SDK here", look.stack_of_start(p.pid)});
    for (const std::string& library : p.injectors) f.evidence.push_back(library + " is loaded into it");
    for (const std::string& tool : look.all().ebpf)
      f.evidence.push_back(tool + " runs on this machine and may trace this process, too");
    found.push_back(std::move(f));
  }
}

}  // namespace runmain::doctor

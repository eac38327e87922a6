#include "doctor/look.hpp"

#include <algorithm>

#include "doctor/judge.hpp"

namespace runmain::doctor {
namespace {}  // namespace

bool has_argument(const std::vector<std::string>& argv, const std::string& name) {
  return std::any_of(argv.begin(), argv.end(), [&](const std::string& word) {
    return word == name || word.rfind(name + "=", 0) == 0 || word.substr(word.rfind('/') + 1) == name;
  });
}

Look::Look(const Evidence& evidence) : e_(evidence) {
  for (const Process& process : e_.processes) {
    if (process.requests > 0) serving_.push_back(process.pid);
  }
}

const Process* Look::process(pid_t pid) const {
  const auto found = std::find_if(e_.processes.begin(), e_.processes.end(),
                                  [pid](const Process& p) { return p.pid == pid; });
  return found == e_.processes.end() ? nullptr : &*found;
}

bool Look::has_probe(pid_t pid) const {
  const Process* p = process(pid);
  return p != nullptr && !p->runtime.empty();
}

bool Look::serves(pid_t pid) const { return std::count(serving_.begin(), serving_.end(), pid) > 0; }

bool Look::is_ancestor(pid_t of, pid_t ancestor) const {
  for (int i = 0; i < kGenerationsMax; ++i) {
    const Process* p = process(of);
    if (p == nullptr || p->parent == 0 || p->parent == of) return false;
    if (p->parent == ancestor) return true;
    of = p->parent;
  }
  return false;
}

bool Look::is_tracker(pid_t pid) const {
  const Process* p = process(pid);
  return p != nullptr && std::any_of(p->argv.begin(), p->argv.end(), [](const std::string& word) {
           return word.find("multiprocessing.resource_tracker") != std::string::npos ||
                  word.find("multiprocessing.forkserver") != std::string::npos;
         });
}

const Forked* Look::fork_of(pid_t pid) const {
  const auto found =
      std::find_if(e_.forks.begin(), e_.forks.end(), [pid](const Forked& f) { return f.pid == pid; });
  return found == e_.forks.end() ? nullptr : &*found;
}

pid_t Look::forked_from(pid_t pid) const {
  const Forked* fork = fork_of(pid);
  return fork == nullptr || fork->parent == pid ? 0 : fork->parent;
}

bool Look::initialises(pid_t pid) const {
  const auto its = [pid](const Record& r) { return r.pid == pid; };
  return std::any_of(e_.sets.begin(), e_.sets.end(),
                     [&](const ProviderSet& s) { return its(s) && s.provider; }) ||
         std::any_of(e_.processors.begin(), e_.processors.end(), [&](const ProcessorAdded& p) {
           return its(p) && p.exporter && provider(pid, p.provider) != nullptr;
         });
}

bool Look::has_provider(pid_t pid) const {
  for (int i = 0; i < kGenerationsMax && pid != 0; ++i) {
    const bool set = std::any_of(e_.sets.begin(), e_.sets.end(), [pid](const ProviderSet& s) {
      return s.pid == pid && s.accepted && s.provider;
    });
    if (set) return true;
    pid = forked_from(pid);
  }
  return false;
}

bool Look::exports_by_otlp(pid_t pid, std::uint64_t provider) const {
  for (int i = 0; i < kGenerationsMax && pid != 0; ++i) {
    const bool has = std::any_of(e_.processors.begin(), e_.processors.end(), [&](const ProcessorAdded& p) {
      return p.pid == pid && p.provider == provider && !p.endpoint.empty();
    });
    if (has) return true;
    pid = forked_from(pid);
  }
  return false;
}

std::vector<const WireSpan*> Look::wire_of(pid_t pid) const {
  std::vector<const WireSpan*> spans;
  for (const WireSpan& span : e_.spans) {
    if (span.pid == pid) spans.push_back(&span);
  }
  return spans;
}

const ProviderMade* Look::provider(pid_t pid, std::uint64_t id) const {
  const auto found = std::find_if(e_.providers.begin(), e_.providers.end(),
                                  [&](const ProviderMade& p) { return p.pid == pid && p.id == id; });
  return found == e_.providers.end() ? nullptr : &*found;
}

Stack Look::stack_of_start(pid_t pid) const {
  for (const ProviderSet& set : e_.sets) {
    if (set.pid == pid && set.accepted && !set.stack.empty()) return set.stack;
  }
  for (const ProviderMade& made : e_.providers) {
    if (made.pid == pid && !made.stack.empty()) return made.stack;
  }
  return {};
}

bool Look::during_request(pid_t pid, Nanoseconds time) const {
  return std::any_of(e_.requests.begin(), e_.requests.end(), [&](const Request& r) {
    return (r.pid == pid || r.pid == 0) && r.begin <= time && time <= r.end;
  });
}

std::string Look::name(pid_t pid) const {
  return "pid " + std::to_string(pid) + " (" + role_of(e_, pid) + ")";
}

std::string role_of(const Evidence& evidence, pid_t pid) {
  const Look look(evidence);
  const Process* p = look.process(pid);
  if (look.serves(pid)) return "serves";
  if (look.is_tracker(pid)) return "resource tracker";
  bool forked = false;
  bool above = false;
  for (const pid_t serving : look.serving()) {
    if (!look.is_ancestor(serving, pid)) continue;
    above = true;
    forked = forked || look.forked_from(serving) == pid;
  }
  if (above && forked) return "master";
  if (above && p != nullptr) {
    // Below a launcher is one chain; a reloader and a supervisor of workers run the program again.
    if (has_argument(p->argv, "--workers") || has_argument(p->argv, "cluster"))
      return "supervisor of workers";
    for (const char* word : {"--reload", "--debug", "--watch", "runserver", "nodemon", "watchfiles"}) {
      if (has_argument(p->argv, word)) return "reloader";
    }
    const bool runs_again = std::any_of(look.serving().begin(), look.serving().end(), [&](pid_t serving) {
      const Process* other = look.process(serving);
      return other != nullptr && other->argv == p->argv;
    });
    if (runs_again) return "reloader";
    if (look.initialises(pid)) return "parent";
    return "launcher";
  }
  if (look.serving().empty()) return "started";
  // Siblings of who serves, with the same words, are workers that no request has met.
  for (const pid_t serving : look.serving()) {
    const Process* other = look.process(serving);
    if (p != nullptr && other != nullptr && p->parent == other->parent && p->listens) return "worker";
  }
  return "helper";
}

namespace {

// "/home/me/venv/bin/gunicorn:8 <module>": what installs put there has no ending, and is no program of the
// user's.
bool is_entry_point(const std::string& frame) {
  const std::size_t bin = frame.find("/bin/");
  if (bin == std::string::npos || !frame.ends_with(" <module>")) return false;
  return frame.find('.', bin) == std::string::npos;
}

}  // namespace

bool is_library_frame(const std::string& frame) {
  if (is_entry_point(frame)) return true;
  for (const char* part : {"/site-packages/", "/dist-packages/", "/node_modules/", "/lib/python",
                           "node:", "<frozen ", "/runmain/python/", "/runmain/node/"}) {
    if (frame.find(part) != std::string::npos) return true;
  }
  return false;
}

std::string place_of(const Stack& stack) {
  const auto own = std::find_if_not(stack.begin(), stack.end(), is_library_frame);
  if (own != stack.end()) return own->substr(0, own->find(' '));
  const Stack shown = shown_frames(stack);
  return shown.empty() ? std::string() : shown.front().substr(0, shown.front().find(' '));
}

Stack shown_frames(const Stack& stack) {
  constexpr std::size_t kOwnMost = 4;
  constexpr std::size_t kMost = 3;  // where none is the program's own
  Stack shown;
  for (const std::string& frame : stack) {
    if (!is_library_frame(frame) && shown.size() < kOwnMost) shown.push_back(frame);
  }
  if (!shown.empty()) return shown;
  for (const std::string& frame : stack) {
    if (frame.find("/auto_instrumentation/") != std::string::npos) return {"opentelemetry-instrument"};
    if (frame.find("/auto-instrumentations-node/") != std::string::npos)
      return {"@opentelemetry/auto-instrumentations-node/register"};
    if (frame.find("/runmain/python/") != std::string::npos ||
        frame.find("/runmain/node/") != std::string::npos)
      return {"runmain's bootstrap"};
  }
  return {stack.begin(), stack.begin() + static_cast<std::ptrdiff_t>(std::min(stack.size(), kMost))};
}

std::string place_apart(const Stack& first, const Stack& second) {
  const auto apart = std::find_if(second.begin(), second.end(), [&](const std::string& frame) {
    return !is_library_frame(frame) && std::find(first.begin(), first.end(), frame) == first.end();
  });
  if (apart != second.end()) return apart->substr(0, apart->find(' '));
  const auto own = std::find_if_not(second.begin(), second.end(), is_library_frame);
  return own == second.end() ? std::string() : own->substr(0, own->find(' '));
}

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

std::string counted(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string list_of(const std::set<pid_t>& pids) {
  constexpr std::size_t kMost = 6;
  std::string text;
  std::size_t n = 0;
  for (const pid_t pid : pids) {
    if (n == kMost) return text + " and " + std::to_string(pids.size() - kMost) + " more";
    if (n > 0) text += n + 1 == pids.size() ? " and " : ", ";
    text += std::to_string(pid);
    ++n;
  }
  return text;
}

}  // namespace runmain::doctor

// Commands and their answers. Each request is answered exactly once: at once if it cannot be kept or done,
// else when every service it names is where it wants it, or cannot get there.
#include <algorithm>

#include "core/engine.hpp"

namespace runmain::core {

void Engine::answer(std::uint64_t request, std::string error) { push(Answer{request, std::move(error)}); }

void Engine::operator()(const Command& e) {
  if (s_.quit) return answer(e.request, "runmain has stopped");
  std::vector<std::uint32_t> named;
  for (const ServiceId id : e.services) {
    const ServiceRecord* r = find(id);
    if (r == nullptr || !r->configured) return answer(e.request, "no such service");
    named.push_back(id.value);
  }
  if (e.services.empty()) {
    for (const ServiceRecord& r : s_.services) {
      if (r.configured) named.push_back(r.id.value);
    }
  }
  std::sort(named.begin(), named.end());
  named.erase(std::unique(named.begin(), named.end()), named.end());
  if (e.verb == CommandVerb::signal) return send_signal(e, named);
  const bool stops = e.verb == CommandVerb::stop || e.verb == CommandVerb::shutdown;
  if (s_.shutting_down && !stops) return answer(e.request, "runmain is shutting down");
  if (e.verb == CommandVerb::upgrade) return upgrade(e.folder, e.request);
  if (e.verb == CommandVerb::shutdown) shut_down(0);  // also when its answer cannot be kept
  if (s_.requests.size() >= kRequestsMax)
    return answer(e.request, "too many requests are waiting for an answer");
  if (e.verb == CommandVerb::shutdown) return add_request(e, {});
  for (const std::uint32_t n : named) {
    const ServiceRecord& r = s_.services[n];
    if (e.verb == CommandVerb::scale && !may_have(r, e.number))
      return answer(e.request, r.spec.name + " has " + bounds_text(r.spec));
  }
  if (const std::string why = too_many_canaries(e, named); !why.empty()) return answer(e.request, why);
  if (named.empty()) return answer(e.request, "");
  carry_out(e, named);
  add_request(e, named);
  for (const std::uint32_t n : named) touch(n);  // what is there already is answered with this event
}

// request 0: nobody waits for the answer, as with a signal.
void Engine::upgrade(const std::string& folder, std::uint64_t request) {
  if (s_.upgrading || s_.shutting_down) {
    if (request != 0)
      answer(request, s_.upgrading ? "another upgrade is under way" : "runmain is shutting down");
    return;
  }
  if (request != 0 && s_.requests.size() >= kRequestsMax)
    return answer(request, "too many requests are waiting for an answer");
  s_.upgrading = true;
  s_.upgrade_error.clear();
  if (request != 0) s_.requests.push_back(Request{request, CommandVerb::upgrade, {}, {}});
  Fact fact;
  fact.type = FactType::upgrade_started;
  fact.text = folder;
  record(std::move(fact));
  push(Upgrade{folder});
}

void Engine::operator()(const UpgradeEnded& e) {
  s_.upgrading = false;
  s_.upgrade_error = e.error;
  ++s_.upgrades;
  Fact fact;
  fact.type = e.error.empty() ? FactType::upgrade_done : FactType::upgrade_refused;
  fact.number = e.keeper_too ? 1 : 0;
  fact.text = e.error.empty() ? e.version : e.error;
  record(std::move(fact));
  for (std::size_t n = s_.requests.size(); n-- > 0;) {
    if (s_.requests[n].verb != CommandVerb::upgrade) continue;
    answer(s_.requests[n].id, e.error);
    s_.requests.erase(s_.requests.begin() + static_cast<std::ptrdiff_t>(n));
  }
}

// Where all were canaries there would be none.
std::string Engine::too_many_canaries(const Command& e, const std::vector<std::uint32_t>& services) const {
  if (e.verb != CommandVerb::reload || e.number == 0) return {};
  for (const std::uint32_t n : services) {
    const ServiceRecord& r = s_.services[n];
    const std::uint32_t workers = r.workers();
    if (!r.wanted || e.number < workers) continue;
    if (workers == 1) return r.spec.name + " has 1 worker: no canary is possible, reload it without";
    return r.spec.name + " has " + std::to_string(workers) + " workers: at most " +
           std::to_string(workers - 1) + " of them can be canaries";
  }
  return {};
}

void Engine::carry_out(const Command& e, const std::vector<std::uint32_t>& services) {
  const CommandVerb verb = e.verb;
  if (verb == CommandVerb::stop) {
    for (const std::uint32_t n : closure(services, &ServiceRecord::needed_by)) {
      if (s_.services[n].configured) go_down(s_.services[n], true);  // one that is gone is on its way already
    }
    return;
  }
  if (verb == CommandVerb::reload) {
    for (const std::uint32_t n : services) {
      ServiceRecord& r = s_.services[n];
      if (r.wanted) request_reload(r, Reason::change);
      if (r.wanted && e.number > 0) r.canary_asked = e.number;
    }
    return;
  }
  if (verb == CommandVerb::scale) {
    for (const std::uint32_t n : services) set_workers(s_.services[n], e.number, "command");
    return;
  }
  for (const std::uint32_t n : closure(services, &ServiceRecord::needs)) {
    const bool named = std::binary_search(services.begin(), services.end(), n);
    if (verb == CommandVerb::restart && named) {
      restart(s_.services[n]);
    } else {
      go_up(s_.services[n]);
    }
  }
}

void Engine::send_signal(const Command& e, const std::vector<std::uint32_t>& services) {
  bool sent = false;
  for (const std::uint32_t n : services) {
    const ServiceRecord& r = s_.services[n];
    for (const Instance& i : r.instances) {
      if (!i.key.is_worker() || !i.living() || i.main_gone || i.phase == WorkerState::spawning) continue;
      push(Kill{i.key, e.signal, r.spec.stop.group});
      sent = true;
    }
  }
  answer(e.request, sent ? "" : "nothing runs that could get the signal");
}

void Engine::add_request(const Command& e, std::vector<std::uint32_t> services) {
  s_.requests.push_back(Request{e.request, e.verb, std::move(services), {}});
}

// nullopt: not decided yet. "": it is where the verb wants it. Else: it will not get there, and why.
std::optional<std::string> Engine::outcome(CommandVerb verb, const ServiceRecord& r) const {
  const std::string& name = r.spec.name;
  if (verb == CommandVerb::stop) {
    if (up(r)) return name + " was started again";
    if (!r.instances.empty()) return std::nullopt;
    return r.run == RunState::failed && !r.wanted ? name + " " + r.reason : "";
  }
  if (!r.configured) return name + " was removed from the configuration";
  if (verb == CommandVerb::scale && !r.wanted) return "";  // it counts from its next start on
  if (!r.wanted) return name + (verb == CommandVerb::reload ? " is stopped" : " was stopped");
  if (r.run == RunState::failed) return name + " failed: " + r.reason;
  if ((r.bits & 1U << kBlocked) != 0) return name + " " + r.reason;
  if (!satisfied(r)) {
    if (const auto slot = lost_slot(r))
      return name + ": worker " + std::to_string(*slot) + " has failed for good";
    const bool keeps_failing =
        r.state == ServiceState::backoff && std::any_of(r.slots.begin(), r.slots.end(), [](const Slot& slot) {
          return slot.current.unhealthy >= kKeepsFailing;
        });
    if (!keeps_failing) return std::nullopt;
    return name + " keeps failing, " + std::to_string(kKeepsFailing) + " times in a row; it is tried on";
  }
  if (verb == CommandVerb::reload && (r.due || r.reload_open || r.roll != Roll::none)) return std::nullopt;
  return "";
}

// Answers what this service's state decides.
void Engine::resolve(const ServiceRecord& r) {
  for (std::size_t n = s_.requests.size(); n-- > 0;) {
    const Request& q = s_.requests[n];
    if (!std::binary_search(q.pending.begin(), q.pending.end(), r.id.value)) continue;
    if (const auto error = outcome(q.verb, r)) settle_request(n, r.id.value, *error);
  }
}

void Engine::fail_requests(const ServiceRecord& r, CommandVerb verb, const std::string& error) {
  for (std::size_t n = s_.requests.size(); n-- > 0;) {
    const Request& q = s_.requests[n];
    if (q.verb != verb || !std::binary_search(q.pending.begin(), q.pending.end(), r.id.value)) continue;
    settle_request(n, r.id.value, r.spec.name + ": " + error);
  }
}

void Engine::settle_request(std::size_t index, std::uint32_t service, const std::string& error) {
  Request& q = s_.requests[index];
  if (q.error.empty()) q.error = error;
  q.pending.erase(std::lower_bound(q.pending.begin(), q.pending.end(), service));
  if (!q.pending.empty()) return;
  answer(q.id, std::move(q.error));
  s_.requests.erase(s_.requests.begin() + static_cast<std::ptrdiff_t>(index));
}

}  // namespace runmain::core

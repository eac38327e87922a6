// The end: asked for, forced, or because nothing is left that could run.
#include <algorithm>
#include <csignal>

#include "core/engine.hpp"

namespace runmain::core {

void Engine::operator()(const Signalled& e) {
  if (e.signal == SIGHUP && e.terminal_gone) {
    if (!e.nohup) shut_down(e.signal);
    return;
  }
  if (e.signal == SIGHUP) {
    for (ServiceRecord& r : s_.services) {
      if (up(r)) request_reload(r, Reason::change);
    }
    return;
  }
  if (e.signal == SIGTTIN || e.signal == SIGTTOU) return grow_pools(e.signal == SIGTTIN);
  if (e.signal == SIGUSR1) return pass_on(e.signal);
  if (e.signal == SIGUSR2) return upgrade({}, 0);
  if (e.signal != SIGINT && e.signal != SIGTERM && e.signal != SIGQUIT) return;
  if (++s_.signals < 2) return shut_down(e.signal);
  force(e.signal);
}

std::string bounds_text(const ServiceSpec& spec) {
  const std::uint32_t least = spec.workers_least();
  const std::uint32_t most = spec.workers_most();
  const std::string range =
      least == most ? std::to_string(most) : std::to_string(least) + " to " + std::to_string(most);
  return range + " workers" + (spec.workers_max == 0 ? "" : ", as its configuration says");
}

bool Engine::may_have(const ServiceRecord& r, std::uint32_t workers) {
  return workers >= r.spec.workers_least() && workers <= r.spec.workers_most();
}

// A worker more or less, where there are several; or in the only service.
void Engine::grow_pools(bool grow) {
  const auto configured = [](const ServiceRecord& r) { return r.configured; };
  const bool alone = std::count_if(s_.services.begin(), s_.services.end(), configured) == 1;
  for (ServiceRecord& r : s_.services) {
    const std::uint32_t workers = r.workers();
    const bool pool = workers > 1 || r.scaled || r.spec.workers_max > r.spec.workers;
    if (!r.configured || !up(r) || !(pool || alone)) continue;
    const std::uint32_t wish = grow ? workers + 1 : workers - 1;
    if (may_have(r, wish)) {
      set_workers(r, wish, "signal");
    } else {
      tell(r, FactType::service_scale_refused, workers, bounds_text(r.spec));
    }
  }
}

// As a shell would with a job: log files are opened anew, and the like.
void Engine::pass_on(std::int32_t signal) {
  std::uint32_t sent = 0;
  for (const ServiceRecord& r : s_.services) {
    for (const Instance& i : r.instances) {
      if (!i.key.is_worker() || !i.works()) continue;
      push(Kill{i.key, signal, false});
      ++sent;
    }
  }
  Fact fact;
  fact.type = FactType::signal_passed_on;
  fact.number = signal;
  fact.text = std::to_string(sent) + (sent == 1 ? " worker" : " workers");
  record(std::move(fact));
}

void Engine::shut_down(std::int32_t signal) {
  if (s_.shutting_down) return;
  s_.shutting_down = true;
  s_.failed_exit = s_.tally[kFailed] > 0;
  Fact fact;
  fact.type = FactType::shutdown_started;
  fact.number = signal;
  record(std::move(fact));
  for (ServiceRecord& r : s_.services) {
    if (r.run == RunState::idle || r.run == RunState::running) idle(r);
    touch(r);
  }
  for (std::size_t n = s_.requests.size(); n-- > 0;) {
    const Request& q = s_.requests[n];
    if (q.verb == CommandVerb::stop || q.verb == CommandVerb::shutdown) continue;
    answer(q.id, "runmain is shutting down");
    s_.requests.erase(s_.requests.begin() + static_cast<std::ptrdiff_t>(n));
  }
}

// Nobody is asked any more. What is being spawned is killed when it is there.
void Engine::force(std::int32_t signal) {
  shut_down(signal);
  if (s_.forced) return;
  s_.forced = true;
  s_.forcing_signal = signal;
  Fact fact;
  fact.type = FactType::shutdown_forced;
  fact.number = signal;
  record(std::move(fact));
  for (ServiceRecord& r : s_.services) {
    for (Instance& i : r.instances) {
      const bool known = i.phase != WorkerState::spawning && i.phase != WorkerState::killing;
      i.why = EndWhy::stop;
      if (known && i.living()) kill_tree(r, i);
    }
    touch(r);
  }
}

void Engine::check_end() {
  if (s_.shutting_down) {
    if (s_.tally[kAlive] == 0) quit(s_.forced ? 128 + s_.forcing_signal : s_.failed_exit ? 1 : 0);
    return;
  }
  const bool all = s_.tally[kWanted] > 0 && s_.tally[kUnsatisfied] == 0;
  if (all && !s_.all_ready_told) {
    Fact fact;
    fact.type = FactType::all_ready;
    fact.number = s_.tally[kWanted];
    record(std::move(fact));
  }
  s_.all_ready_told = all;
  const std::uint32_t revivable = s_.mode == Mode::dev ? s_.tally[kWatch] : s_.tally[kWatchFailed];
  const bool over = s_.tally[kWanted] > 0 && s_.tally[kActive] == 0 && s_.tally[kAlive] == 0 &&
                    s_.tally[kUserStopped] == 0 && revivable == 0;
  if (over) quit(s_.tally[kFailed] > 0 ? 1 : 0);
}

// Who could not be stopped: a shutdown that left them says so. Empty if nobody.
std::string Engine::left_alive() const {
  std::string text;
  for (const ServiceRecord& r : s_.services) {
    if (r.survivors.empty() || text.size() > kFactTextMax) continue;
    text += (text.empty() ? "" : "; ") + r.spec.name + " could not be stopped, still alive: " + r.survivors;
  }
  return text;
}

void Engine::quit(std::int32_t status) {
  s_.quit = true;
  s_.shutting_down = true;
  Fact fact;
  fact.type = FactType::shutdown_done;
  fact.number = status;
  record(std::move(fact));
  for (Request& q : s_.requests) answer(q.id, q.verb == CommandVerb::shutdown ? left_alive() : q.error);
  s_.requests.clear();
  push(Quit{status});
}

}  // namespace runmain::core

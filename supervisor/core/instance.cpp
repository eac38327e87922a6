// One child, from Spawn to Forget:
//
//   spawning ─► starting ─► ready ─► [retiring] ─► draining ─► killing ─► sweeping ─► gone
//                              └──► [hung] ──────────────────────┘
//
// Any living phase goes to sweeping with Exited; only sweeping and killing end, with Swept.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {
namespace {

bool is_transient(const Spawned& e) {
  if (e.stage == SpawnStage::resources || e.stage == SpawnStage::fork) return true;
  switch (e.error) {
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ETXTBSY:
    case EINTR:
    case EBUSY: return true;
    default: return false;
  }
}

Duration from_usec(std::uint64_t usec) {
  constexpr auto kMax =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(kSpanMax).count());
  return std::chrono::microseconds(std::min(usec, kMax));
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (text.size() > kFactTextMax) break;
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

// Whether it could not be spawned, again and again, for so long.
bool has_failed_for(const SlotRun& run, Duration limit) {
  Duration waited{};
  for (std::uint32_t n = 1; n <= run.spawn_failures && waited < limit; ++n) waited += spawn_delay(n);
  return waited >= limit;
}

}  // namespace

std::string cut(const std::string& text, std::size_t max) {
  if (text.size() <= max) return text;
  std::size_t end = max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end == 0 ? max : end);
}

// What runs in a phase ends with it.
void Engine::enter(Instance& i, WorkerState phase) {
  i.phase = phase;
  i.since = now_;
  i.deadline = kNever;
  i.watchdog_at = kNever;
  i.step_at = kNever;
  i.frozen_until = kNever;
  i.recycle_at = kNever;
  i.replace_at = kNever;
  i.doubts = 0;
  i.doubt_until = kNever;
  i.doubted.reset();
  i.main_gone = false;
}

void Engine::spawn(ServiceRecord& r, std::uint32_t slot, std::uint32_t generation, SlotRun& run) {
  Instance i;
  i.key = ChildKey{r.id, slot, generation, ++run.attempt};
  i.since = now_;
  r.slots[slot].open |= r.spec.balance == Balance::reuseport;
  if (run.reason == Reason::crash && run.spawn_failures == 0) ++r.restarts;  // tries of one restart are one
  push(Spawn{i.key, run.reason, {}, 0});
  r.instances.push_back(std::move(i));
}

void Engine::spawn_build(ServiceRecord& r) {
  Instance i;
  i.key = ChildKey{r.id, kBuildSlot, r.counter + 1, ++r.build_attempt};
  i.since = now_;
  push(Spawn{i.key, r.roll_reason, {}, 0});
  tell(r, i, FactType::reload_building, r.build_attempt);
  r.instances.push_back(std::move(i));
}

// Neither for its readiness nor for its health.
void Engine::stop_looking(Instance& i) {
  if (std::exchange(i.probing, false)) push(StopProbe{i.key});
  if (std::exchange(i.watched, false)) push(StopWatching{i.key});
}

// Asks a child to go, or remembers to. Does nothing to one that is on its way out already, unless that was
// its own idea. After a forced shutdown nobody is asked.
void Engine::stop(ServiceRecord& r, Instance& i, EndWhy why) {
  const bool by_itself = i.phase == WorkerState::draining && i.why == EndWhy::announced;
  if (i.phase == WorkerState::spawning) {
    i.why = why;
    return;
  }
  if (i.phase != WorkerState::starting && i.phase != WorkerState::ready && !by_itself) return;
  i.why = why;
  if (s_.forced) return kill_tree(r, i);
  if (retires(r, i)) return;
  const Instance before = i;
  begin_drain(r, i, r.spec.stop.signal, r.spec.stop.group);
  if (!by_itself) return;
  i.drained_by = before.drained_by;  // who has said so says it once
  if (!i.drained) return;
  i.deadline = before.deadline;
  i.step_at = kNever;
}

void Engine::begin_drain(ServiceRecord& r, Instance& i, std::int32_t signal, bool group) {
  stop_looking(i);
  leave_terminal(i);
  enter(i, WorkerState::draining);
  i.deadline = later(now_, r.spec.stop.timeout);
  i.stop_step = 0;
  i.drained_by.clear();
  i.step_at = r.spec.stop.then.empty() ? kNever : later(now_, r.spec.stop.then.front().after);
  if (i.key.is_worker() && i.why != EndWhy::watchdog) push(AskDrain{i.key, r.spec.stop.timeout});
  push(Kill{i.key, signal, group});
}

// Sends what is due. The specification may have changed since the first signal.
void Engine::take_stop_steps(const ServiceRecord& r, Instance& i) {
  const auto& then = r.spec.stop.then;
  while (i.step_at <= now_) {
    if (i.stop_step < then.size()) push(Kill{i.key, then[i.stop_step].signal, r.spec.stop.group});
    const std::size_t next = ++i.stop_step;
    i.step_at = next < then.size() ? later(i.step_at, then[next].after - then[next - 1].after) : kNever;
  }
}

void Engine::kill_tree(ServiceRecord& r, Instance& i) {
  stop_looking(i);
  leave_terminal(i);
  enter(i, WorkerState::killing);
  push(KillTree{i.key});
  touch(r);
}

void Engine::remove(ServiceRecord& r, const Instance& i) {
  push(Forget{i.key});
  r.instances.erase(r.instances.begin() + (&i - r.instances.data()));
}

void Engine::operator()(const Spawned& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->phase != WorkerState::spawning) return;
  touch(*r);
  if (e.error != 0) {
    const bool wanted = i->why == EndWhy::none;
    tell(*r, *i, FactType::child_spawn_failed, e.error, e.detail);
    const Instance gone = *i;
    remove(*r, *i);
    if (gone.key.is_about()) return helper_ended(*r, gone, End{false, false, e.detail}, e.error);
    return spawn_failed(*r, e.key, wanted, e);
  }
  i->pid = e.pid;
  enter(*i, WorkerState::starting);
  if (i->key.is_worker() || i->key.is_build()) tell(*r, *i, FactType::child_started, i->key.attempt);
  if (i->key.is_build()) {
    r->build_failures = 0;
  } else if (i->key.slot < r->slots.size()) {
    Slot& slot = r->slots[i->key.slot];
    if (i->key.generation == r->current) {
      r->ran = true;
      slot.current.spawn_failures = 0;
    } else if (i->key.generation == r->next) {
      slot.next.spawn_failures = 0;
    }
  }
  if (s_.forced) return kill_tree(*r, *i);
  if (i->why != EndWhy::none) return stop(*r, *i, i->why);
  if (i->key.is_build()) return;
  if (!i->key.is_worker()) {
    i->deadline = later(now_, i->key.is_hook()    ? r->spec.hang.hook_timeout
                              : i->key.is_probe() ? kProbeLimit
                                                  : r->spec.health.timeout);
    return;
  }
  i->deadline = later(now_, r->spec_of(i->key.generation).ready.timeout);
  i->probing = true;
  push(Probe{i->key});
}

void Engine::spawn_failed(ServiceRecord& r, const ChildKey& key, bool wanted, const Spawned& e) {
  if (!up(r)) return;
  const bool hopeless = wanted && !is_transient(e);
  if (key.is_build()) {
    if (hopeless) return build_ended(r, false, e.error, e.detail);
    r.build_failures = std::min(r.build_failures + 1, kCountMax);
    r.build_retry_at = later(now_, spawn_delay(r.build_failures));
    return;
  }
  if (r.run != RunState::running || key.slot >= r.slots.size()) return;
  const bool of_next = r.next != 0 && key.generation == r.next;
  if (!of_next && key.generation != r.current) return;
  // A start that cannot even begin has as long as one that does not become ready: a reload is waited for, and
  // the next one waits behind it.
  const bool too_long = of_next && has_failed_for(r.slots[key.slot].next, r.spec.ready.timeout);
  if (of_next && (hopeless || too_long)) return abort_next(r, e.detail);
  if (hopeless && !r.ran) return fail(r, e.detail);
  // One that was not wanted any more waits as well: its generation may be wanted again.
  Slot& slot = r.slots[key.slot];
  SlotRun& run = of_next ? slot.next : slot.current;
  run.spawn_failures = std::min(run.spawn_failures + 1, kCountMax);
  run.retry_at = later(now_, spawn_delay(run.spawn_failures));
  run.since = now_;
}

void Engine::became_ready(ServiceRecord& r, Instance& i, const Ready& e) {
  const std::string where = e.address.empty() ? std::string() : " " + cut(e.address, kStatusTextMax);
  tell(r, i, FactType::child_ready, to_ms(now_ - i.since), name_of(e.proof) + where);
  // Who has said that it is ready lives: a beat in doubt has another period.
  const bool in_doubt = (i.doubts & kDoubtBeat) != 0;
  const Time watchdog_at = in_doubt ? later(now_, i.watchdog) : i.watchdog_at;
  const Time frozen_until = i.frozen_until;
  enter(i, WorkerState::ready);
  i.watchdog_at = watchdog_at;
  if (const Duration asked = r.spec_of(i.key.generation).hang.watchdog;
      asked > Duration::zero() && i.watchdog == Duration::zero()) {  // it has not said another one
    i.watchdog = asked;
    i.watchdog_at = later(now_, asked);
  }
  i.frozen_until = frozen_until;
  i.proof = e.proof;
  i.probing = false;
  i.was_ready = true;
  i.ready_at = now_;
  i.deadline_left.reset();
  if (!r.spec_of(i.key.generation).listen.empty()) push(RenewBacklog{i.key});
  look_after(r, i);
  if (r.next != 0 && i.key.generation == r.next && !r.course.gradual) commit(r);
  if (i.key.generation == r.current) {
    r.proven = r.current;
    r.given_up = 0;
  }
  touch(r);
}

void Engine::operator()(const Exited& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->phase == WorkerState::spawning || !i->living() || i->main_gone || e.pid != i->pid)
    return;
  const End end = judge(r->spec, e);
  const std::int64_t number = e.known ? e.status : -1;
  const bool asked = i->why == EndWhy::stop || i->why == EndWhy::announced;
  const bool helper = i->key.is_about();
  if (!helper) {
    Fact fact = about(*r, *i, asked ? FactType::child_stopped : FactType::child_exited, number, end.how);
    if (i->phase == WorkerState::draining) fact.drained_for = now_ - i->since;
    record(std::move(fact));
  }
  stop_looking(*i);
  leave_terminal(*i);
  if (leaves_the_drain(*r, *i, e)) {
    i->main_gone = true;
    i->step_at = kNever;
    touch(*r);
    return push(AwaitTree{e.key});
  }
  const bool tree_is_dying = i->phase == WorkerState::killing;
  const Instance was = *i;
  enter(*i, WorkerState::sweeping);
  if (helper) {
    helper_ended(*r, was, end, number);
  } else if (i->why != EndWhy::stop && i->key.is_build()) {
    build_ended(*r, end.clean, number, end.how);
  } else if (i->why != EndWhy::stop) {
    worker_died(*r, *i, end);
  }
  // A replacement is spawned before the leftovers are killed: that one is what clients wait for.
  reconcile(*r);
  if (!tree_is_dying) push(KillTree{e.key});
}

// A wrapper such as `sh -c "server"` or `npm start` knows nothing of draining and dies of the signal that its
// server has got, too. That one still answers what it has accepted, in the time that is left.
bool Engine::leaves_the_drain(const ServiceRecord& r, const Instance& i, const Exited& e) const {
  if (i.phase != WorkerState::draining || i.why != EndWhy::stop || s_.forced) return false;
  if (!i.key.is_worker() || r.spec.listen.empty()) return false;
  if (!e.known) return true;             // of a keeper before ours: it may have been a wrapper
  constexpr std::int32_t kShells = 128;  // sh(1) and others exit with 128 + the signal
  const std::int32_t signal = e.status & 0x7f;
  const std::int32_t code = (e.status >> 8) & 0xff;
  const auto is_ours = [&](std::int32_t number) {
    return signal == number || (signal == 0 && code == kShells + number);
  };
  const auto& then = r.spec.stop.then;
  return is_ours(r.spec.stop.signal) ||
         std::any_of(then.begin(), then.end(), [&](const StopStep& step) { return is_ours(step.signal); });
}

void Engine::operator()(const Swept& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr) return;
  if (i->phase != WorkerState::sweeping && i->phase != WorkerState::killing && !i->main_gone) return;
  if (!e.survivors.empty()) {
    const std::string names = cut(join(e.survivors), kFactTextMax);
    tell(*r, *i, FactType::child_survivors, static_cast<std::int64_t>(e.survivors.size()), names);
    if (!up(*r) || r->run == RunState::idle)
      r->survivors = cut(r->survivors + (r->survivors.empty() ? "" : ", ") + names, kFactTextMax);
    s_.failed_exit |= s_.shutting_down;
  }
  const End unseen{false, false, "killed, and its end was not seen"};
  if (i->phase == WorkerState::killing && i->key.is_about()) {
    helper_ended(*r, Instance(*i), unseen, -1);
  } else if (i->phase == WorkerState::killing && i->why != EndWhy::stop && i->key.is_worker()) {
    worker_died(*r, *i, unseen);
  } else if (i->phase == WorkerState::killing && i->why != EndWhy::stop) {
    build_ended(*r, false, -1, unseen.how);
  }
  const auto [same, gone] = find(e.key);
  remove(*same, *gone);
  touch(*r);
}

// What a child reloads inside is its own affair.
void Engine::operator()(const Reloading&) {}

void Engine::operator()(const StatusText& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || !i->living()) return;
  std::string text = cut(e.text, kStatusTextMax);
  if (text == i->status_text) return;
  i->status_text = text;
  tell(*r, *i, FactType::child_status, 0, std::move(text));
}

void Engine::operator()(const Watchdog& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || !i->key.is_worker() || !i->works()) return;
  if (e.trigger) {
    tell(*r, *i, FactType::child_watchdog_missed, 0);
    return hung(*r, *i, {EndWhy::watchdog, Stall::unknown, 0, "it said so: WATCHDOG=trigger"});
  }
  if (e.usec > 0) i->watchdog = from_usec(e.usec);
  i->beats_missed = 0;
  believe(*i, kDoubtBeat);
  if (i->watchdog > Duration::zero() && i->at_terminal) i->watchdog_left = i->watchdog;
  if (i->watchdog > Duration::zero() && !i->at_terminal) i->watchdog_at = later(now_, i->watchdog);
  touch(*r);
}

void Engine::operator()(const Extend& e) {
  const auto [r, i] = find(e.key);
  if (i != nullptr && i->deadline_left) i->deadline_left = std::max(*i->deadline_left, from_usec(e.usec));
  if (i != nullptr && (i->doubts & kDoubtReady) != 0) {
    believe(*i, kDoubtReady);
    i->deadline = now_;
  }
  // Who hangs gets no more time for it.
  if (i == nullptr || i->deadline == kNever || i->phase == WorkerState::hung) return;
  i->deadline = std::max(i->deadline, later(now_, from_usec(e.usec)));
  touch(*r);
}

void Engine::operator()(const MainPid& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || !i->living() || i->phase == WorkerState::spawning || e.pid <= 0 || e.pid == i->pid)
    return;
  i->pid = e.pid;
  push(SetMainPid{i->key, e.pid});
}

// Everything of this service whose time has come.
void Engine::on_time(ServiceRecord& r) {
  touch(r);
  // What follows may add helpers, and that moves the instances.
  for (std::size_t n = 0; n < r.instances.size(); ++n) {
    limits_reached(r, r.instances[n]);
    if (r.instances[n].doubt_until <= now_) {
      const ChildKey key = r.instances[n].key;
      examined(r, key, Looked{key, false, Stall::unknown, {}});
    }
    if (r.instances[n].frozen_until <= now_) {
      hung(r, r.instances[n],
           {EndWhy::hung, Stall::stopped, to_ms(r.spec.hang.stopped), "stopped by a signal"});
    }
    if (r.instances[n].deadline <= now_) deadline_reached(r, r.instances[n]);
  }
  if (r.window_end <= now_) window_ended(r);
  if (r.room_deadline <= now_) {
    r.room = RoomState::enough;  // nobody knows better
    r.room_deadline = kNever;
  }
}

// What a worker may be for only so long.
void Engine::limits_reached(ServiceRecord& r, Instance& i) {
  take_stop_steps(r, i);
  if (i.recycle_at <= now_) {
    i.recycle_at = kNever;
    recycle_when_due(r, i, "lifetime " + std::to_string((to_ms(now_ - i.ready_at) + 500) / 1000) + " s");
  }
  if (i.replace_at <= now_) i.replace_at = kNever;
  if (i.watchdog_at <= now_) {
    i.watchdog_at = kNever;
    doubt(r, i, kDoubtBeat);
  }
}

void Engine::deadline_reached(ServiceRecord& r, Instance& i) {
  switch (i.phase) {
    case WorkerState::starting:
      // A hook or a look takes too long. That a look does may be no fault of the worker, nor its own.
      if (!i.key.is_worker() && !i.key.is_look()) return kill_tree(r, i);
      i.deadline = kNever;
      return doubt(r, i, kDoubtReady);
    case WorkerState::retiring: return begin_drain(r, i, r.spec.stop.signal, r.spec.stop.group);
    case WorkerState::draining:
      tell(r, i, FactType::child_stop_timeout, to_ms(i.drained ? r.spec.stop.flush : r.spec.stop.timeout));
      if (i.leaving) i.why = EndWhy::stop;  // that it ends like this is our doing
      return kill_tree(r, i);
    case WorkerState::hung: return end_hung(r, i);
    default: i.deadline = kNever;  // no phase of these has one
  }
}

End judge(const ServiceSpec& spec, const Exited& e) {
  constexpr std::int32_t kSignals = 1000;
  const std::int32_t signal = e.status & 0x7f;
  const std::int32_t code = signal != 0 ? kSignals + signal : (e.status >> 8) & 0xff;
  const auto in = [&](const std::vector<std::int32_t>& list) {
    return e.known && std::find(list.begin(), list.end(), code) != list.end();
  };
  End end;
  end.clean = (e.known && e.status == 0) || in(spec.success);
  end.final = in(spec.no_restart);
  end.how = e.oom ? "killed by SIGKILL: out of memory" : describe_exit(e.status, e.known);
  return end;
}

std::string describe_exit(std::int32_t status, bool known) {
  static constexpr std::pair<int, std::string_view> kNames[] = {
      {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
      {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
      {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
      {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"}, {SIGXCPU, "SIGXCPU"},
      {SIGSYS, "SIGSYS"}};
  if (!known) return "ended with an unknown status";
  const int signal = status & 0x7f;
  if (signal == 0) return "exited with status " + std::to_string((status >> 8) & 0xff);
  for (const auto& [number, name] : kNames) {
    if (number == signal) return "killed by " + std::string(name);
  }
  return "killed by signal " + std::to_string(signal);
}

}  // namespace runmain::core

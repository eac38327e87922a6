#include "drive/performer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "os/linux/memory.hpp"

namespace runmain::drive {
namespace {

// With the sockets that this child really has.
std::vector<ReadyListener> ready_listeners(const ServiceEntry& entry, const ChildInfo& child) {
  const auto& inodes = child.sockets.size() == entry.listeners.size() ? child.sockets : entry.inodes;
  std::vector<ReadyListener> all;
  for (std::size_t i = 0; i < entry.listeners.size() && i < inodes.size(); ++i) {
    all.push_back({entry.listeners[i].bound, inodes[i]});
  }
  return all;
}

// The sockets of which each slot has its own.
std::vector<std::string> groups_of(const ServiceEntry& entry) {
  std::vector<std::string> all;
  for (const LaunchListener& l : entry.listeners) {
    if (l.per_slot) all.push_back(l.id);
  }
  return all;
}

}  // namespace

void Performer::perform(const core::Effect& effect) {
  std::visit(
      [&](const auto& a) {
        using T = std::decay_t<decltype(a)>;
        if constexpr (std::is_same_v<T, core::Spawn>) {
          spawn(effect, a);
        } else if constexpr (std::is_same_v<T, core::Kill>) {
          if (a.signal == SIGKILL) note_kill(a.key);
          c_.keeper->send(effect, keeper::KillChild{a.key, a.signal, a.group});
        } else if constexpr (std::is_same_v<T, core::KillTree>) {
          note_kill(a.key);
          c_.keeper->send(effect, keeper::KillTree{a.key});
        } else if constexpr (std::is_same_v<T, core::AwaitTree>) {
          c_.keeper->send(effect, keeper::AwaitTree{a.key});
        } else if constexpr (std::is_same_v<T, core::Forget>) {
          c_.readiness->stop(a.key);
          c_.health->stop(a.key);
          c_.examiner->stop(a.key);
          c_.queues->stop(a.key);
          c_.channel->forget(a.key);
          c_.children->erase(a.key);
          c_.keeper->send(effect, keeper::ForgetChild{a.key});
        } else if constexpr (std::is_same_v<T, core::Probe>) {
          probe(a.key);
        } else if constexpr (std::is_same_v<T, core::StopProbe>) {
          c_.readiness->stop(a.key);
        } else if constexpr (std::is_same_v<T, core::GrantRole>) {
          grant(effect, a);
        } else if constexpr (std::is_same_v<T, core::AskDrain>) {
          c_.keeper->send(effect, keeper::SendChannel{0, a.key, false, false, drain_line(a.budget), {}});
        } else if constexpr (std::is_same_v<T, core::SetMainPid>) {
          (*c_.children)[a.key].pid = a.pid;
          c_.readiness->set_pid(a.key, a.pid);
          c_.health->set_pid(a.key, a.pid);
          c_.keeper->send(effect, keeper::SetMainPid{a.key, a.pid});
        } else if constexpr (std::is_same_v<T, core::WatchHealth>) {
          watch_health(a.key, false, a.closely);
        } else if constexpr (std::is_same_v<T, core::StopWatching>) {
          c_.health->stop(a.key);
        } else if constexpr (std::is_same_v<T, core::Examine>) {
          examine(a.key);
        } else if constexpr (std::is_same_v<T, core::Measure>) {
          measure(a.service);
        } else if constexpr (std::is_same_v<T, core::Distribute>) {
          distribute(effect, a);
        } else if constexpr (std::is_same_v<T, core::AwaitQueue>) {
          await_queue(a);
        } else if constexpr (std::is_same_v<T, core::RenewBacklog>) {
          renew_backlog(effect, a.key);
        } else if constexpr (std::is_same_v<T, core::CloseSlots>) {
          close_slots(effect, a);
        } else if constexpr (std::is_same_v<T, core::CloseService>) {
          close_service(a);
        } else if constexpr (std::is_same_v<T, core::Upgrade>) {
          c_.keeper->send(effect, keeper::ReplacePrograms{a.folder});
        } else if constexpr (std::is_same_v<T, core::Quit>) {
          c_.keeper->send(effect, keeper::QuitKeeper{a.status});
        }
      },
      effect.action);
}

void Performer::spawn(const core::Effect& effect, const core::Spawn& spawn) {
  const ServiceEntry* entry = c_.services->find(spawn.key.service);
  if (entry == nullptr) {
    c_.keeper->send(
        effect, keeper::RefuseSpawn{spawn.key, static_cast<std::uint8_t>(core::SpawnStage::resources), EINVAL,
                                    "no such service"});
    return;
  }
  LaunchInput input;
  // The sockets are those of now in any case: others are not open any more.
  const core::ServiceSpec* spec = c_.spec_of(spawn.key);
  input.spec = spec != nullptr ? spec : &entry->spec;
  if (spawn.key.is_worker()) {
    if (const auto free = check_own_port(*input.spec, spawn.key.slot, entry->auto_port); !free) {
      const Error& why = free.error();
      c_.keeper->send(
          effect, keeper::RefuseSpawn{spawn.key, static_cast<std::uint8_t>(core::SpawnStage::exec), why.code,
                                      why.message});
      return;
    }
  }
  input.key = spawn.key;
  input.reason = spawn.reason;
  if (spawn.key.is_worker()) input.listeners = listeners_of(*entry, spawn.key.slot);
  input.environment = c_.environment;
  input.secret = c_.secret;
  input.channel = c_.channel_path;
  input.adopt = c_.adopt;
  input.auto_port = entry->auto_port;
  input.about = spawn.about;
  input.about_pid = spawn.about_pid;
  input.hang = spawn.hang;
  input.browser = c_.browser;
  if (entry->by_observer) input.otlp = c_.otlp;
  input.short_delays = c_.short_delays;
  input.bootstrap = c_.bootstrap;
  if (spawn.key.is_worker()) input.doctor = entry->doctor;
  // The start of the worker is a span (telemetry/lifecycle.hpp), and what it tells of its own start is below
  // it.
  if (!c_.otlp.empty() && spawn.key.is_worker() && input.spec->telemetry.enabled)
    input.traceparent = to_traceparent(start_of(c_.secret, spawn.key));
  if (spawn.reason == core::Reason::change) input.changed_file = write_changed(*entry, spawn.key);
  std::visit([&](const auto& order) { c_.keeper->send(effect, order); }, plan(input));
}

// RUNMAIN_CHANGED: the first changed paths, one a line. Without it the child only knows less.
std::string Performer::write_changed(const ServiceEntry& entry, const ChildKey& key) {
  if (entry.changed.empty() || c_.runtime_dir.empty()) return {};
  std::string path = c_.runtime_dir + "/changed-" + std::to_string(key.service.value);
  // Cut off after it was written: a file that was emptied is flushed by some file systems when it is closed.
  os::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  std::string text;
  for (const std::string& changed : entry.changed) text += changed + "\n";
  const bool written =
      fd && os::write_all(fd.get(), text) && ftruncate(fd.get(), static_cast<off_t>(text.size())) == 0;
  if (!written) {
    c_.tell("cannot write " + path + ", ignoring");
    return {};
  }
  return path;
}

void Performer::probe(const ChildKey& key) {
  const ServiceEntry* entry = c_.services->find(key.service);
  const auto child = c_.children->find(key);
  if (entry == nullptr || child == c_.children->end() || !key.is_worker()) return;
  ReadinessJob job;
  job.key = key;
  job.pid = child->second.pid;
  job.tag = child->second.tag;
  job.spec = entry->spec.ready;
  job.listeners = ready_listeners(*entry, child->second);
  job.port = own_port(entry->spec, key.slot, entry->auto_port);
  if (auto started = c_.readiness->start(std::move(job)); !started) {
    c_.tell(entry->spec.name + ": cannot find out whether it is ready: " + started.error().text());
  }
}

void Performer::watch_health(const ChildKey& key, bool again, bool closely) {
  const ServiceEntry* entry = c_.services->find(key.service);
  const auto child = c_.children->find(key);
  if (entry == nullptr || child == c_.children->end() || !key.is_worker()) return;
  const core::ServiceSpec& spec = entry->spec;
  HealthJob job;
  job.key = key;
  job.pid = child->second.pid;
  job.tag = child->second.tag;
  job.spec = spec.health;
  if (closely) job.spec.interval = std::min<Duration>(job.spec.interval, core::kCloseLooks);
  job.recycle = spec.recycle;
  job.listeners = ready_listeners(*entry, child->second);
  const std::string& address = spec.health.address.empty() ? spec.ready.address : spec.health.address;
  job.address = probe_address(address, job.listeners, own_port(spec, key.slot, entry->auto_port));
  job.shared = !(address.empty() && job.listeners.empty() && spec.port && *spec.port == 0);
  job.resumed = again || closely;
  if (auto watched = c_.health->watch(std::move(job)); !watched) {
    c_.tell(spec.name + ": cannot find out whether it is well: " + watched.error().text());
  }
}

// What a worker takes is what the largest one takes now.
void Performer::measure(ServiceId service) {
  core::Room room;
  room.service = service;
  room.available = os::available_memory().value_or(~0ULL);
  TreeIndex trees;
  std::size_t looked_at = 0;
  for (const auto& [key, child] : *c_.children) {
    if (key.service != service || !key.is_worker() || looked_at++ >= kMeasuredMax) continue;
    std::vector<pid_t> pids = trees.of(child.tag, os::Loop::now());
    if (std::find(pids.begin(), pids.end(), child.pid) == pids.end()) pids.push_back(child.pid);
    room.worker = std::max(room.worker, os::shared_out_memory(pids));
  }
  c_.feed(room);
}

// Of one that is gone the keeper tells.
void Performer::examine(const ChildKey& key) {
  const auto child = c_.children->find(key);
  if (child != c_.children->end()) c_.examiner->examine(key, child->second.pid, child->second.tag);
}

void Performer::note_kill(const ChildKey& key) {
  if (const auto child = c_.children->find(key); child != c_.children->end()) child->second.killed = true;
}

void Performer::grant(const core::Effect& effect, const core::GrantRole& grant) {
  const ServiceEntry* entry = c_.services->find(grant.key.service);
  keeper::SendChannel order{grant.conn, grant.key, false, false, {}, {}};
  if (!grant.granted || entry == nullptr) {
    order.bytes = refused_line(grant.why);
    c_.keeper->send(effect, std::move(order));
    return;
  }
  Role role{entry->spec.name,
            grant.key,
            instance_id(c_.secret, grant.key),
            {},
            c_.observed && entry->spec.telemetry.enabled};
  for (const LaunchListener& l : listeners_of(*entry, grant.key.slot)) {
    role.listeners.push_back({l.name, l.bound});
    order.listeners.push_back(l.id);
  }
  order.mailbox = role.mailbox;
  order.by_path = grant.by_path;
  order.instance_id = role.instance_id;
  order.bind = true;
  order.bytes = role_line(role);
  c_.keeper->send(effect, std::move(order));
}

void Performer::distribute(const core::Effect& effect, const core::Distribute& distribute) {
  const ServiceEntry* entry = c_.services->find(distribute.service);
  if (entry == nullptr) return;
  keeper::DistributeSlots order{groups_of(*entry), distribute.slots};
  if (!order.groups.empty()) c_.keeper->send(effect, std::move(order));
}

void Performer::close_slots(const core::Effect& effect, const core::CloseSlots& close) {
  const ServiceEntry* entry = c_.services->find(close.service);
  if (entry == nullptr) return;
  keeper::CloseSlots order{groups_of(*entry), close.slots};
  if (!order.groups.empty()) c_.keeper->send(effect, std::move(order));
}

void Performer::await_queue(const core::AwaitQueue& order) {
  const ServiceEntry* entry = c_.services->find(order.key.service);
  const auto child = c_.children->find(order.key);
  std::vector<std::uint64_t> own;
  if (entry != nullptr && child != c_.children->end()) {
    const auto& sockets = child->second.sockets;
    for (std::size_t i = 0; i < entry->listeners.size() && i < sockets.size(); ++i) {
      if (entry->listeners[i].per_slot) own.push_back(sockets[i]);
    }
  }
  c_.queues->start(order.key, std::move(own), order.quiet);
}

void Performer::renew_backlog(const core::Effect& effect, const ChildKey& key) {
  const ServiceEntry* entry = c_.services->find(key.service);
  if (entry == nullptr || entry->listeners.empty()) return;
  keeper::RenewBacklog order;
  for (const LaunchListener& l : listeners_of(*entry, key.slot)) order.ids.push_back(l.id);
  c_.keeper->send(effect, std::move(order));
}

void Performer::close_service(const core::CloseService& close) {
  const ServiceEntry* entry = c_.services->find(close.service);
  if (entry == nullptr) return;
  std::vector<std::string> ids;
  for (const LaunchListener& l : entry->listeners) ids.push_back(l.id);
  c_.services->erase(close.service);
  std::erase_if(ids, [this](const std::string& id) { return c_.services->uses(id); });  // another's by now
  c_.keeper->close_listeners(std::move(ids));
}

}  // namespace runmain::drive

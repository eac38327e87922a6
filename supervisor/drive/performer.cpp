#include "drive/performer.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace runmain::drive {

void Performer::perform(const core::Effect& effect) {
  std::visit(
      [&](const auto& a) {
        using T = std::decay_t<decltype(a)>;
        if constexpr (std::is_same_v<T, core::Spawn>) {
          spawn(effect, a);
        } else if constexpr (std::is_same_v<T, core::Kill>) {
          c_.keeper->send(effect, keeper::KillChild{a.key, a.signal, a.group});
        } else if constexpr (std::is_same_v<T, core::KillTree>) {
          c_.keeper->send(effect, keeper::KillTree{a.key});
        } else if constexpr (std::is_same_v<T, core::Forget>) {
          c_.readiness->stop(a.key);
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
          c_.keeper->send(effect, keeper::SetMainPid{a.key, a.pid});
        } else if constexpr (std::is_same_v<T, core::CloseService>) {
          close_service(a);
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
  input.spec = &entry->spec;
  input.key = spawn.key;
  input.reason = spawn.reason;
  input.listeners = entry->listeners;
  input.environment = c_.environment;
  input.secret = c_.secret;
  input.channel = c_.channel_path;
  input.auto_port = entry->auto_port;
  input.browser = c_.browser;
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
  if (entry == nullptr || child == c_.children->end() || key.is_build()) return;
  ReadinessJob job;
  job.key = key;
  job.pid = child->second.pid;
  job.tag = child->second.tag;
  job.spec = entry->spec.ready;
  for (std::size_t i = 0; i < entry->listeners.size(); ++i) {
    job.listeners.push_back({entry->listeners[i].bound, entry->inodes[i]});
  }
  job.port = own_port(entry->spec, key.slot, entry->auto_port);
  if (auto started = c_.readiness->start(std::move(job)); !started) {
    c_.tell(entry->spec.name + ": cannot find out whether it is ready: " + started.error().text());
  }
}

void Performer::grant(const core::Effect& effect, const core::GrantRole& grant) {
  const ServiceEntry* entry = c_.services->find(grant.key.service);
  keeper::SendChannel order{grant.conn, grant.key, false, false, {}, {}};
  if (!grant.granted || entry == nullptr) {
    order.bytes = refused_line(grant.why);
    c_.keeper->send(effect, std::move(order));
    return;
  }
  Role role{entry->spec.name, grant.key, instance_id(c_.secret, grant.key), {}};
  for (const LaunchListener& l : entry->listeners) {
    role.listeners.push_back({l.name, l.bound});
    order.listeners.push_back(l.id);
  }
  order.bind = true;
  order.bytes = role_line(role);
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

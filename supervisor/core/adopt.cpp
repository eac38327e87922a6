// Cold start: children are there, and no memory of them but the keeper's table. The newest generation is
// taken to serve, everything else goes, and counting goes on above whatever was seen.
#include <algorithm>

#include "core/engine.hpp"

namespace runmain::core {

void Engine::operator()(const Adopted& e) {
  if (s_.configured || s_.shutting_down) return;
  s_.effects = std::max(s_.effects, e.executed);  // the keeper takes lower numbers for repeats
  name_ids(e);
  (*this)(Configured{e.desired, e.only});
  std::vector<std::vector<const Adopted::Child*>> by_service(s_.services.size());
  for (const Adopted::Child& child : e.children) {
    if (child.key.service.value < by_service.size()) by_service[child.key.service.value].push_back(&child);
  }
  for (ServiceRecord& r : s_.services) {
    if (!by_service[r.id.value].empty()) adopt_service(r, by_service[r.id.value]);
  }
}

// An id stands for the name that it was given to. The children of a service that the configuration does not
// name belong to nobody, and are stopped.
void Engine::name_ids(const Adopted& e) {
  for (const Adopted::Child& child : e.children) {
    const std::uint32_t id = child.key.service.value;
    if (id >= kServicesMax) continue;
    while (s_.services.size() <= id) {
      ServiceRecord& r = s_.services.emplace_back();
      r.id = ServiceId{static_cast<std::uint32_t>(s_.services.size() - 1)};
      r.since = now_;
      resize(r);
    }
    s_.services[id].spec.name = child.service;
  }
  s_.deadlines.grow(s_.services.size());
}

void Engine::adopt_service(ServiceRecord& r, const std::vector<const Adopted::Child*>& children) {
  touch(r);
  std::uint32_t newest = 0;
  for (const Adopted::Child* child : children) {
    r.counter = std::max(r.counter, child->key.generation);
    if (child->alive && child->key.is_worker()) newest = std::max(newest, child->key.generation);
  }
  const bool serves = r.configured && newest != 0;
  if (serves) {
    r.wanted = true;
    r.run = RunState::running;
    r.current = r.proven = newest;
    r.ran = true;
    r.needs_build = false;
  }
  for (const Adopted::Child* child : children) {
    const ChildKey& key = child->key;
    const bool latest = std::none_of(children.begin(), children.end(), [&key](const Adopted::Child* other) {
      return other->key.slot == key.slot && other->key.generation == key.generation && other->alive &&
             other->key.attempt > key.attempt;
    });
    const bool slot = serves && key.is_worker() && key.generation == newest && key.slot < r.slots.size();
    if (!key.is_worker() && !key.is_build()) r.helper_attempt = std::max(r.helper_attempt, key.attempt);
    if (slot) {
      std::uint32_t& attempt = r.slots[key.slot].current.attempt;
      attempt = std::max(attempt, key.attempt);
    }
    adopt_child(r, *child, slot && latest);
  }
}

void Engine::adopt_child(ServiceRecord& r, const Adopted::Child& child, bool serves) {
  if (find(child.key).second != nullptr || child.key.slot > kBuildSlot) return;
  Instance i;
  i.key = child.key;
  i.pid = child.pid;
  i.since = now_;
  i.ready_at = now_;
  i.was_ready = serves && child.alive;
  i.phase = child.alive ? WorkerState::ready : WorkerState::sweeping;
  if (!serves) i.why = EndWhy::stop;
  r.instances.push_back(std::move(i));
  Instance& kept = r.instances.back();
  if (!child.alive) return push(KillTree{kept.key});
  if (serves) {
    if (const Duration asked = r.spec_of(kept.key.generation).hang.watchdog; asked > Duration::zero()) {
      kept.watchdog = asked;
      kept.watchdog_at = now_ + asked;
    }
    look_after(r, kept);
    return tell(r, kept, FactType::child_ready, 0, name_of(kept.proof));
  }
  stop(r, kept, EndWhy::stop);
}

}  // namespace runmain::core

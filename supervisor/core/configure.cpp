// A new configuration against the one in force. Names keep their ids for ever.
#include <algorithm>
#include <unordered_map>

#include "core/engine.hpp"

namespace runmain::core {
namespace {

// What may change without a new child: policy that the core applies, and where the table stands in the file.
ServiceSpec with_policy_of(ServiceSpec spec, const ServiceSpec& other) {
  spec.at = other.at;
  spec.watch = other.watch;
  spec.restart = other.restart;
  spec.end_on_failure = other.end_on_failure;
  spec.backoff = other.backoff;
  spec.stop = other.stop;
  spec.depends_on = other.depends_on;
  spec.workers = other.workers;
  spec.workers_max = other.workers_max;
  spec.workers_auto = other.workers_auto;
  spec.roll = other.roll;
  spec.health = other.health;
  spec.hang = other.hang;
  spec.recycle = other.recycle;
  spec.success = other.success;
  spec.no_restart = other.no_restart;
  // A child's environment says that it exports to us, and whether it instruments itself; where it goes from
  // us is no matter of the child's. One that exports by itself has it in its environment, but for `logs`,
  // which are ours.
  TelemetrySpec exporter = other.telemetry;
  exporter.logs = spec.telemetry.logs;
  const bool is_same_for_child =
      spec.telemetry.enabled == other.telemetry.enabled && spec.telemetry.direct == other.telemetry.direct &&
      spec.telemetry.automatic == other.telemetry.automatic &&
      (!spec.telemetry.direct || !spec.telemetry.enabled || spec.telemetry == exporter);
  if (is_same_for_child) spec.telemetry = other.telemetry;
  return spec;
}

// The same, wherever its table stands.
ServiceSpec with_place_of(ServiceSpec spec, const ServiceSpec& other) {
  spec.at = other.at;
  return spec;
}

}  // namespace

void Engine::operator()(const Configured& e) {
  if (s_.shutting_down) return;
  const bool first = !s_.configured;
  s_.configured = true;
  s_.mode = e.desired.mode;
  const std::vector<std::uint32_t> ids = take_names(e.desired);
  const std::vector<std::uint32_t> chosen =
      selected(e.desired, first ? e.only : std::vector<std::string>{}, ids);
  std::vector<bool> named(s_.services.size());
  for (std::size_t n = 0; n < ids.size(); ++n) {
    named[ids[n]] = true;
    take_spec(s_.services[ids[n]], e.desired.services[n],
              std::binary_search(chosen.begin(), chosen.end(), ids[n]));
  }
  for (ServiceRecord& r : s_.services) {
    if (r.configured && !named[r.id.value]) drop_service(r);
  }
  index_dependencies(s_);
  // An edge that is gone may have been what a stop waited for.
  for (const ServiceRecord& r : s_.services) {
    if (!up(r) && !r.instances.empty()) touch(r);
  }
}

// The id of each service, in the file's order; new names get the next free ones.
std::vector<std::uint32_t> Engine::take_names(const Desired& desired) {
  std::unordered_map<std::string, std::uint32_t> by_name;
  for (const ServiceRecord& r : s_.services) by_name.emplace(r.spec.name, r.id.value);
  std::vector<std::uint32_t> ids;
  for (const ServiceSpec& spec : desired.services) {
    const auto next = static_cast<std::uint32_t>(s_.services.size());
    const auto [it, added] = by_name.emplace(spec.name, next);
    if (added && next >= kServicesMax) break;
    if (added) {
      ServiceRecord& r = s_.services.emplace_back();
      r.id = ServiceId{next};
      r.spec.name = spec.name;
      r.since = now_;
    }
    ids.push_back(it->second);
  }
  s_.deadlines.grow(s_.services.size());
  return ids;
}

// Sorted ids of what `only` names, with what those depend on; of all when it is empty.
std::vector<std::uint32_t> Engine::selected(const Desired& desired, const std::vector<std::string>& only,
                                            const std::vector<std::uint32_t>& ids) {
  std::vector<std::uint32_t> chosen;
  if (only.empty()) {
    chosen = ids;
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }
  std::vector<std::string> names = only;
  for (std::size_t at = 0; at < names.size(); ++at) {
    for (std::size_t n = 0; n < ids.size(); ++n) {
      const ServiceSpec& spec = desired.services[n];
      if (spec.name != names[at] || std::count(chosen.begin(), chosen.end(), ids[n]) != 0) continue;
      chosen.push_back(ids[n]);
      names.insert(names.end(), spec.depends_on.begin(), spec.depends_on.end());
    }
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

void Engine::take_spec(ServiceRecord& r, const ServiceSpec& spec, bool start) {
  const bool fresh = !r.configured;
  const bool children_differ = !(with_policy_of(r.spec, spec) == spec);
  const bool all_same = r.spec == with_place_of(spec, r.spec);
  const std::uint32_t before = r.workers();
  if (!(r.spec.watch == spec.watch)) r.loop.forgive();
  const bool looks_differ = !(r.spec.health == spec.health && r.spec.recycle == spec.recycle);
  if (fresh) r.old_specs.clear();
  if (children_differ && !fresh) keep_spec(r);
  if (fresh || r.spec.workers != spec.workers || r.spec.workers_max != spec.workers_max) r.scaled.reset();
  r.spec = spec;
  r.configured = true;
  r.close_pending = true;
  resize(r);
  touch(r);
  if (fresh) {
    r.needs_build = true;
    if (start) go_up(r);
    return;
  }
  if (all_same || !r.wanted) return;
  if (looks_differ) {
    r.look_at = kNever;
    for (Instance& i : r.instances) {
      if (i.key.is_worker() && i.phase == WorkerState::ready) look_after(r, i);
    }
  }
  begin_slots(r, before);
  const bool resting = r.run == RunState::failed || r.run == RunState::done;
  if (r.workers() < before) end_if_done(r);  // the slots that are left may have ended before
  if (children_differ || resting) request_reload(r, Reason::change);
}

// What serves, and what is about to, goes on as it was begun, until something newer has taken over.
void Engine::keep_spec(ServiceRecord& r) {
  const std::uint32_t known = r.old_specs.empty() ? 0 : r.old_specs.back().last;
  if (r.counter > known) r.old_specs.push_back(OldSpec{r.counter, r.spec});
  std::vector<OldSpec> needed;
  std::uint32_t before = 0;
  for (OldSpec& old : r.old_specs) {
    const auto covers = [&](std::uint32_t generation) {
      return generation > before && generation <= old.last;
    };
    const bool keeps = covers(r.current) || covers(r.next);
    before = old.last;
    if (keeps) needed.push_back(std::move(old));
  }
  r.old_specs = std::move(needed);
}

void Engine::resize(ServiceRecord& r) {
  if (r.slots.size() < r.workers()) r.slots.resize(r.workers());
}

void Engine::drop_service(ServiceRecord& r) {
  r.configured = false;
  go_down(r, false);
}

}  // namespace runmain::core

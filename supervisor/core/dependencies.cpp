// Start order, stop order. A service starts when everything it depends on is ready or done; it is asked to
// stop when everything that depends on it and is to stop as well is gone.
#include <algorithm>
#include <unordered_map>

#include "core/engine.hpp"

namespace runmain::core {

void index_dependencies(State& state) {
  std::unordered_map<std::string_view, std::uint32_t> by_name;
  for (ServiceRecord& r : state.services) {
    r.needs.clear();
    r.needed_by.clear();
    by_name.emplace(r.spec.name, r.id.value);
  }
  for (ServiceRecord& r : state.services) {
    for (const std::string& name : r.spec.depends_on) {
      const auto it = by_name.find(name);
      if (it == by_name.end() || it->second == r.id.value) continue;
      r.needs.push_back(it->second);
      state.services[it->second].needed_by.push_back(r.id.value);
    }
  }
}

bool Engine::satisfied(const ServiceRecord& r) const {
  std::vector<std::uint8_t>& marks = s_.slot_marks;
  return up(r) && is_satisfied(r, survey(r, marks));
}

bool Engine::needs_met(const ServiceRecord& r) const {
  return std::all_of(r.needs.begin(), r.needs.end(),
                     [this](std::uint32_t n) { return satisfied(s_.services[n]); });
}

std::string Engine::waiting_reason(const ServiceRecord& r) const {
  std::string names;
  for (const std::uint32_t n : r.needs) {
    const ServiceRecord& need = s_.services[n];
    std::string why;
    if (!need.wanted) why = ", which is stopped";
    if (need.run == RunState::failed) why = ", which failed: " + need.reason;
    if (const auto slot = lost_slot(need))
      why = ", of which worker " + std::to_string(*slot) + " has failed for good";
    if ((need.bits & 1U << kBlocked) != 0) why = ", which " + need.reason;
    if (!why.empty()) return ("waits for " + need.spec.name + why).substr(0, kFactTextMax);
    if (!satisfied(need)) names += (names.empty() ? "" : ", ") + need.spec.name;
  }
  return "waits for " + names;
}

bool Engine::may_stop(const ServiceRecord& r) const {
  return s_.forced || std::all_of(r.needed_by.begin(), r.needed_by.end(), [this](std::uint32_t n) {
           return s_.services[n].instances.empty() || up(s_.services[n]);
         });
}

// Those that wait for it may start now, or have a new reason to wait.
void Engine::wake_dependents(const ServiceRecord& r) {
  for (const std::uint32_t n : r.needed_by) {
    const ServiceRecord& d = s_.services[n];
    if (up(d) && d.run == RunState::idle) touch(n);
  }
}

void Engine::wake_needs(const ServiceRecord& r) {
  for (const std::uint32_t n : r.needs) {
    if (!up(s_.services[n])) touch(n);
  }
}

// These services and everything that their edges lead to, sorted.
std::vector<std::uint32_t> Engine::closure(std::vector<std::uint32_t> from,
                                           std::vector<std::uint32_t> ServiceRecord::*edges) {
  std::vector<bool> seen(s_.services.size());
  std::vector<std::uint32_t> all;
  for (; !from.empty();) {
    const std::uint32_t n = from.back();
    from.pop_back();
    if (seen[n]) continue;
    seen[n] = true;
    all.push_back(n);
    const std::vector<std::uint32_t>& more = s_.services[n].*edges;
    from.insert(from.end(), more.begin(), more.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace runmain::core

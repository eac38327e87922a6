#include "config/checks.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "config/address.hpp"
#include "config/text.hpp"

namespace runmain::config {
namespace {

// Depth-first walk over depends_on that finds one circle for each edge that closes one.
class Circles {
 public:
  Circles(Report& report, const std::vector<Draft>& drafts, std::map<std::string, std::size_t> index)
      : report_(report), drafts_(drafts), index_(std::move(index)), state_(drafts.size(), State::unseen) {}

  void find() {
    for (std::size_t i = 0; i < drafts_.size(); ++i) {
      if (state_[i] == State::unseen) walk_from(i);
    }
  }

 private:
  enum class State { unseen, open, done };
  struct Step {
    std::size_t service;
    std::size_t next;  // which of its dependencies is looked at
  };

  void walk_from(std::size_t root) {
    path_.push_back({root, 0});
    state_[root] = State::open;
    while (!path_.empty()) {
      const std::size_t service = path_.back().service;
      const auto& depends = drafts_[service].spec.depends_on;
      if (path_.back().next == depends.size()) {
        state_[service] = State::done;
        path_.pop_back();
        continue;
      }
      const auto found = index_.find(depends[path_.back().next++]);
      if (found == index_.end() || found->second == service) continue;  // reported as unknown, or as itself
      if (state_[found->second] == State::open) {
        tell(found->second);
      } else if (state_[found->second] == State::unseen) {
        state_[found->second] = State::open;
        path_.push_back({found->second, 0});
      }
    }
  }

  // The path from `first` to its end closes a circle; it is told where `first` names the next service.
  void tell(std::size_t first) {
    if (++told_ > kCirclesMax) return;
    auto step =
        std::find_if(path_.begin(), path_.end(), [first](const Step& s) { return s.service == first; });
    const Place place = drafts_[first].depends_places[step->next - 1];
    std::string text;
    for (std::size_t shown = 0; step != path_.end(); ++step, ++shown) {
      if (shown < kShownServices) text += drafts_[step->service].spec.name + " -> ";
      if (shown == kShownServices) text += "… -> ";
    }
    report_.fault(place, "circular dependency: " + text + drafts_[first].spec.name,
                  "remove one of these depends_on");
  }

  static constexpr std::size_t kShownServices = 20;

  Report& report_;
  const std::vector<Draft>& drafts_;
  std::map<std::string, std::size_t> index_;
  std::vector<State> state_;
  std::vector<Step> path_;
  std::size_t told_ = 0;
};

}  // namespace

void check_dependencies(Report& report, const std::vector<Draft>& drafts) {
  std::map<std::string, std::size_t> index;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    index.emplace(drafts[i].spec.name, i);
    names.push_back(drafts[i].spec.name);
  }
  for (const Draft& draft : drafts) {
    for (std::size_t i = 0; i < draft.spec.depends_on.size(); ++i) {
      const std::string& name = draft.spec.depends_on[i];
      if (name == draft.spec.name) {
        report.fault(draft.depends_places[i], "service " + quote(name) + " depends on itself");
      } else if (index.count(name) == 0) {
        const std::string guess = nearest(name, names);
        report.fault(draft.depends_places[i], "there is no service " + quote(name),
                     guess.empty() ? "add [service." + name.substr(0, kNameMax) + "], or remove it here"
                                   : "did you mean " + quote(guess) + "?");
      }
    }
  }
  Circles(report, drafts, std::move(index)).find();
}

void check_addresses(Report& report, const std::vector<Draft>& drafts) {
  std::vector<Bound> all;
  std::vector<Place> places;
  for (const Draft& draft : drafts) {
    for (std::size_t i = 0; i < draft.spec.listen.size(); ++i) {
      all.push_back(Bound{&draft.spec.listen[i], draft.spec.name});
      places.push_back(draft.listen_places[i]);
    }
  }
  for (const Collision& collision : collisions(all)) {
    const bool same = collision.first->listen->text == collision.second->listen->text;
    const std::string first = same ? "" : quote(collision.first->listen->text) + " of ";
    report.fault(places[static_cast<std::size_t>(collision.second - all.data())],
                 quote(collision.second->listen->text) + " is taken by " + first + "service " +
                     quote(collision.first->service) + " at " + collision.first->listen->at,
                 "one address, one listener");
  }
}

void check_telemetry(Report& report, const std::vector<Draft>& drafts, Place place) {
  std::set<Place> told;  // of [telemetry] once
  for (const Draft& draft : drafts) {
    const core::TelemetrySpec& telemetry = draft.spec.telemetry;
    if (!telemetry.enabled || !telemetry.direct || !telemetry.automatic) continue;
    const Place where = draft.telemetry_place == Place{} ? place : draft.telemetry_place;
    if (!told.insert(where).second) continue;
    report.warning(where,
                   "telemetry.auto does nothing for service " + quote(draft.spec.name) +
                       ": with direct = true the program starts OpenTelemetry and exports by itself",
                   "leave direct out, so that runmain starts it and exports, or write auto = false");
  }
}

void check_ports(Report& report, const std::vector<Draft>& drafts) {
  std::map<std::uint16_t, std::string> taken;
  for (const Draft& draft : drafts) {
    for (const core::ListenSpec& listen : draft.spec.listen) {
      if (listen.kind == core::AddressKind::tcp && listen.port != 0)
        taken.emplace(listen.port, draft.spec.name);
    }
  }
  for (const Draft& draft : drafts) {
    if (!draft.spec.port || *draft.spec.port == 0) continue;
    const std::string port = std::to_string(*draft.spec.port);
    const auto [other, is_new] = taken.emplace(*draft.spec.port, draft.spec.name);
    if (!is_new && other->second != draft.spec.name) {
      report.warning(draft.port_place, "port " + port + " is also used by service " + quote(other->second),
                     "only one of them can bind it, unless their hosts differ");
    }
    const std::uint32_t workers = std::max(draft.spec.workers, draft.spec.workers_max);
    if (workers > 1 || draft.spec.workers_auto) {
      report.warning(draft.port_place,
                     (draft.spec.workers_auto ? "several" : std::to_string(workers)) +
                         " workers bind the same port " + port,
                     "the program needs SO_REUSEPORT; with listen they share one socket");
    }
  }
}

}  // namespace runmain::config

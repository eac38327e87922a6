#include "telemetry/exporter.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <set>
#include <system_error>

#include "base/identity.hpp"
#include "base/wall_time.hpp"
#include "telemetry/destination_folder.hpp"
#include "telemetry/exporter_text.hpp"

namespace runmain::telemetry {
namespace {

using Type = DestinationFact::Type;

constexpr std::int64_t kNanoseconds = 1'000'000'000;
constexpr std::uint64_t kKeepAll = std::numeric_limits<std::uint64_t>::max();
constexpr Duration kTellDropped = std::chrono::minutes(1);  // … again; a disk that is full, too
constexpr Duration kSilence =
    std::chrono::milliseconds(500);  // what waits is on disk: no reason to wait longer at the end
constexpr Signal kAllSignals[kSignals] = {Signal::traces, Signal::metrics, Signal::logs};

Environment environment_of(const ObserverDestination& destination) {
  Environment environment;
  for (const std::string& variable : destination.variables) {
    const std::size_t equals = variable.find('=');
    if (equals != std::string::npos) environment[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return environment;
}

}  // namespace

struct Exporter::Out {
  std::string name;    // its endpoint, "http://collector:4318"
  std::string folder;  // the destination's folder's name
  Signal signal = Signal::traces;
  bool enabled = true;
  std::string fault;
  std::optional<Outbox> outbox;
  std::unique_ptr<HttpSender> sender;  // goes first: what it sends is the outbox's
  Time dropped_told = kNever;
  Time sent_at{};  // the latest attempt
};

struct Exporter::Route {
  ObserverDestination destination;
  HeldFolder folder;
  bool leaving = false;
  bool disk_full = false;
  Time disk_told = kNever;
  std::array<Out, kSignals> outs;

  bool empty() const {
    return std::all_of(outs.begin(), outs.end(), [](const Out& out) {
      return !out.outbox || (out.outbox->empty() && (!out.sender || out.sender->in_flight() == 0));
    });
  }
};

Exporter::Exporter(os::Loop& loop, Ledgers& ledgers, ObserverCounters& counters, Calls calls)
    : loop_(loop), ledgers_(ledgers), counters_(counters), calls_(std::move(calls)) {}

Exporter::~Exporter() = default;

// ---- what is saved

void Exporter::restore(std::vector<SavedOutbox> saved) {
  for (SavedOutbox& one : saved) saved_[{one.destination, one.signal}] = std::move(one);
}

SavedOutbox Exporter::saved_of(const Out& out) {
  const auto items = out.outbox->waits_in_memory();
  const std::vector<std::pair<ChildKey, std::uint64_t>> in_memory(items.begin(), items.end());
  return {out.folder, static_cast<std::uint8_t>(out.signal), out.outbox->last_number(),
          out.outbox->done_early(), in_memory};
}

std::vector<SavedOutbox> Exporter::saved() const {
  std::vector<SavedOutbox> all;
  for (const auto& [key, one] : saved_) all.push_back(one);
  for (const auto& [folder, route] : routes_) {
    for (const Out& out : route->outs) {
      if (out.outbox) all.push_back(saved_of(out));
    }
  }
  return all;
}

// ---- configuration

void Exporter::configure(const ObserverConfig& config, const OutboxLimits& limits,
                         const std::function<bool(ServiceId)>& lives) {
  run_ = siphash24(config.secret, "runmain run");
  for (const auto& [folder, route] : routes_) route->leaving = true;
  of_leaving_service_.merge(std::exchange(of_service_, {}));
  for (const ObservedService& service :
       config.services) {  // one that goes nowhere now may have spans of before
    if (service.destination != kNoDestination) of_leaving_service_.erase(service.id);
  }
  std::erase_if(of_leaving_service_, [&](const auto& one) { return !lives(one.first); });
  std::vector<Route*> named;
  for (const ObserverDestination& destination : config.destinations) {
    Route* known = known_route(destination);
    if (known == nullptr && routes_.size() >= kDestinationsMax) {
      named.push_back(nullptr);
      if (!std::exchange(full_told_, true)) {
        calls_.tell({"destination.warns", "more than " + std::to_string(kDestinationsMax) +
                                              " destinations: " + destination.name + " gets nothing"});
      }
      continue;
    }
    named.push_back(known != nullptr ? known : &add_route(destination, config.folder, limits));
    named.back()->leaving = false;
  }
  for (const ObservedService& service : config.services) {
    const auto index = static_cast<std::size_t>(service.destination);
    if (service.destination >= 0 && index < named.size()) of_service_[service.id] = named[index];
  }
  take_up_left(config, limits);
}

Exporter::Route* Exporter::known_route(const ObserverDestination& destination) const {
  const std::string base = folder_name(destination);
  const auto found = routes_.lower_bound(base);
  return found != routes_.end() && is_folder_of(found->first, base) ? found->second.get() : nullptr;
}

// The folder is ours before anything in it is read or written: another runmain may have it.
Exporter::Route& Exporter::add_route(const ObserverDestination& destination, const std::string& parent,
                                     const OutboxLimits& limits) {
  auto folder = hold_folder(parent, destination);
  auto route = std::make_unique<Route>();
  route->destination = destination;
  if (folder) {
    route->folder = std::move(*folder);
    fill(*route, limits, {});
  } else {
    route->folder.name = folder_name(destination);
    fill(*route, limits, folder.error().text());
  }
  std::unique_ptr<Route>& kept = routes_[route->folder.name];
  kept = std::move(route);
  return *kept;
}

// `fault`: why there is no folder.
void Exporter::fill(Route& route, const OutboxLimits& limits, const std::string& fault) {
  const ObserverDestination& destination = route.destination;
  const Environment environment = environment_of(destination);
  std::set<std::string> warned;
  for (const Signal signal : kAllSignals) {
    Out& out = route.outs[static_cast<std::size_t>(signal)];
    out.signal = signal;
    out.folder = route.folder.name;
    const Endpoint endpoint = read_endpoint(signal, environment);
    out.name = address_of(endpoint.url);
    for (const std::string& warning : endpoint.warnings) {
      if (!warned.insert(warning).second) continue;  // of a variable for all signals
      calls_.tell({"destination.warns", destination.name + ": " + warning});
    }
    out.enabled = endpoint.enabled && !endpoint.url.empty();
    if (!out.enabled) continue;
    out.fault = fault;
    if (fault.empty()) open(out, endpoint, route.folder.path + "/" + to_text(signal), limits);
  }
  tell_faults(route);
}

// Each fault once, with the signals that it is of.
void Exporter::tell_faults(const Route& route) {
  std::map<std::string, std::array<bool, kSignals>> faults;
  for (const Out& out : route.outs) {
    if (!out.fault.empty()) faults[out.fault][static_cast<std::size_t>(out.signal)] = true;
  }
  for (const auto& [fault, signals] : faults) {
    calls_.tell({"destination.fails", route.destination.name + " fails (" + signals_text(signals) +
                                          "): " + fault + "; what comes is lost"});
  }
}

// What an observer before this one, or an earlier runmain, has left: for destinations that nobody names now,
// and in other folders of those that we have.
void Exporter::take_up_left(const ObserverConfig& config, const OutboxLimits& limits) {
  if (std::exchange(took_up_, true)) return;
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(config.folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  for (const std::string& name : names) {
    if (routes_.count(name) != 0 || routes_.size() >= kDestinationsMax) continue;
    auto left = hold_left(config.folder, name, config.destinations);
    if (!left) continue;
    std::unique_ptr<Route>& route = routes_[name] = std::make_unique<Route>();
    route->destination = std::move(left->destination);
    route->folder = std::move(left->folder);
    route->leaving = true;
    fill(*route, limits, {});
  }
}

void Exporter::open(Out& out, const Endpoint& endpoint, const std::string& folder,
                    const OutboxLimits& limits) {
  const auto known = saved_.find({out.folder, static_cast<std::uint8_t>(out.signal)});
  // What an earlier runmain has left there was saved by it.
  const std::uint64_t saved = known == saved_.end() ? kKeepAll : known->second.last_number;
  constexpr mode_t kOurs = 0700;
  const bool made = mkdir(folder.c_str(), kOurs) == 0 || errno == EEXIST;
  auto outbox =
      made ? Outbox::open(out.signal, out.name, folder, saved, limits,
                          static_cast<std::uint64_t>(os::Loop::now().time_since_epoch().count()), run_)
           : Result<Outbox>(Error::from_errno("mkdir " + folder, errno));
  auto sender = HttpSender::make(
      loop_, endpoint, [this, &out](std::uint64_t id, const Answer& answer) { on_answer(out, id, answer); });
  if (!outbox || !sender) {
    out.fault = outbox ? sender.error().text() : outbox.error().text();
    return;
  }
  out.outbox.emplace(std::move(*outbox));
  if (known != saved_.end()) {
    out.outbox->skip(known->second.done);
    count_lost_memory(out, known->second.in_memory);
    saved_.erase(known);
  }
  out.sender = std::move(*sender);
}

Exporter::Route* Exporter::route_of(ServiceId service) const {
  for (const auto* map : {&of_service_, &of_leaving_service_}) {
    if (const auto found = map->find(service); found != map->end()) return found->second;
  }
  return nullptr;
}

void Exporter::forget(ServiceId service) { of_leaving_service_.erase(service); }

// ---- items

void Exporter::add(Route* route, const ChildKey& worker, const Item& item) {
  Out* out = route == nullptr ? nullptr : &route->outs[static_cast<std::size_t>(item.signal)];
  Facts facts;
  if (out == nullptr || !out->outbox) {
    DestinationFact fact{Type::dropped, worker, item.signal, 1};
    fact.reason = out != nullptr && out->enabled ? Drop::spill_full : Drop::no_destination;
    return count(fact);
  }
  out->outbox->add(worker, item, facts);
  if (!facts.empty()) take(*out, facts);
}

void Exporter::flush() {
  for (const auto& [folder, route] : routes_) {
    for (Out& out : route->outs) {
      if (!out.outbox) continue;
      Facts facts;
      out.outbox->flush(facts);
      take(out, facts);
    }
    tell_disk(*route);
  }
}

void Exporter::note_saved() {
  for (const auto& [folder, route] : routes_) {
    for (Out& out : route->outs) {
      if (out.outbox) out.outbox->note_saved();
    }
  }
}

// Once, until the disk takes something again; one at its limit may change often.
void Exporter::tell_disk(Route& route) {
  const auto found = std::find_if(route.outs.begin(), route.outs.end(), [](const Out& out) {
    return out.outbox && !out.outbox->disk_fault().empty();
  });
  const bool was_full = std::exchange(route.disk_full, found != route.outs.end());
  const Time now = os::Loop::now();
  if (was_full || !route.disk_full) return;
  if (route.disk_told != kNever && now - route.disk_told < kTellDropped) return;
  route.disk_told = now;
  calls_.tell({"destination.warns", route.destination.name + ": " + disk_text(found->outbox->disk_fault())});
}

bool Exporter::give_up_memory() {
  flush();
  bool any = false;
  for (const auto& [folder, route] : routes_) {
    for (Out& out : route->outs) {
      if (!out.outbox || out.outbox->waits_in_memory().empty()) continue;
      out.sender.reset();  // it may be sending some of it
      const auto lost = out.outbox->give_up_memory();
      count_lost_memory(out, {lost.begin(), lost.end()});
      any = true;
    }
  }
  return any;
}

void Exporter::count_lost_memory(Out& out, const std::vector<std::pair<ChildKey, std::uint64_t>>& lost) {
  std::uint64_t items = 0;
  for (const auto& [worker, count_of] : lost) {
    DestinationFact fact{Type::dropped, worker, out.signal, count_of};
    fact.reason = Drop::spill_full;
    count(fact);
    items += count_of;
  }
  if (items > 0) calls_.tell({"destination.warns", out.name + ": " + memory_lost_text(out.signal, items)});
}

bool Exporter::send(Time now) {
  bool changed = false;
  for (const auto& [folder, route] : routes_) {
    for (Out& out : route->outs) {
      if (!out.outbox) continue;
      Facts facts;
      out.outbox->pump(facts);
      take(out, facts);
      changed = changed || !facts.empty();
    }
  }
  if (changed) return true;  // saved first: what goes out again is counted, whenever we die
  for (const auto& [folder, route] : routes_) {
    for (Out& out : route->outs) {
      if (!out.outbox || !out.sender) continue;
      Facts facts;
      while (const auto attempt = out.outbox->next(now, facts)) {
        out.sender->send(attempt->id, *attempt->request);
        out.sent_at = now;
        if (calls_.dies(Step::sent)) return false;
      }
      take(out, facts);
      changed = changed || !facts.empty();
    }
  }
  return changed;
}

Time Exporter::next_deadline() const {
  Time next = kNever;
  for (const auto& [folder, route] : routes_) {
    for (const Out& out : route->outs) {
      if (out.outbox) next = std::min(next, out.outbox->next_deadline());
    }
  }
  return next;
}

void Exporter::on_answer(Out& out, std::uint64_t id, const Answer& answer) {
  if (calls_.dies(Step::answering)) return;
  Facts facts;
  out.outbox->answer(id, answer, os::Loop::now(), wall_now_ns() / kNanoseconds, facts);
  take(out, facts);
  calls_.answered();
}

void Exporter::tidy() {
  for (auto at = routes_.begin(); at != routes_.end();) {
    Route& route = *at->second;
    const bool used = std::any_of(of_leaving_service_.begin(), of_leaving_service_.end(),
                                  [&route](const auto& one) { return one.second == &route; });
    if (!route.leaving || used || !route.empty()) {
      ++at;
      continue;
    }
    // Nothing waits there: the folder goes, and with it how far it was filled.
    for (const Out& out : route.outs) {
      saved_.erase({route.folder.name, static_cast<std::uint8_t>(out.signal)});
      outages_.forget(&out, out.name);
    }
    HeldFolder folder = std::move(route.folder);
    at = routes_.erase(at);
    if (folder.lock) remove_folder(folder);
  }
}

// ---- what it means

void Exporter::take(Out& out, const Facts& facts) {
  for (const DestinationFact& fact : facts) {
    count(fact);
    tell(out, fact);
  }
}

void Exporter::count(const DestinationFact& fact) {
  if (fact.signal != Signal::traces) {
    if (fact.type == Type::exported) counters_.others_exported += fact.items;
    if (fact.type == Type::rejected) counters_.others_rejected += fact.items;
    if (fact.type == Type::dropped) counters_.others_dropped += fact.items;
    return;
  }
  if (fact.worker != kNoChild && ledgers_.counting(fact.worker) != nullptr) return apply(fact, ledgers_);
  const bool ends = fact.type == Type::exported || fact.type == Type::rejected || fact.type == Type::dropped;
  if (ends) counters_.strangers += fact.items;
}

std::uint64_t Exporter::items_in_memory(const Out& out) {
  std::uint64_t all = 0;
  for (const auto& [worker, items] : out.outbox->waits_in_memory()) all += items;
  return all;
}

void Exporter::tell(Out& out, const DestinationFact& fact) {
  switch (fact.type) {
    case Type::fails:
      if (const auto said = outages_.fails(&out, out.name, out.signal, fact.text)) {
        const std::uint64_t in_memory = items_in_memory(out);
        calls_.tell({"destination.fails",
                     failing_text(*said, out.outbox->next_deadline(), os::Loop::now(), out.signal,
                                  out.outbox->spill().items() + in_memory, in_memory)});
      }
      return;
    case Type::recovers:
      if (const auto said = outages_.recovers(&out, out.name, fact.text))
        calls_.tell({"destination.recovers", *said});
      return;
    case Type::warns: return calls_.tell({"destination.warns", fact.text});
    case Type::dropped: return tell_dropped(out, fact);
    default: return;
  }
}

void Exporter::tell_dropped(Out& out, const DestinationFact& fact) {
  const Time now = os::Loop::now();
  if (out.dropped_told != kNever && now - out.dropped_told < kTellDropped) return;
  out.dropped_told = now;
  calls_.tell({"destination.warns", out.name + ": " + items_text(out.signal, fact.items) +
                                        (fact.items == 1 ? " is lost: " : " are lost: ") +
                                        to_text(fact.reason)});
}

// ---- status

bool Exporter::empty() const {
  return std::all_of(routes_.begin(), routes_.end(), [](const auto& one) { return one.second->empty(); });
}

bool Exporter::stuck(Time now) const {
  for (const auto& [folder, route] : routes_) {
    for (const Out& out : route->outs) {
      if (!out.outbox || out.outbox->empty() || out.outbox->failing()) continue;
      const bool silent = out.sender && out.sender->in_flight() > 0 && now - out.sent_at >= kSilence;
      if (!silent || items_in_memory(out) > 0) return false;
    }
  }
  return true;
}

std::vector<OutboxStatus> Exporter::status() const {
  std::vector<OutboxStatus> all;
  for (const auto& [folder, route] : routes_) {
    for (const Out& out : route->outs) {
      if (!out.enabled) continue;
      OutboxStatus one;
      one.name = route->destination.name;
      one.signal = out.signal;
      one.failing = !out.outbox || out.outbox->failing();
      one.leaving = route->leaving;
      one.queued_items = out.outbox ? out.outbox->spill().items() : 0;
      one.memory_items = out.outbox ? items_in_memory(out) : 0;
      one.spilled_bytes = out.outbox ? out.outbox->spill().bytes() : 0;
      one.fault = out.fault;
      all.push_back(std::move(one));
    }
  }
  return all;
}

}  // namespace runmain::telemetry

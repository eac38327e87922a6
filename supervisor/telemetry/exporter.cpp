#include "telemetry/exporter.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <set>
#include <system_error>

#include "base/archive.hpp"
#include "base/identity.hpp"
#include "base/wall_time.hpp"
#include "telemetry/exporter_text.hpp"

namespace runmain::telemetry {
namespace {

using Type = DestinationFact::Type;

constexpr std::int64_t kNanoseconds = 1'000'000'000;
constexpr std::uint64_t kKeepAll = std::numeric_limits<std::uint64_t>::max();
constexpr Duration kTellDropped = std::chrono::minutes(1);
constexpr Duration kSilence =
    std::chrono::milliseconds(500);  // what waits is on disk: no reason to wait longer at the end
constexpr Signal kAllSignals[kSignals] = {Signal::traces, Signal::metrics, Signal::logs};

// What makes a destination another one. The name is no secret and gives none away: variables may have keys.
std::string folder_name(const ObserverDestination& destination) {
  std::string bytes;
  for (const std::string& variable : destination.variables) bytes += variable + '\0';
  char text[40];
  std::snprintf(text, sizeof text, "%016llx%016llx",
                static_cast<unsigned long long>(siphash24("runmain spill 1", bytes)),
                static_cast<unsigned long long>(siphash24("runmain spill 2", bytes)));
  return text;
}

// With all folders above it. On failure the errno.
Result<void> make_folder(const std::string& path) {
  constexpr mode_t kOurs = 0700;
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), kOurs) != 0 && errno != EEXIST) return Error::from_errno("mkdir " + part, errno);
    if (at == std::string::npos) return {};
  }
}

Environment environment_of(const ObserverDestination& destination) {
  Environment environment;
  for (const std::string& variable : destination.variables) {
    const std::size_t equals = variable.find('=');
    if (equals != std::string::npos) environment[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return environment;
}

// In a destination's folder: what it is, so that the next observer can send what waits there although no
// configuration names it any more. Of our user only, as the folder: there may be keys in it.
constexpr const char* kDestinationFile = "/destination";

// The file, made if it is not there, and locked for us. Nothing: it cannot be, or another runmain has it.
os::UniqueFd hold_destination(const std::string& folder, const ObserverDestination* destination) {
  constexpr mode_t kOurs = 0600;
  const std::string path = folder + kDestinationFile;
  os::UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | (destination != nullptr ? O_CREAT : 0), kOurs));
  if (!fd || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return {};
  if (destination == nullptr) return fd;
  ObserverDestination copy = *destination;
  const std::string bytes = to_binary(copy);
  if (ftruncate(fd.get(), 0) != 0 || !os::pwrite_all(fd.get(), bytes, 0)) return {};
  return fd;
}

std::optional<ObserverDestination> read_destination(int fd) {
  constexpr std::size_t kMost = 1U << 20U;
  const auto bytes = os::pread_some(fd, kMost, 0);
  ObserverDestination destination;
  if (!bytes || bytes->empty() || !from_binary(*bytes, destination)) return std::nullopt;
  return destination;
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
  std::string folder;
  std::string path;  // of its folder
  bool leaving = false;
  os::UniqueFd held;  // the folder is ours
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
  return {out.folder, static_cast<std::uint8_t>(out.signal), out.outbox->last_number(),
          out.outbox->done_early()};
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
    const std::string folder = folder_name(destination);
    if (routes_.size() >= kDestinationsMax && routes_.count(folder) == 0) {
      named.push_back(nullptr);
      if (!std::exchange(full_told_, true)) {
        calls_.tell({"destination.warns", "more than " + std::to_string(kDestinationsMax) +
                                              " destinations: " + destination.name + " gets nothing"});
      }
      continue;
    }
    named.push_back(&route(destination, config.folder + "/" + folder, limits));
  }
  for (const ObservedService& service : config.services) {
    const auto index = static_cast<std::size_t>(service.destination);
    if (service.destination >= 0 && index < named.size()) of_service_[service.id] = named[index];
  }
  take_up_left(config.folder, limits);
}

Exporter::Route& Exporter::route(const ObserverDestination& destination, const std::string& folder,
                                 const OutboxLimits& limits) {
  const std::string name = folder_name(destination);
  std::unique_ptr<Route>& route = routes_[name];
  if (route) {
    route->leaving = false;
    return *route;
  }
  route = std::make_unique<Route>();
  fill(*route, destination, folder, limits);
  return *route;
}

void Exporter::fill(Route& route, const ObserverDestination& destination, const std::string& folder,
                    const OutboxLimits& limits) {
  const std::string name = folder_name(destination);
  route.destination = destination;
  route.folder = name;
  route.path = folder;
  const Environment environment = environment_of(destination);
  std::set<std::string> warned;
  for (const Signal signal : kAllSignals) {
    Out& out = route.outs[static_cast<std::size_t>(signal)];
    out.signal = signal;
    out.folder = name;
    const Endpoint endpoint = read_endpoint(signal, environment);
    out.name = address_of(endpoint.url);
    for (const std::string& warning : endpoint.warnings) {
      if (!warned.insert(warning).second) continue;  // of a variable for all signals
      calls_.tell({"destination.warns", destination.name + ": " + warning});
    }
    out.enabled = endpoint.enabled && !endpoint.url.empty();
    if (out.enabled) open(out, endpoint, folder + "/" + to_text(signal), limits);
  }
  if (!route.held) route.held = hold_destination(folder, &destination);
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

// What an observer before this one, or an earlier runmain, has left for destinations that nobody names now.
void Exporter::take_up_left(const std::string& folder, const OutboxLimits& limits) {
  if (std::exchange(took_up_, true)) return;
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  for (const std::string& name : names) {
    if (routes_.count(name) != 0 || routes_.size() >= kDestinationsMax) continue;
    os::UniqueFd held = hold_destination(folder + "/" + name, nullptr);
    const auto destination = held ? read_destination(held.get()) : std::nullopt;
    if (!destination || folder_name(*destination) != name) continue;
    routes_[name] = std::make_unique<Route>();
    routes_[name]->held = std::move(held);
    fill(*routes_[name], *destination, folder + "/" + name, limits);
    routes_[name]->leaving = true;
  }
}

void Exporter::open(Out& out, const Endpoint& endpoint, const std::string& folder,
                    const OutboxLimits& limits) {
  const auto known = saved_.find({out.folder, static_cast<std::uint8_t>(out.signal)});
  // What an earlier runmain has left there was saved by it.
  const std::uint64_t saved = known == saved_.end() ? kKeepAll : known->second.last_number;
  const auto made = make_folder(folder);
  auto outbox =
      made ? Outbox::open(out.signal, out.name, folder, saved, limits,
                          static_cast<std::uint64_t>(os::Loop::now().time_since_epoch().count()), run_)
           : Result<Outbox>(made.error());
  auto sender = HttpSender::make(
      loop_, endpoint, [this, &out](std::uint64_t id, const Answer& answer) { on_answer(out, id, answer); });
  if (!outbox || !sender) {
    out.fault = outbox ? sender.error().text() : outbox.error().text();
    return;
  }
  out.outbox.emplace(std::move(*outbox));
  if (known != saved_.end()) {
    out.outbox->skip(known->second.done);
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
  }
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
      if (!out.outbox) continue;
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
    const Route& route = *at->second;
    const bool used = std::any_of(of_leaving_service_.begin(), of_leaving_service_.end(),
                                  [&route](const auto& one) { return one.second == &route; });
    if (!route.leaving || used || !route.empty()) {
      ++at;
      continue;
    }
    // Nothing waits there: the folder goes, and with it how far it was filled.
    const std::string path = route.path;
    for (const Out& out : route.outs) {
      saved_.erase({route.folder, static_cast<std::uint8_t>(out.signal)});
      outages_.forget(&out, out.name);
    }
    std::error_code error;
    std::filesystem::remove_all(path, error);
    at = routes_.erase(at);
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
  if (ledgers_.all().count(fact.worker) != 0) return apply(fact, ledgers_);
  const bool ends = fact.type == Type::exported || fact.type == Type::rejected || fact.type == Type::dropped;
  if (ends) counters_.strangers += fact.items;
}

void Exporter::tell(Out& out, const DestinationFact& fact) {
  switch (fact.type) {
    case Type::fails:
      if (const auto said = outages_.fails(&out, out.name, out.signal, fact.text)) {
        calls_.tell({"destination.fails", failing_text(*said, out.outbox->next_deadline(), os::Loop::now(),
                                                       out.signal, out.outbox->spill().items())});
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
      const bool silent = out.sender && out.sender->in_flight() > 0 && now - out.sent_at >= kSilence;
      if (out.outbox && !out.outbox->empty() && !out.outbox->failing() && !silent) return false;
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
      one.spilled_bytes = out.outbox ? out.outbox->spill().bytes() : 0;
      one.fault = out.fault;
      all.push_back(std::move(one));
    }
  }
  return all;
}

}  // namespace runmain::telemetry

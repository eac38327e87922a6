// Ledgers' ends, facts and status.
#include <unistd.h>

#include <algorithm>

#include "base/identity.hpp"
#include "base/wall_time.hpp"
#include "telemetry/observer.hpp"
#include "telemetry/own_metrics.hpp"
#include "telemetry/resource.hpp"

namespace runmain::telemetry {
namespace {

// Of workers that are gone and have spans waiting, as a multiple of the limit.
constexpr std::size_t kWaitingLedgers = 8;

}  // namespace

void Observer::tell(const ObserverFact& fact) const {
  if (tell_) tell_(fact);
}

std::string Observer::name_of(ServiceId service) const {
  const auto found = names_.find(service);
  return found == names_.end() ? "service " + std::to_string(service.value) : found->second;
}

std::string Observer::worker_text(const ChildKey& worker) const {
  const char* helper = helper_name(worker.slot);
  return name_of(worker.service) + "." + (helper != nullptr ? helper : std::to_string(worker.slot)) +
         " generation " + std::to_string(worker.generation);
}

// Those whose spans have all gone on, or have waited long enough.
void Observer::tell_ended(Time now, bool all) {
  for (auto at = untold_.begin(); at != untold_.end();) {
    const auto found = ledgers_.all().find(at->first);
    const bool known = found != ledgers_.all().end();
    if (known && !all && found->second.waiting > 0 && now < at->second) {
      ++at;
      continue;
    }
    if (known) tell_ledger(at->first);
    at = untold_.erase(at);
    dirty_ = true;
  }
}

void Observer::tell_ledger(const ChildKey& worker) {
  const Ledger& ledger = ledgers_.of(worker);
  if (ledger.started == 0 && ledger.ended == 0 && ledger.read == 0) return;
  const std::string imbalance = ledger.imbalance(true);
  // Kept for `runmain traces` only, as wanted.
  if (imbalance.empty() &&
      ledger.dropped_all() == ledger.dropped[static_cast<std::size_t>(Drop::no_destination)] &&
      ledger.exported == 0 && ledger.waiting == 0 && ledger.reconstructed == 0)
    return;
  tell({"ledger.ended",
        worker_text(worker) + ": spans " + ledger.text() +
            (imbalance.empty() ? "" : "; it does not balance: " + imbalance),
        name_of(worker.service), worker});
}

void Observer::forget_ledgers() {
  while (ended_.size() > limits_.ledgers) {
    auto goes = std::find_if(ended_.begin(), ended_.end(), [this](const ChildKey& worker) {
      const auto found = ledgers_.all().find(worker);
      return found == ledgers_.all().end() ||
             (found->second.waiting <= 0 && untold_.count(worker) == 0 && receiving_.count(worker) == 0);
    });
    if (goes == ended_.end()) {
      if (ended_.size() <= limits_.ledgers * kWaitingLedgers) return;
      goes = ended_.begin();
    }
    counters_.ledgers_forgotten += ledgers_.all().count(*goes);
    ledgers_.forget(*goes);
    untold_.erase(*goes);
    receiving_.erase(*goes);
    ended_.erase(goes);
  }
}

// ---- the ledgers as metrics

// Once an interval, as long as something happens.
void Observer::metrics_soon() {
  if (metrics_at_ != kNever || !config_) return;
  metrics_at_ = os::Loop::now() + (config_->dev ? limits_.metrics_dev : limits_.metrics_prod);
}

void Observer::export_metrics(Time now) {
  metrics_at_ = kNever;
  Exporter::Route* route = exporter_->route_of(kNoService);
  if (route == nullptr || first_save_) return;
  const std::string resource = own_resource(instance_id(config_->secret, kObserverKey), getpid());
  Item item;
  item.signal = Signal::metrics;
  item.origin.resource = resource;
  const auto wall = static_cast<std::uint64_t>(wall_now_ns());
  bool waiting = false;
  for (const auto& [worker, ledger] : ledgers_.all()) waiting = waiting || ledger.waiting > 0;
  for (const OwnMetric& metric : metrics_of(ledgers_, [this](ServiceId id) { return name_of(id); })) {
    const std::string bytes = to_otlp(metric, begun_unix_nano_, wall);
    item.bytes = bytes;
    exporter_->add(route, kObserverKey, item);
  }
  dirty_ = true;
  if (waiting) metrics_at_ = now + limits_.metrics_prod;
  soon();
}

// Before those that are still known one by one: they are older.
void Observer::add_folded(ObserverStatus& status) const {
  const auto add = [&](ServiceId service, std::uint32_t generation, const Ledger& sum) {
    LedgerLine line{{service, 0, generation, 0}, name_of(service), sum, true, {}, true};
    line.imbalance = sum.imbalance(true);
    status.ledgers.push_back(std::move(line));
  };
  for (const auto& [service, folded] : ledgers_.folded()) {
    if (folded.up_to) add(service, *folded.up_to, folded.earlier);
    for (const auto& [generation, sum] : folded.generations) add(service, generation, sum);
  }
}

std::size_t Observer::mailbox_memory() const {
  std::size_t all = 0;
  for (const auto& [key, mailbox] : mailboxes_) all += mailbox->memory();
  return all;
}

ObserverStatus Observer::status() const {
  ObserverStatus status;
  add_folded(status);
  for (const auto& [worker, ledger] : ledgers_.all()) {
    LedgerLine line{worker, name_of(worker.service), ledger, false, {}};
    line.ended = mailboxes_.count(worker) == 0 && receiving_.count(worker) == 0;
    line.imbalance = ledger.imbalance(line.ended);
    status.ledgers.push_back(std::move(line));
  }
  status.destinations = exporter_->status();
  status.counters = counters_;
  status.mailboxes = mailboxes_.size();
  status.store = store_.counters();
  return status;
}

}  // namespace runmain::telemetry

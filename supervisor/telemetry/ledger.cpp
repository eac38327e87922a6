#include "telemetry/ledger.hpp"

#include <algorithm>
#include <cstdlib>

namespace runmain::telemetry {
namespace {

std::string spans(std::int64_t n) { return std::to_string(n) + (n == 1 ? " span" : " spans"); }

}  // namespace

static_assert(RUNMAIN_LOST_KINDS == static_cast<int>(Drop::no_lane));
static_assert(kDropsOfChild == static_cast<std::size_t>(Drop::invalid));
static_assert(kDrops == static_cast<std::size_t>(Drop::not_read) + 1);

const char* to_text(Drop reason) {
  switch (reason) {
    case Drop::ring_full: return "ring full";
    case Drop::too_big: return "too big";
    case Drop::reentrant: return "reentrant";
    case Drop::not_serving: return "not serving";
    case Drop::no_memory: return "no memory";
    case Drop::no_lane: return "no lane";
    case Drop::invalid: return "invalid";
    case Drop::queue_full: return "queue full";
    case Drop::request_too_big: return "request too big";
    case Drop::spill_full: return "spill full";
    case Drop::spill_damaged: return "spill damaged";
    case Drop::no_destination: return "no endpoint";
    case Drop::not_read: return "not read in time";
    default: return "other";
  }
}

void Ledger::set_mailbox(const MailboxTallies& tallies) {
  requested = tallies.requested;
  started = tallies.counters.started + requested + received;
  // Who found no lane had nowhere to count.
  ended = tallies.counters.ended + tallies.no_lane + requested + received;
  read = tallies.spans + received;
  reconstructed = tallies.reconstructed;
  unlikely = tallies.unlikely;
  for (std::size_t i = 0; i < tallies.counters.lost.size(); ++i) dropped[i] = tallies.counters.lost[i];
  dropped[static_cast<std::size_t>(Drop::no_lane)] = tallies.no_lane;
  dropped[static_cast<std::size_t>(Drop::invalid)] = tallies.invalid_spans + received_invalid;
  dropped[static_cast<std::size_t>(Drop::not_read)] = 0;  // somebody reads on
}

void Ledger::receive(std::uint64_t n) {
  received += n;
  started += n;
  ended += n;
  read += n;
}

void Ledger::export_spans(std::uint64_t n) {
  exported += n;
  waiting -= static_cast<std::int64_t>(n);
}

void Ledger::reject(std::uint64_t n) {
  rejected += n;
  waiting -= static_cast<std::int64_t>(n);
}

void Ledger::drop(Drop reason, std::uint64_t n) {
  if (reason == Drop::invalid) received_invalid += n;
  dropped[static_cast<std::size_t>(reason)] += n;
  waiting -= static_cast<std::int64_t>(n);
}

void Ledger::duplicate(std::uint64_t n) {
  duplicates += n;
  waiting -= static_cast<std::int64_t>(n);
}

void Ledger::give_up_unread() {
  const std::int64_t left = unread();
  if (left > 0) dropped[static_cast<std::size_t>(Drop::not_read)] += static_cast<std::uint64_t>(left);
}

std::uint64_t Ledger::dropped_all() const {
  std::uint64_t all = 0;
  for (const std::uint64_t n : dropped) all += n;
  return all;
}

std::uint64_t Ledger::dropped_by_child() const {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < kDropsOfChild; ++i) all += dropped[i];
  return all;
}

std::uint64_t Ledger::dropped_before_reading() const {
  return dropped_by_child() + dropped[static_cast<std::size_t>(Drop::not_read)];
}

std::int64_t Ledger::unread() const {
  return static_cast<std::int64_t>(ended - dropped_before_reading() - read);
}

std::string Ledger::imbalance(bool at_rest) const {
  if (unlikely > 0)
    return "what " + std::to_string(unlikely) + (unlikely == 1 ? " thread says" : " threads say") +
           " to have counted cannot be true, and was counted by us";
  const std::int64_t left = unread();
  // A writer may count a moment after it has written.
  if (at_rest && left < 0) return spans(-left) + " more came than the worker says to have ended";
  if (at_rest && left > 0) return spans(left) + " that the worker says to have ended never came";
  const std::uint64_t by_us = dropped_all() - dropped_before_reading();
  const std::uint64_t gone = exported + rejected + by_us + duplicates;
  const auto difference = static_cast<std::int64_t>(read + reconstructed - gone) - waiting;
  if (difference > 0) return spans(difference) + " that came went nowhere";
  if (difference < 0) return spans(-difference) + " more went on than came";
  if (waiting < 0) return spans(-waiting) + " went on twice";
  return {};
}

std::string Ledger::text() const {
  std::string reasons;
  for (std::size_t i = 0; i < dropped.size(); ++i) {
    if (dropped[i] == 0) continue;
    reasons += (reasons.empty() ? "" : ", ") + std::string(to_text(static_cast<Drop>(i))) + " " +
               std::to_string(dropped[i]);
  }
  std::string text = "started " + std::to_string(started) + ", ended " + std::to_string(ended) +
                     ", exported " + std::to_string(exported);
  const auto tell = [&text](const char* what, std::uint64_t count, const std::string& more = {}) {
    if (count > 0) text += std::string(", ") + what + " " + std::to_string(count) + more;
  };
  tell("rejected", rejected);
  tell("dropped", dropped_all(), " (" + reasons + ")");
  tell("reconstructed", reconstructed);
  tell("waiting",
       static_cast<std::uint64_t>(std::max<std::int64_t>(0, waiting) + std::max<std::int64_t>(0, unread())));
  tell("duplicates", duplicates);
  tell("resent", resent);
  return text;
}

void Ledger::add(const Ledger& other) {
  started += other.started;
  ended += other.ended;
  read += other.read;
  received += other.received;
  requested += other.requested;
  received_invalid += other.received_invalid;
  reconstructed += other.reconstructed;
  exported += other.exported;
  rejected += other.rejected;
  duplicates += other.duplicates;
  resent += other.resent;
  unlikely += other.unlikely;
  waiting += other.waiting;
  for (std::size_t i = 0; i < dropped.size(); ++i) dropped[i] += other.dropped[i];
}

Ledger Ledgers::sum(ServiceId service, std::uint32_t generation) const {
  Ledger all;
  for (const auto& [worker, ledger] : ledgers_) {
    if (worker.service == service && worker.generation == generation) all.add(ledger);
  }
  return all;
}

Ledger* Ledgers::counting(const ChildKey& worker) {
  if (const auto own = ledgers_.find(worker); own != ledgers_.end()) return &own->second;
  const auto found = folded_.find(worker.service);
  if (found == folded_.end()) return nullptr;
  FoldedLedgers& folded = found->second;
  if (folded.is_earlier(worker.generation)) return &folded.earlier;
  for (auto& [generation, ledger] : folded.generations) {
    if (generation == worker.generation) return &ledger;
  }
  return nullptr;
}

void Ledgers::forget(const ChildKey& worker) {
  const auto found = ledgers_.find(worker);
  if (found == ledgers_.end()) return;
  folded_of(worker).add(found->second);
  ledgers_.erase(found);
  while (folded_generations() > limits_.generations) fold_oldest();
  // The longest known ones: services get higher numbers as they come.
  for (auto at = folded_.begin(); folded_.size() > limits_.services && at != folded_.end();) {
    const auto next = ledgers_.lower_bound(ChildKey{at->first});
    const bool lives = next != ledgers_.end() && next->first.service == at->first;
    at = lives || at->first == worker.service ? std::next(at) : folded_.erase(at);
  }
}

Ledger& Ledgers::folded_of(const ChildKey& worker) {
  FoldedLedgers& folded = folded_[worker.service];
  if (folded.is_earlier(worker.generation)) return folded.earlier;
  auto& all = folded.generations;
  const auto at =
      std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.first >= worker.generation; });
  if (at != all.end() && at->first == worker.generation) return at->second;
  return all.insert(at, {worker.generation, Ledger{}})->second;
}

std::size_t Ledgers::folded_generations() const {
  std::size_t all = 0;
  for (const auto& [service, folded] : folded_) all += folded.generations.size();
  return all;
}

// Of the service that has most.
void Ledgers::fold_oldest() {
  const auto most = std::max_element(folded_.begin(), folded_.end(), [](const auto& a, const auto& b) {
    return a.second.generations.size() < b.second.generations.size();
  });
  FoldedLedgers& folded = most->second;
  folded.up_to = folded.generations.front().first;
  folded.earlier.add(folded.generations.front().second);
  folded.generations.erase(folded.generations.begin());
}

std::vector<Ledgers::Sum> Ledgers::sums() const {
  // Without a generation: before all that have one.
  std::map<std::pair<ServiceId, std::optional<std::uint32_t>>, Ledger> sums;
  for (const auto& [service, folded] : folded_) {
    if (folded.up_to) sums[{service, std::nullopt}].add(folded.earlier);
    for (const auto& [generation, ledger] : folded.generations) sums[{service, generation}].add(ledger);
  }
  for (const auto& [worker, ledger] : ledgers_) {
    const auto folded = folded_.find(worker.service);
    const bool early = folded != folded_.end() && folded->second.is_earlier(worker.generation);
    const auto generation = early ? std::nullopt : std::optional(worker.generation);
    sums[{worker.service, generation}].add(ledger);
  }
  std::vector<Sum> all;
  all.reserve(sums.size());
  for (const auto& [which, ledger] : sums) all.push_back({which.first, which.second, ledger});
  return all;
}

}  // namespace runmain::telemetry

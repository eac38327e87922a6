#include "telemetry/outbox.hpp"

#include <utility>

namespace runmain::telemetry {
namespace {

using Type = DestinationFact::Type;

DestinationFact dropped(const ChildKey& worker, Signal signal, std::uint64_t items, Drop reason) {
  DestinationFact fact{Type::dropped, worker, signal, items};
  fact.reason = reason;
  return fact;
}

// The spill calls back into what it belongs to, which may have moved: so it is told of each time.
class Listening {
 public:
  Listening(Spill& spill, Spill::Lost lost) : spill_(spill) { spill_.on_lost(std::move(lost)); }
  ~Listening() { spill_.on_lost(nullptr); }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  Spill& spill_;
};

}  // namespace

Result<Outbox> Outbox::open(Signal signal, const std::string& name, const std::string& folder,
                            std::uint64_t saved, const OutboxLimits& limits, std::uint64_t seed,
                            std::uint64_t run) {
  auto spill = Spill::open(folder, limits.spill);
  if (!spill) return spill.error();
  spill->forget_after(saved);
  return Outbox(signal, name, std::move(*spill), limits, seed, run);
}

Outbox::Outbox(Signal signal, const std::string& name, Spill spill, const OutboxLimits& limits,
               std::uint64_t seed, std::uint64_t run)
    : signal_(signal),
      run_(run),
      limits_(limits),
      spill_(std::move(spill)),
      destination_(name, limits.destination, seed) {}

void Outbox::add(const ChildKey& worker, const Item& item, Facts& facts) {
  Batch& batch = batches_.try_emplace(worker, signal_, limits_.batch).first->second;
  Batch::Added added = batch.add(item);
  if (added == Batch::Added::full) {
    close(worker, batch, facts);
    added = batch.add(item);
  }
  if (added != Batch::Added::added) facts.push_back(dropped(worker, signal_, 1, Drop::request_too_big));
}

void Outbox::flush(Facts& facts) {
  for (auto& [worker, batch] : batches_) {
    if (!batch.empty()) close(worker, batch, facts);
  }
  batches_.clear();
}

void Outbox::close(const ChildKey& worker, Batch& batch, Facts& facts) {
  Parcel parcel;
  parcel.worker = worker;
  parcel.run = run_;
  parcel.request = batch.take();
  const Listening listening(spill_, [this](Drop reason, std::string_view begin, std::uint32_t items) {
    lost(reason, begin, items);
  });
  const auto number = spill_.push(pack(parcel), parcel.request.items);
  disk_fault_ = number ? std::string() : number.error().text();
  if (!number) {  // the disk is full: as long as its queue has room, by memory alone
    for (const Parcel& over : destination_.offer(std::move(parcel))) {
      facts.push_back(dropped(over.worker, signal_, over.request.items, Drop::spill_full));
      done(over.number);
    }
  }
  tell_lost(facts);
}

void Outbox::lost(Drop reason, std::string_view begin, std::uint32_t items) {
  const auto parcel = unpack(begin);
  const bool known = parcel && parcel->run == run_;
  lost_.push_back(dropped(known ? parcel->worker : kNoChild, signal_, items, reason));
}

void Outbox::tell_lost(Facts& facts) {
  facts.insert(facts.end(), lost_.begin(), lost_.end());
  lost_.clear();
}

std::vector<std::uint64_t> Outbox::done_early() const {
  std::vector<std::uint64_t> done = spill_.done_early();
  done.insert(done.end(), skipped_.begin(), skipped_.end());  // not handed out yet
  done.insert(done.end(), unsaved_.begin(), unsaved_.end());
  return done;
}

void Outbox::pump(Facts& facts) {
  const Listening listening(spill_, [this](Drop reason, std::string_view begin, std::uint32_t items) {
    lost(reason, begin, items);
  });
  while (destination_.has_room()) {
    const auto record = spill_.next();
    if (!record) break;
    if (skipped_.erase(record->number) > 0) {
      spill_.done(record->number);
      continue;
    }
    auto parcel = unpack(record->payload);
    if (!parcel) {  // of another version
      lost(Drop::spill_damaged, {}, record->items);
      spill_.done(record->number);
      continue;
    }
    if (parcel->run != run_) parcel->worker = kNoChild;  // whose key may be another one's now
    parcel->number = record->number;
    parcel->may_have_arrived = record->again;
    if (record->again) {  // told now, so that it can be saved before it goes out again
      parcel->resend_told = true;
      facts.push_back({Type::resent, parcel->worker, signal_, parcel->request.items});
    }
    for (const Parcel& over : destination_.offer(std::move(*parcel))) {
      facts.push_back(dropped(over.worker, signal_, over.request.items, Drop::queue_full));
      done(over.number);
    }
  }
  tell_lost(facts);
}

void Outbox::answer(std::uint64_t id, const Answer& answer, Time now, std::int64_t wall_seconds,
                    Facts& facts) {
  const std::size_t before = facts.size();
  destination_.answer(id, answer, now, wall_seconds, facts);
  for (std::size_t i = before; i < facts.size(); ++i) {
    if (facts[i].type == Type::finished) done(facts[i].number);
  }
}

// A request without a number is in memory alone.
void Outbox::done(std::uint64_t number) {
  if (number != 0) unsaved_.push_back(number);
}

void Outbox::note_saved() {
  for (const std::uint64_t number : std::exchange(unsaved_, {})) spill_.done(number);
}

void apply(const DestinationFact& fact, Ledgers& ledgers) {
  if (fact.signal != Signal::traces || fact.worker == kNoChild) return;
  Ledger* counting = ledgers.counting(fact.worker);
  Ledger& ledger = counting != nullptr ? *counting : ledgers.of(fact.worker);
  switch (fact.type) {
    case Type::exported: ledger.export_spans(fact.items); break;
    case Type::rejected: ledger.reject(fact.items); break;
    case Type::resent: ledger.resent += fact.items; break;
    case Type::dropped: ledger.drop(fact.reason, fact.items); break;
    default: break;
  }
}

}  // namespace runmain::telemetry

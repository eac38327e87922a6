// A round: from mailboxes to outboxes, to the cell, and back.
#include <algorithm>

#include "base/archive.hpp"
#include "base/identity.hpp"
#include "telemetry/observer.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kDrainBytesMin = 16U << 10U;  // what a look at a mailbox counts, at least
constexpr std::size_t kRecordRoom = 32;             // of a ring, beside the item: header, scope, padding
constexpr std::size_t kWarm = 8;  // mailboxes that keep their memory until it is their turn again
constexpr Duration kTellDuplicates = std::chrono::seconds(10);
constexpr std::size_t kUnansweredMax = 16U << 10U;  // spans between two saves; of more a few come twice

std::size_t size_of(const Origin& origin) {
  return origin.resource.size() + origin.resource_schema.size() + origin.scope.size() +
         origin.scope_schema.size();
}

}  // namespace

// ---- in

void Observer::drain_round() {
  if (ready_.empty()) return;
  const Time before = std::exchange(last_round_, os::Loop::now());
  store_.at(last_round_);
  std::size_t bytes = 0;
  std::size_t came = 0;
  while (bytes < limits_.round && !ready_.empty()) {
    ObservedMailbox& mailbox = *ready_.front();
    ready_.pop_front();
    mailbox.queued = false;
    const std::size_t drained = drain(mailbox);
    came += drained;
    bytes += std::max(drained, kDrainBytesMin);
    if (dies(Step::drained)) return;
    if (mailbox.is_open() && mailbox.has_more()) enqueue(mailbox);
  }
  next_round_ = os::Loop::now() + gap_after(came, last_round_ - before);
}

// A round costs the same for few spans as for many, and beside it somebody works. `bytes` came in `took`,
// into one ring at worst.
Duration Observer::gap_after(std::size_t bytes, Duration took) const {
  if (!ready_.empty() || finish_by_) return {};
  const Duration calm = config_ && config_->dev ? limits_.gap_dev : limits_.gap_prod;
  if (took > 2 * calm) return std::min(limits_.gap_busy, calm);  // who has rested may do much now
  const double rings = static_cast<double>(bytes) / static_cast<double>(limits_.fill);
  const auto took_ns = static_cast<double>(took.count());
  if (took_ns >= rings * static_cast<double>(calm.count())) return calm;
  return std::max(std::min(limits_.gap_busy, calm), Duration(static_cast<Duration::rep>(took_ns / rings)));
}

// Returns how many bytes of its rings it gave back, about.
std::size_t Observer::drain(ObservedMailbox& mailbox) {
  dirty_ = true;
  if (!std::exchange(mailbox.drained, true)) drained_.push_back(&mailbox);
  if (!mailbox.is_open()) return 0;
  const MailboxOwner& owner = mailbox.owner();
  const std::span<const Item> items = mailbox.drain(limits_.slice);
  Ledger& ledger = ledgers_.of(owner.key);
  ledger.set_mailbox(mailbox.tallies());
  const TraceStore::Source source{owner.key, owner.service, owner.instance_id};
  Exporter::Route* route = exporter_->route_of(owner.key.service);
  std::size_t bytes = 0;
  for (const Item& item : items) {
    if (item.signal == Signal::traces) ledger.take(1);
    take(source, route, item, true);
    bytes += item.bytes.size() + kRecordRoom;
  }
  if (!items.empty()) metrics_soon();
  for (const LaneFault& fault : mailbox.take_faults()) {
    if (++counters_.lanes_aside > 1 && mailbox.tallies().lanes_aside > 1) continue;  // once a mailbox
    tell({"lane.aside",
          worker_text(owner.key) + ": a lane of its mailbox is put aside: " + fault.reason +
              "; what else stands there is lost",
          owner.service, owner.key});
  }
  return bytes;
}

void Observer::take(const TraceStore::Source& source, Exporter::Route* route, const Item& item,
                    bool by_mailbox) {
  std::uint64_t& count = item.signal == Signal::traces ? counters_.spans
                         : item.signal == Signal::logs ? counters_.logs
                                                       : counters_.metrics;
  ++count;
  const bool again = store_.on() && store_.add(source, item);
  if (again && by_mailbox) tell_duplicate(source);  // what is received, Duplicates knows better
  exporter_->add(route, source.worker, item);
}

void Observer::tell_duplicate(const TraceStore::Source& source) {
  ++counters_.spans_duplicated;
  const Time now = os::Loop::now();
  if (duplicate_told_ == source.worker.service && now - duplicate_told_at_ < kTellDuplicates) return;
  duplicate_told_ = source.worker.service;
  duplicate_told_at_ = now;
  tell({"spans.duplicated",
        worker_text(source.worker) +
            ": a span came twice: does something else export it, too? (runmain traces --duplicates; runmain "
            "doctor " +
            source.service + ")",
        source.service, source.worker});
}

bool Observer::receive(const ChildKey& worker, const Arrival& arrival, std::span<const Item> items) {
  if (dead_ || !cell_ || !config_ || first_save_ || finish_by_ || unsaved_bytes_ >= limits_.unsaved) {
    counters_.not_received += items.size();
    return false;
  }
  const TraceStore::Source source{worker, name_of(worker.service), instance_id(config_->secret, worker)};
  Exporter::Route* route = exporter_->route_of(worker.service);
  Ledger& ledger = receiving_ledger(worker);
  store_.at(os::Loop::now());
  Origin origin;
  for (const Item& item : items) {
    unsaved_bytes_ += item.bytes.size() + (item.origin == origin ? 0 : size_of(item.origin));
    origin = item.origin;
    if (item.signal == Signal::traces) {
      ledger.receive(1);
      ledger.take(1);
      if (came_before(worker, arrival, item)) {
        ledger.duplicate(1);
        ++counters_.spans_duplicated;
        continue;
      }
    }
    take(source, route, item, false);
  }
  for (const DuplicateNote& note : duplicates_->take_notes()) {
    const std::string service = name_of(note.worker.service);
    tell({"spans.duplicated",
          to_text(note, worker_text(note.worker), worker_text(note.tally.other_child)) +
              "; next: runmain doctor " + service,
          service, note.worker});
  }
  dirty_ = true;
  metrics_soon();
  wake_at(std::max(next_save_, os::Loop::now()));
  return true;
}

// Whether it is here already: it came from this worker, byte by byte, or the observer before us had saved it
// and died before it could say so.
bool Observer::came_before(const ChildKey& worker, const Arrival& arrival, const Item& span) {
  const Sighting found = duplicates_->look(worker, arrival, span);
  if (found.is_duplicate()) return true;
  if (unanswered_before_.count({worker, found.digest}) != 0) return true;
  if (unanswered_.size() < kUnansweredMax) unanswered_.emplace_back(worker, found.digest);
  return false;
}

void Observer::receive_invalid(const ChildKey& worker, std::uint64_t spans) {
  if (dead_ || !cell_) return;
  Ledger& ledger = receiving_ledger(worker);
  ledger.receive(spans);
  ledger.take(spans);
  ledger.drop(Drop::invalid, spans);
  dirty_ = true;
  wake_at(std::max(next_save_, os::Loop::now()));
}

Ledger& Observer::receiving_ledger(const ChildKey& worker) {
  if (ledgers_.all().count(worker) == 0 && mailboxes_.count(worker) == 0) {
    ended_.push_back(worker);  // no end of a mailbox will tell us
    if (std::find(bare_gone_.begin(), bare_gone_.end(), worker) == bare_gone_.end()) {
      receiving_.insert(worker);
    } else {
      untold_[worker] = os::Loop::now() + limits_.tell_after;
    }
    forget_ledgers();
  }
  return ledgers_.of(worker);
}

void Observer::when_saved(std::function<void()> call) {
  when_saved_.push_back(std::move(call));
  dirty_ = true;
  wake_at(std::max(next_save_, os::Loop::now()));
}

// ---- to the cell, and back

std::string Observer::encoded() {
  ObserverState state;
  state.outboxes = exporter_->saved();
  state.ledgers.assign(ledgers_.all().begin(), ledgers_.all().end());
  state.folded.assign(ledgers_.folded().begin(), ledgers_.folded().end());
  state.ended.assign(ended_.begin(), ended_.end());
  std::copy_if(ended_.begin(), ended_.end(), std::back_inserter(state.told), [this](const ChildKey& worker) {
    return untold_.count(worker) == 0 && receiving_.count(worker) == 0;
  });
  state.receiving.assign(receiving_.begin(), receiving_.end());
  state.counters = counters_;
  state.begun_unix_nano = begun_unix_nano_;
  if (os::Loop::now() >= cursors_until_) {
    cursors_.clear();
    unanswered_before_.clear();
  }
  state.unanswered = unanswered_;
  for (auto at = unanswered_before_.begin();
       at != unanswered_before_.end() && state.unanswered.size() < 2 * kUnansweredMax; ++at) {
    state.unanswered.push_back(*at);
  }
  std::vector<std::pair<ChildKey, std::string_view>> mailboxes(cursors_.begin(), cursors_.end());
  for (const auto& [key, mailbox] : mailboxes_) {
    if (mailbox->is_open()) mailboxes.emplace_back(key, mailbox->encoded());
  }
  // The keeper does not know yet that we need these no more.
  for (const auto& [key, cursor] : closed_) {
    if (!cursor.empty()) mailboxes.emplace_back(key, cursor);
  }
  return encode(state, mailboxes);
}

// True: all that is here outlives us.
bool Observer::save() {
  exporter_->flush();
  if (dies(Step::flushed)) return false;
  const Time begin = os::Loop::now();
  const auto stored = os::MemfdCell(cell_.get()).store(encoded());
  const Time now = os::Loop::now();
  if (!stored) {
    next_save_ = now + limits_.save_again;
    if (counters_.saves_failed++ == 0) {
      tell({"destination.warns", "nothing is sent now: " + stored.error().text() + ", retrying in 1 s"});
    }
    return false;
  }
  next_save_ = finish_by_ ? now : now + (now - begin) * limits_.save_share;
  dirty_ = false;
  unsaved_bytes_ = 0;
  unanswered_.clear();  // they hear of it now; the next save forgets them
  if (dies(Step::saved)) return false;
  for (const auto& [key, cursor] : std::exchange(closed_, {})) {
    if (says_.mailbox_read) says_.mailbox_read(key);
  }
  exporter_->note_saved();
  commit(now);
  if (dies(Step::committed)) return false;
  for (const auto& call : std::exchange(when_saved_, {})) call();
  return true;
}

void Observer::commit(Time now) {
  for (ObservedMailbox* mailbox : std::exchange(drained_, {})) {
    mailbox->drained = false;
    if (mailbox->is_open()) mailbox->commit();
    const bool cut = mailbox->is_tree_gone() && now - mailbox->tree_gone_at() > limits_.close_after;
    if (mailbox->left && !mailbox->queued) {
      mailbox->settled = true;  // its worker writes on, and we would never come to our end
    } else if (mailbox->at_end() || cut) {
      if (!mailbox->at_end()) {
        ++counters_.mailboxes_cut;
        ledgers_.of(mailbox->key()).give_up_unread();
      }
      close(*mailbox, now);
    } else if (mailbox->is_tree_gone() || !mailbox->rest()) {
      enqueue(*mailbox);
      if (ready_.size() > kWarm) mailbox->let_go_of_memory();
    } else {
      look_at_ = std::min(look_at_, mailbox->next_look(now));
    }
  }
}

// Its cursor is saved once more, and then the keeper is told.
void Observer::close(ObservedMailbox& mailbox, Time now) {
  const ChildKey key = mailbox.key();
  if (mailbox.queued) std::erase(ready_, &mailbox);
  if (mailbox.is_open()) {
    ended_.push_back(key);
    untold_[key] = now + limits_.tell_after;
  }
  closed_.emplace_back(key, mailbox.encoded());
  mailboxes_.erase(key);
  if (!has_mailbox(key.service)) exporter_->forget(key.service);
  forget_ledgers();
  dirty_ = true;
}

}  // namespace runmain::telemetry

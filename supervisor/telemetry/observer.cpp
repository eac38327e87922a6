// What the keeper says, and when things are done. Rounds: observer_round.cpp; what is told:
// observer_tell.cpp.
#include "telemetry/observer.hpp"

#include <algorithm>

#include "base/named_archive.hpp"
#include "base/wall_time.hpp"
#include "os/linux/heap.hpp"

namespace runmain::telemetry {
namespace {

// By then a keeper has told a new observer of all mailboxes that it has.
constexpr Duration kAllTold = std::chrono::minutes(1);
constexpr Duration kFinishLook = std::chrono::milliseconds(50);
constexpr Duration kHurriedBudget = std::chrono::milliseconds(400);  // the keeper ends us after kHurryGrace
constexpr Duration kBackoffMaxDev = std::chrono::seconds(5);
constexpr std::size_t kBareGoneMax = 64;

}  // namespace

Observer::Observer(os::Loop& loop, Says says, ObserverLimits limits)
    : loop_(loop),
      says_(std::move(says)),
      limits_(std::move(limits)),
      ledgers_(limits_.folded),
      store_(limits_.store) {
  timer_ = loop_.timer([this] { work(); });
  Exporter::Calls calls;
  calls.tell = [this](const ObserverFact& fact) { tell(fact); };
  calls.answered = [this] {
    dirty_ = true;
    wake_at(std::max(next_save_, os::Loop::now()));
  };
  calls.dies = [this](Step step) { return dies(step); };
  exporter_ = std::make_unique<Exporter>(loop_, ledgers_, counters_, std::move(calls));
}

Observer::~Observer() = default;

bool Observer::dies(Step step) {
  if (!dead_ && limits_.dies && limits_.dies(step)) dead_ = true;
  return dead_;
}

// ---- the keeper's words

void Observer::on_welcome(os::UniqueFd cursors) {
  if (cell_) return;
  cell_ = std::move(cursors);
  const Time now = os::Loop::now();
  ObserverState state;
  const auto saved = os::MemfdCell(cell_.get()).load();
  if (saved && !saved->empty() && decode(*saved, state)) {
    exporter_->restore(std::move(state.outboxes));
    for (const auto& [worker, ledger] : state.ledgers) ledgers_.of(worker) = ledger;
    for (auto& [service, folded] : state.folded) ledgers_.restore(service, std::move(folded));
    for (const ChildKey& worker : state.ended) {
      ended_.push_back(worker);
      untold_[worker] = now + limits_.tell_after;
    }
    for (const ChildKey& worker : state.told) untold_.erase(worker);
    for (const ChildKey& worker : state.receiving) {
      receiving_.insert(worker);
      untold_.erase(worker);
    }
    for (auto& [key, cursor] : state.mailboxes) cursors_[key] = to_named(cursor);
    unanswered_before_.insert(state.unanswered.begin(), state.unanswered.end());
    cursors_until_ = now + kAllTold;
    counters_ = state.counters;
    begun_unix_nano_ = state.begun_unix_nano;
  }
  if (begun_unix_nano_ == 0) begun_unix_nano_ = static_cast<std::uint64_t>(wall_now_ns());
}

void Observer::on_mailboxes_lost(std::uint64_t lost, std::uint64_t not_made) {
  counters_.mailboxes_lost = lost;
  counters_.mailboxes_not_made = not_made;
}

void Observer::on_configuration(const ObserverConfig& config) {
  config_ = config;
  if (!duplicates_) duplicates_.emplace(config.secret);
  const auto counted = [this](ServiceId service) {
    const auto found = ledgers_.all().lower_bound(ChildKey{service});
    return ledgers_.folded().count(service) != 0 ||
           (found != ledgers_.all().end() && found->first.service == service);
  };
  std::erase_if(names_, [&](const auto& name) { return !counted(name.first); });
  for (const ObservedService& service : config.services) names_[service.id] = service.name;
  store_.set_on(config.dev || store_wanted_ > 0);
  OutboxLimits limits = limits_.outbox;
  if (config.dev) {
    limits.destination.backoff_max = std::min(limits.destination.backoff_max, kBackoffMaxDev);
  }
  exporter_->configure(config, limits, [this](ServiceId service) { return has_mailbox(service); });
  // At once: what is received meanwhile would have to wait for it.
  first_save_ = dead_ || !cell_ || !save();
  soon();
}

bool Observer::has_mailbox(ServiceId service) const {
  const auto found = mailboxes_.lower_bound(ChildKey{service});
  return found != mailboxes_.end() && found->first.service == service;
}

void Observer::on_mailbox(MailboxOwner owner, os::UniqueFd memory, os::UniqueFd wake) {
  const ChildKey key = owner.key;
  if (mailboxes_.count(key) != 0) return;
  MailboxCursor cursor;
  if (const auto saved = cursors_.extract(key); !saved.empty()) {
    if (!from_named(saved.mapped(), cursor)) cursor = {};
  }
  std::erase(ended_, key);  // it was read, and its keeper does not know that yet
  untold_.erase(key);
  receiving_.erase(key);
  auto mailbox = std::make_unique<ObservedMailbox>(loop_, std::move(owner), std::move(wake), [this, key] {
    const auto found = mailboxes_.find(key);
    if (found != mailboxes_.end()) enqueue(*found->second);
  });
  if (auto opened = mailbox->open(std::move(memory), std::move(cursor)); !opened) {
    ++counters_.mailboxes_refused;
    tell({"mailbox.refused",
          worker_text(key) + ": its mailbox is refused: " + opened.error().text() + "; its spans are lost",
          mailbox->owner().service, key});
  }
  ObservedMailbox& kept = *(mailboxes_[key] = std::move(mailbox));
  if (kept.is_open()) ledgers_.of(key).set_mailbox(kept.tallies());
  enqueue(kept);
}

void Observer::on_child_gone(const ChildKey& key, const Ending& ending) {
  const auto found = mailboxes_.find(key);
  if (found == mailboxes_.end()) return;
  found->second->gone(ending);
  found->second->find_gone();
  enqueue(*found->second);
}

void Observer::on_tree_gone(const ChildKey& key) {
  const auto found = mailboxes_.find(key);
  if (found == mailboxes_.end()) return bare_tree_gone(key);
  found->second->tree_gone(os::Loop::now());
  enqueue(*found->second);
}

// What it has sent is here, but for what nobody waited for.
void Observer::bare_tree_gone(const ChildKey& key) {
  bare_gone_.push_back(key);
  if (bare_gone_.size() > kBareGoneMax) bare_gone_.pop_front();
  if (receiving_.erase(key) == 0) return;
  untold_[key] = os::Loop::now() + limits_.tell_after;
  dirty_ = true;
  soon();
}

void Observer::finish(Duration budget, bool alone) {
  if (finish_by_) return;
  const Time now = os::Loop::now();
  for (const ChildKey& worker : std::exchange(receiving_, {})) untold_[worker] = now + limits_.tell_after;
  finish_by_ = now + (hurried_ ? std::max(budget, kHurriedBudget) : budget);
  next_round_ = next_save_ = now;
  for (const auto& [key, mailbox] : mailboxes_) {
    mailbox->left = alone && mailbox->lives_on();
    if (!mailbox->left) mailbox->tree_gone(now);
    enqueue(*mailbox);
  }
  soon();
}

void Observer::hurry() {
  hurried_ = true;
  if (!finish_by_) return;
  finish_by_ = std::min(*finish_by_, os::Loop::now() + kHurriedBudget);
  soon();
}

void Observer::want_store(bool wanted) {
  store_wanted_ += wanted ? 1 : 0;
  if (!wanted && store_wanted_ > 0) --store_wanted_;
  store_.set_on((config_ && config_->dev) || store_wanted_ > 0);
}

// ---- time

void Observer::wake_at(Time when) {
  if (when >= wake_at_) return;
  wake_at_ = when;
  timer_->set(when);
}

void Observer::enqueue(ObservedMailbox& mailbox) {
  if (mailbox.settled) return;
  if (!std::exchange(mailbox.queued, true)) ready_.push_back(&mailbox);
  if (cell_ && config_) wake_at(std::max({next_round_, next_save_, os::Loop::now()}));
}

void Observer::work() {
  wake_at_ = kNever;
  if (dead_ || finished_ || !cell_) return;
  const Time now = os::Loop::now();
  if (now >= look_at_) look(now);
  if (first_save_ && now >= next_save_) first_save_ = !save();
  if (config_ && !first_save_ && now >= next_round_ && now >= next_save_) drain_round();
  if (!dead_ && dirty_ && now >= next_save_) save();
  if (!dead_ && !dirty_ && !first_save_) dirty_ = exporter_->send(os::Loop::now());
  if (dead_) return;
  exporter_->tidy();
  tell_ended(now, false);
  if (now >= metrics_at_) {
    export_metrics(now);
    os::give_heap_back();  // what a peak of these seconds took
  }
  if (finish_by_) end_finish(now);
  if (!finished_) schedule();
}

void Observer::schedule() {
  Time next = std::min(look_at_, metrics_at_);
  if (dirty_ || first_save_) next = std::min(next, next_save_);
  if (config_ && !ready_.empty()) next = std::min(next, std::max(next_round_, next_save_));
  if (!dirty_ && !first_save_) next = std::min(next, exporter_->next_deadline());
  for (const auto& [worker, by] : untold_) next = std::min(next, by);
  if (finish_by_) {
    const Time look = os::Loop::now() + kFinishLook;
    next = std::min({next, look, *finish_by_});
  }
  wake_at(next);
}

// For those whose writing, or whose death, nobody tells us.
void Observer::look(Time now) {
  look_at_ = kNever;
  for (const auto& [key, mailbox] : mailboxes_) {
    const bool gone = mailbox->looks_for_gone(now) && mailbox->find_gone();
    if (mailbox->look() || gone) enqueue(*mailbox);
    look_at_ = std::min(look_at_, mailbox->next_look(now));
  }
}

// What the time did not do for is lost with the mailboxes.
void Observer::give_up_unread(Time now) {
  for (const auto& [key, mailbox] : mailboxes_) {
    if (mailbox->left || !mailbox->is_open()) continue;
    mailbox->count_unread();
    if (mailbox->at_end()) continue;
    ++counters_.mailboxes_cut;
    ledgers_.of(key).set_mailbox(mailbox->tallies());
    ledgers_.of(key).give_up_unread();
    untold_[key] = now;
    dirty_ = true;
  }
}

void Observer::end_finish(Time now) {
  const bool none = std::all_of(mailboxes_.begin(), mailboxes_.end(), [](const auto& one) {
    return one.second->left && !one.second->queued && !one.second->drained;
  });
  const bool read = !config_ || (none && closed_.empty() && !dirty_);
  const bool sent = hurried_ || exporter_->empty() || exporter_->stuck(now);
  const bool late = now >= *finish_by_;
  if (!late && !(read && sent)) return;
  dirty_ = exporter_->give_up_memory() || dirty_;
  if (late) give_up_unread(now);
  tell_ended(now, true);
  if (dirty_) save();
  if (dead_) return;
  finished_ = true;
  timer_->cancel();
  says_.finished();
}

}  // namespace runmain::telemetry

// The size of a pool, the recycling of its workers, and which slots new connections go to.
#include <algorithm>
#include <utility>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {
namespace {

// Up to `percent` less than the limit, at least 1.
std::uint64_t jittered(std::uint64_t limit, std::uint32_t percent, std::uint64_t& random) {
  const std::uint64_t reach = jitter_of(limit, percent);
  return std::max<std::uint64_t>(1, limit - (reach == 0 ? 0 : next_random(random) % (reach + 1)));
}

// Of the first `count` slots all are over, and some have failed for good.
bool nobody_left(const ServiceRecord& r, std::uint32_t count) {
  const auto end =
      r.slots.begin() + std::min<std::ptrdiff_t>(count, static_cast<std::ptrdiff_t>(r.slots.size()));
  return std::all_of(r.slots.begin(), end, [](const Slot& slot) { return slot.current.done; }) &&
         std::any_of(r.slots.begin(), end, [](const Slot& slot) { return slot.current.failed; });
}

// Those of the first `count` slots that have failed for good. Their back-off goes on where it was.
void try_again(ServiceRecord& r, std::uint32_t count) {
  for (std::uint32_t n = 0; n < count; ++n) {
    SlotRun& run = r.slots[n].current;
    if (!run.failed) continue;
    run.done = run.failed = false;
    run.unhealthy = 0;
    run.reason = Reason::scale;
  }
}

}  // namespace

// ---- size
// ---------------------------------------------------------------------------------------------------

void Engine::set_workers(ServiceRecord& r, std::uint32_t count, const char* by) {
  count = std::clamp(count, 1U, kWorkersMax);
  const std::uint32_t before = r.workers();
  r.calm_since = kNever;
  r.loaded = 0;
  if (count == before) return;
  r.scaled = count;
  if (r.slots.size() < r.workers()) r.slots.resize(r.workers());
  touch(r);
  tell(r, FactType::service_scaled, count, by);
  if (!r.wanted) return;
  begin_slots(r, before);
  if (count < before) end_if_done(r);  // the slots that are left may have ended before
}

// After another number: slots that were not wanted before begin anew, but for the count of their starts.
void Engine::begin_slots(ServiceRecord& r, std::uint32_t before) {
  const bool shrinks = r.workers() < before;
  if (shrinks && r.in_gradual_roll()) r.course.told = 0;  // other slots have to prove it
  // Those that serve are to go, and those that have failed would be all that is left: they are tried again.
  if (shrinks && r.run == RunState::running && nobody_left(r, r.workers())) try_again(r, r.workers());
  for (std::uint32_t n = before; n < r.workers(); ++n) {
    Slot& slot = r.slots[n];
    slot.rolling = false;
    for (SlotRun* run : {&slot.current, &slot.next}) {
      const std::uint32_t attempt = run->attempt;
      *run = SlotRun{};
      run->attempt = attempt;
      run->reason = Reason::scale;
    }
  }
  for (Instance& i : r.instances) {
    if (i.phase == WorkerState::retiring && !goes_away(r, i.key.slot))
      i.deadline = std::min(i.deadline, later(now_, kQueueTimeout));
  }
}

void Engine::operator()(const Load& e) {
  ServiceRecord* r = find(e.service);
  if (r == nullptr || !up(*r) || r->run != RunState::running || r->spec.workers_max <= r->spec.workers)
    return;
  const std::uint32_t workers = r->workers();
  const bool settled = look(*r).full == workers;  // those that come are to help first, and a start is no load
  if (e.queued > 0 || (settled && e.busy_percent >= kBusyPercent)) {
    r->calm_since = kNever;
    r->loaded = std::min(r->loaded + 1, kCountMax);
    if (r->loaded >= kLoadedLooks && settled && workers < r->spec.workers_max)
      set_workers(*r, workers + 1, "load");
    return;
  }
  r->loaded = 0;
  if (e.busy_percent >= kCalmPercent) {
    r->calm_since = kNever;
  } else if (r->calm_since == kNever) {
    r->calm_since = now_;
  } else if (now_ - r->calm_since >= kCalm && settled && workers > r->spec.workers &&
             !nobody_left(*r, workers - 1)) {
    set_workers(*r, workers - 1, "load");
    r->calm_since = now_;
  }
}

// ---- recycling
// ----------------------------------------------------------------------------------------------

void Engine::set_limits(ServiceRecord& r, Instance& i) {
  const RecycleSpec& recycle = r.spec.recycle;
  const auto limit = [&](std::uint64_t max) {
    return max == 0 ? 0 : jittered(max, recycle.jitter_percent, s_.random);
  };
  i.requests_max = limit(recycle.requests);
  i.memory_max = limit(recycle.memory);
  const auto lifetime =
      limit(static_cast<std::uint64_t>(std::max<Duration::rep>(recycle.lifetime.count(), 0)));
  i.recycle_at = lifetime == 0 ? kNever : later(i.ready_at, Duration(static_cast<Duration::rep>(lifetime)));
}

void Engine::operator()(const Requests& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->requests_max == 0 || e.done < i->requests_max) return;
  recycle_when_due(*r, *i, std::to_string(e.done) + " requests");
}

void Engine::operator()(const Measured& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->memory_max == 0 || e.bytes < i->memory_max) return;
  recycle_when_due(*r, *i, "memory " + std::to_string(e.bytes >> 20U) + " MiB");
}

void Engine::recycle_when_due(ServiceRecord& r, Instance& i, std::string why) {
  if (i.phase != WorkerState::ready || i.leaving || i.recycle_due) return;
  i.recycle_due = true;
  tell(r, i, FactType::child_recycled, 0, std::move(why));
  touch(r);
}

// Replaces those that are due, as many at once as a batch has. A roll replaces them anyway.
void Engine::recycle(ServiceRecord& r) {
  if (!up(r) || r.run != RunState::running || r.next != 0 || r.roll != Roll::none || r.due) return;
  const std::uint32_t batch = r.spec.roll.batch.of(r.workers());
  const bool old_first = r.spec.roll.order == RollOrder::old_first || !r.overlaps();
  look(r);
  std::uint32_t away = 0;
  for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
    const bool full = (s_.slot_marks[slot] & kReadyCurrent) != 0;
    away += !full && !r.slots[slot].current.done ? 1 : 0;
  }
  for (Instance& i : r.instances) {
    if (away >= batch) return;
    const bool unwell = i.unwell_due && i.replace_at == kNever;
    if ((!i.recycle_due && !unwell) || i.leaving || i.phase != WorkerState::ready ||
        i.key.generation != r.current)
      continue;
    if (i.key.slot >= r.workers() || (s_.slot_marks[i.key.slot] & kReadyCurrent) == 0) continue;
    if (!old_first && is_crowded(r, i)) continue;
    SlotRun& run = r.slots[i.key.slot].current;
    run.reason = i.recycle_due ? Reason::recycle : Reason::crash;
    run.retry_at = now_;
    ++away;
    i.leaving = !old_first;
    if (old_first) stop(r, i, EndWhy::stop);
  }
}

// ---- sockets of one slot
// ------------------------------------------------------------------------------------

// Who waits in the queue of a slot that nobody takes over is served by this worker before it goes: it gets no
// new connections, and is asked to drain when the queue is empty, or at the end of a drain's budget. False:
// there is nothing to wait for.
bool Engine::retires(const ServiceRecord& r, const Instance& it) {
  if (!it.key.is_worker() || r.spec.balance != Balance::reuseport || it.phase != WorkerState::ready || !up(r))
    return false;
  const auto takes_over = [&](const Instance& i) {
    return &i != &it && i.key.is_worker() && i.key.slot == it.key.slot && i.phase == WorkerState::ready;
  };
  const bool taken = std::any_of(r.instances.begin(), r.instances.end(), takes_over);
  const bool others = std::any_of(r.instances.begin(), r.instances.end(), [&](const Instance& i) {
    return i.key.is_worker() && i.key.slot != it.key.slot && i.phase == WorkerState::ready;
  });
  if (taken || !others) return false;
  ServiceRecord& mine = s_.services[r.id.value];
  Instance& i = mine.instances[static_cast<std::size_t>(&it - mine.instances.data())];
  stop_looking(i);
  leave_terminal(i);
  enter(i, WorkerState::retiring);
  const bool last = goes_away(r, i.key.slot);
  i.deadline = later(now_, last ? r.spec.stop.timeout : kQueueTimeout);
  distribute(mine);
  push(AwaitQueue{i.key, last ? kQueueQuietLast : kQueueQuiet});
  return true;
}

void Engine::operator()(const QueueEmpty& e) {
  const auto [r, i] = find(e.key);
  if (i == nullptr || i->phase != WorkerState::retiring) return;
  touch(*r);
  begin_drain(*r, *i, r->spec.stop.signal, r->spec.stop.group);
}

// The slot gets no worker any more, but by a wish or a generation to come.
bool Engine::goes_away(const ServiceRecord& r, std::uint32_t slot) {
  if (slot >= r.workers()) return true;
  return r.run == RunState::running && r.slots[slot].current.done && r.next == 0 && r.roll == Roll::none &&
         !r.due;
}

// Who waits in the queue of a slot that nobody serves any more would wait for ever. Once the others are in
// place its socket is closed, which tells them at once. The first one may be a stand-in's, too.
void Engine::close_slots(ServiceRecord& r) {
  if (r.spec.balance != Balance::reuseport || !up(r) || r.distributed.empty()) return;
  CloseSlots order{r.id, {}};
  for (std::uint32_t slot = r.spec.await_change ? 1 : 0; slot < r.slots.size(); ++slot) {
    if (!r.slots[slot].open || !goes_away(r, slot)) continue;
    const bool held = std::any_of(r.instances.begin(), r.instances.end(), [slot](const Instance& i) {
      return i.key.is_worker() && i.key.slot == slot;
    });
    if (held) continue;
    r.slots[slot].open = false;
    order.slots.push_back(slot);
  }
  if (!order.slots.empty()) push(std::move(order));
}

void Engine::operator()(const SlotClosed& e) {
  ServiceRecord* r = find(e.service);
  if (r == nullptr || e.waiting == 0) return;
  Fact fact;
  fact.type = FactType::slot_closed;
  fact.service = r->id;
  fact.slot = e.slot;
  fact.generation = r->current;
  fact.number = e.waiting;
  fact.text = e.address;
  record(std::move(fact));
}

// New connections go to the slots that have somebody ready.
void Engine::distribute(ServiceRecord& r) {
  if (r.spec.balance != Balance::reuseport || !up(r)) return;
  std::vector<std::uint32_t> slots;
  for (const Instance& i : r.instances) {
    if (i.key.is_worker() && i.phase == WorkerState::ready) slots.push_back(i.key.slot);
  }
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  if (slots == r.distributed) return;
  r.distributed = slots;
  push(Distribute{r.id, std::move(slots)});
}

void Engine::operator()(const ListenerShut& e) {
  ServiceRecord* r = find(e.service);
  if (r == nullptr) return;
  Fact fact;
  fact.type = FactType::listener_shut;
  fact.service = r->id;
  fact.slot = e.slot;
  fact.generation = r->current;
  fact.number = e.error;
  fact.text = e.address;
  record(std::move(fact));
}

}  // namespace runmain::core

// A gradual roll: the slots get their turn batch by batch. In a slot that has had its turn the new generation
// is started beside the old one, which goes when the new one is ready (new first), or after it (old first).
// When a batch is through and has held, the next one has its turn; when all are, the new generation is the
// current one. A worker of it that fails until then ends the roll (abort_next): slots that have nothing ready
// of the old generation start it anew, and what is ready of the new one serves until then.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/engine.hpp"

namespace runmain::core {
namespace {

// Canaries are tried while the others are old: with one worker there is none.
std::uint32_t canaries_of(const ServiceRecord& r) { return std::min(r.course.canary, r.workers() - 1); }

}  // namespace

// Whether it is known if memory has room for a batch beside the old ones. Asks, if nobody has.
bool Engine::knows_room(ServiceRecord& r) {
  const bool matters = (r.spec.roll.gradual || r.canary_asked > 0) && r.spec.roll.memory_guard &&
                       r.spec.roll.order == RollOrder::new_first && r.overlaps();
  if (!matters || r.room == RoomState::enough || r.room == RoomState::tight) return true;
  if (r.room == RoomState::unknown) {
    r.room = RoomState::asked;
    r.room_deadline = later(now_, kRoomTimeout);
    push(Measure{r.id});
  }
  return false;
}

// Old workers that still drain take memory, too: it is asked again before each batch. False: it is not known
// yet. Where it has become tight, the rest goes old first.
bool Engine::has_room_for_batch(ServiceRecord& r) {
  if (r.course.old_first) return true;
  if (!knows_room(r)) return false;
  r.course.old_first = r.room == RoomState::tight;
  forget_room(r);
  return true;
}

void Engine::forget_room(ServiceRecord& r) {
  r.room = RoomState::unknown;
  r.room_deadline = kNever;
}

void Engine::operator()(const Room& e) {
  ServiceRecord* r = find(e.service);
  if (r == nullptr || r->room != RoomState::asked) return;
  touch(*r);
  r->room_deadline = kNever;
  const std::uint32_t canaries = std::max(r->spec.roll.canary, r->canary_asked);
  const std::uint64_t batch =
      std::max(r->spec.roll.batch.of(r->workers()), std::min(canaries, r->workers() - 1));
  const bool tight = e.worker > 0 && e.available / e.worker < batch;
  r->room = tight ? RoomState::tight : RoomState::enough;
  if (!tight) return;
  constexpr std::uint64_t kMiB = 1U << 20U;
  tell(*r, FactType::reload_old_first, 0,
       std::to_string(e.available / kMiB) + " MiB left, a worker takes " + std::to_string(e.worker / kMiB) +
           " MiB");
}

// After launch() has made the new generation. Without anything that is ready it comes in all slots at once.
void Engine::begin_roll(ServiceRecord& r) {
  const Survey seen = look(r);
  RollCourse course;
  course.gradual = can_roll(r, seen);
  course.old_first = r.spec.roll.order == RollOrder::old_first || !r.overlaps() || r.room == RoomState::tight;
  course.canary = r.canary_asked > 0 ? r.canary_asked : r.spec.roll.canary;
  r.course = course;
  r.canary_asked = 0;
  forget_room(r);
  for (Slot& slot : r.slots) slot.rolling = false;
}

void Engine::end_roll(ServiceRecord& r) {
  r.course = RollCourse{};
  forget_room(r);
  for (Slot& slot : r.slots) slot.rolling = false;
}

// Gives the next batch its turn as soon as the one before is through and has held.
void Engine::advance_roll(ServiceRecord& r) {
  while (up(r) && r.run == RunState::running && r.in_gradual_roll()) {
    look(r);
    std::uint32_t turned = 0;
    bool whole = true;
    for (std::uint32_t slot = 0; slot < r.workers(); ++slot) {
      if (!r.slots[slot].rolling) continue;
      ++turned;
      // One that has done its work was well; with many that end often they are never all there.
      const SlotRun& next = r.slots[slot].next;
      whole &= next.done || next.reason == Reason::recycle || (s_.slot_marks[slot] & kReadyNext) != 0;
    }
    if (!whole) return interrupt_hold(r);
    const bool last = turned >= r.workers();
    if (turned > 0 && (turned != r.course.told || last != r.course.told_last)) begin_hold(r, turned);
    if (turned > 0 && holds(r)) return;
    r.course.hold_until = kNever;
    if (turned >= r.workers()) return commit(r);
    if (turned > 0 && !has_room_for_batch(r)) return;
    const std::uint32_t canaries = canaries_of(r);
    open_slots(r, turned == 0 && canaries > 0 ? canaries : r.spec.roll.batch.of(r.workers()));
  }
}

void Engine::begin_hold(ServiceRecord& r, std::uint32_t turned) {
  RollCourse& course = r.course;
  const bool canary = turned == canaries_of(r);
  const bool last = turned >= r.workers();
  const Duration hold = canary ? r.spec.roll.canary_hold
                        : last ? std::max(r.spec.roll.hold, r.spec.roll.hold_last)
                               : r.spec.roll.hold;
  course.told = turned;
  course.told_last = last;
  course.proves = hold > Duration::zero();
  course.overtime = false;
  course.hold_until = later(now_, hold);
  std::string text =
      (canary ? "canary " : "") + std::to_string(turned) + " of " + std::to_string(r.workers());
  if (course.canary > 0 && r.workers() == 1) text += " (no canary with one worker)";
  if (course.proves) text += ", held " + std::to_string(to_ms(hold)) + " ms";
  tell_step(r, turned, std::move(text));
}

// What is held is not whole: a worker of it has ended with success, as it has announced or after it had
// served (another end gives the slots back). Its time goes on: with workers that end often a hold that began
// anew would never be over.
void Engine::interrupt_hold(ServiceRecord& r) {
  if (r.course.hold_until <= now_) r.course.hold_until = kNever;
}

// Time is not all: who is not well, or was not seen to be well yet, is waited for as long as its failures
// need to be believed (which ends the roll).
bool Engine::holds(ServiceRecord& r) {
  RollCourse& course = r.course;
  const bool timed = course.hold_until != kNever && course.hold_until > now_;
  if (timed && !course.overtime) return true;
  const Instance* doubt = nullptr;
  for (const Instance& i : r.instances) {
    if (in_doubt(r, i) && (doubt == nullptr || i.unwell > doubt->unwell)) doubt = &i;
  }
  if (doubt == nullptr) return false;
  if (timed) return true;
  if (!course.overtime) {
    constexpr Duration kEachMax = kSpanMax / kCountMax;
    const HealthSpec& health = r.spec.health;
    const Duration each = std::min<Duration>(std::min(health.interval, kEachMax) + health.timeout, kEachMax);
    course.overtime = true;
    course.hold_until = later(now_, each * std::min(health.failures, kCountMax));
    if (course.hold_until > now_) return true;
  }
  if (doubt->unwell == 0 && !doubt->seen_starved) return false;  // nothing could be found out
  abort_next(r, "worker " + std::to_string(doubt->key.slot) +
                    (doubt->unwell == 0 ? " gets no CPU and was not seen to be well" : " is not well"));
  return true;
}

// A new worker whose health stands against going on.
bool Engine::in_doubt(const ServiceRecord& r, const Instance& i) {
  const bool tried = i.key.is_worker() && i.key.generation == r.next && i.key.slot < r.workers() &&
                     i.phase == WorkerState::ready && !i.leaving;
  if (!tried || r.spec.health.kind == HealthKind::none) return false;
  return i.unwell > 0 || (r.course.proves && !i.seen_well);
}

// When a worker of the new generation has failed, in words.
std::string Engine::when_in_roll(const ServiceRecord& r) {
  if (r.course.gradual && r.course.told >= r.workers())
    return r.workers() > 1 ? " soon after every worker was ready" : " soon after it was ready";
  return r.workers() > 1 ? " before all workers were ready" : "";
}

// Of a roll that is over nobody waits for the looks.
void Engine::look_calmly(ServiceRecord& r) {
  for (Instance& i : r.instances) {
    if (i.watched && i.key.generation == r.next) watch(r, i, false);
  }
}

void Engine::tell_step(const ServiceRecord& r, std::uint32_t slots, std::string text) {
  Fact fact;
  fact.type = FactType::reload_step;
  fact.service = r.id;
  fact.generation = r.next;
  fact.number = slots;
  fact.text = std::move(text);
  record(std::move(fact));
}

// Those that have nobody ready come first: nothing is lost with them. Requires fresh marks.
void Engine::open_slots(ServiceRecord& r, std::uint32_t count) {
  for (const bool serving : {false, true}) {
    for (std::uint32_t slot = 0; slot < r.workers() && count > 0; ++slot) {
      const bool serves = (s_.slot_marks[slot] & kServes) != 0;
      if (r.slots[slot].rolling || serves != serving) continue;
      r.slots[slot].rolling = true;
      --count;
    }
  }
}

}  // namespace runmain::core

// How lanes come to their end: what their counters say, open spans of dead processes, and freeing.
#include <algorithm>
#include <cstring>

#include "telemetry/mailbox_reader.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/reconstructed.hpp"

namespace runmain::telemetry {
namespace {

// A process can be killed between writing a record and counting it: at most once a thread that writes there.
constexpr std::uint64_t kBetween = 1;
constexpr std::uint64_t kBetweenShared = 64;

}  // namespace

void MailboxReader::count(LaneCursor& lane) {
  if (lane.stage != LaneStage::reading && lane.stage != LaneStage::gone) return;
  const runmain_lane& shared = memory_.lane(lane.lane);
  // In this order: what is lost is counted before it has ended.
  std::uint64_t lost_before = 0;
  for (const std::uint64_t& word : shared.lost) lost_before += std::min(load(word), kCounterMax);
  LaneCounters now;
  now.ended = load(shared.ended);
  now.started = load(shared.started);
  now.not_sampled = load(shared.not_sampled);
  now.cut = load(shared.cut);
  now.dictionary_full = load(shared.dictionary_full);
  now.open_full = load(shared.open_full);
  for (std::size_t i = 0; i < now.lost.size(); ++i) now.lost[i] = load(shared.lost[i]);
  if (!lane.unlikely && !is_plausible(lane, now, lost_before)) {
    lane.unlikely = true;
    ++cursor_.tallies.unlikely;
  }
  if (!lane.unlikely) lane.counters.merge(now);
}

// Whoever has the mailbox can write there. A span that has ended was read, was lost, or still stands in the
// ring.
bool MailboxReader::is_plausible(const LaneCursor& lane, const LaneCounters& now,
                                 std::uint64_t lost_before) const {
  constexpr std::uint64_t kSpanMin = 32;  // a header, a scope, and no byte of a span, as it is padded
  const std::uint64_t unread = geometry().ring_size / kSpanMin + kBetweenShared;
  return lane.counters.within_a_step(now) &&
         lost_before <= std::min(now.ended, kCounterMax) + kBetweenShared &&
         (lane.adopted || now.ended <= lane.spans + now.lost_all() + unread);
}

void MailboxReader::find_gone(const Ask& ask) {
  std::vector<LaneCursor> asked;
  std::vector<LaneCursor> gone;
  for (const LaneCursor& lane : cursor_.lanes) {
    if (lane.stage != LaneStage::reading && lane.stage != LaneStage::aside) continue;
    const auto same = [&lane](const LaneCursor& other) { return lane.is_of(other); };
    if (std::any_of(asked.begin(), asked.end(), same)) continue;
    asked.push_back(lane);
    const std::optional<Ending> ending = ask(lane.pid, lane.pid_started);
    if (!ending) continue;
    gone.push_back(lane);
    gone.back().ending = *ending;
  }
  // Lanes that they have taken since our last look: what had ended there is not to be ended again.
  find_lanes();
  if (!gone.empty()) {
    for (LaneCursor& lane : cursor_.lanes) look_at(lane);
  }
  for (const LaneCursor& process : gone) is_gone(process);
  find_half_taken(ask);
}

// Lanes whose process was gone before it could say of which start it was: else nobody would get them again.
void MailboxReader::find_half_taken(const Ask& ask) {
  has_half_taken_ = false;
  for (LaneCursor& lane : cursor_.lanes) {
    const runmain_lane& shared = memory_.lane(lane.lane);
    const auto is_half_taken = [&shared] {
      return load(shared.state) == RUNMAIN_LANE_TAKEN && load(shared.pid_started) == 0;
    };
    if (lane.stage != LaneStage::idle || !is_half_taken()) continue;
    const std::uint32_t pid = load(shared.pid);
    const bool dead = pid != 0 && ask(pid, 0).has_value();
    // It may have gone on before it died, and then it has left something there.
    if (!dead || !is_half_taken() || load(shared.pid) != pid) {
      has_half_taken_ = true;
      continue;
    }
    lane.pid = pid;
    lane.pid_started = 0;
    lane.round = load(shared.round);
    lane.stage = LaneStage::done;
  }
}

void MailboxReader::is_gone(const LaneCursor& process) {
  for (LaneCursor& lane : cursor_.lanes) {
    if (!lane.is_of(process)) continue;
    if (lane.stage == LaneStage::aside) lane.stage = LaneStage::done;
    if (lane.stage != LaneStage::reading) continue;
    lane.stage = LaneStage::gone;
    lane.ending = process.ending;
  }
}

void MailboxReader::finish_lanes() {
  std::size_t pinned = 0;
  for (LaneCursor& lane : cursor_.lanes) {
    if (lane.stage == LaneStage::gone) {
      finish_process(lane);
    } else if (lane.stage == LaneStage::reading && view(lane).closed && view(lane).at_end) {
      const std::size_t open = open_spans(lane.lane);
      view(lane).pinned = open > 0 && ++pinned <= geometry().lane_count / kPinnedPart;
      if (view(lane).pinned) continue;
      cursor_.tallies.open_forgotten += open;
      lane.stage = LaneStage::done;
    }
  }
}

// A span may have ended in another lane than it began: open ones are known once all lanes are read to their
// end.
void MailboxReader::finish_process(const LaneCursor& one) {
  std::vector<LaneCursor*> lanes;
  for (LaneCursor& lane : cursor_.lanes) {
    if (lane.stage == LaneStage::gone && lane.is_of(one)) lanes.push_back(&lane);
  }
  if (!std::all_of(lanes.begin(), lanes.end(), [this](LaneCursor* lane) { return view(*lane).at_end; }))
    return;
  std::vector<SpanIds> ended;
  for (const LaneCursor* lane : lanes) {
    const std::size_t known = std::min<std::size_t>(lane->last_count, lane->last.size());
    ended.insert(ended.end(), lane->last.begin(), lane->last.begin() + static_cast<std::ptrdiff_t>(known));
  }
  for (LaneCursor* lane : lanes) {
    settle(*lane);
    reconstruct(*lane, ended);
    lane->stage = LaneStage::done;
  }
}

void MailboxReader::reconstruct(LaneCursor& lane, const std::vector<SpanIds>& ended) {
  const runmain_open_slot* slots = memory_.slots(lane.lane);
  for (std::uint32_t i = 0; i < geometry().open_slots; ++i) {
    runmain_open_slot slot{};
    std::memcpy(&slot, &slots[i], sizeof slot);
    bool is_span = false;
    auto bytes = reconstructed_span(slot, lane.ending, is_span);
    if (!bytes) {
      cursor_.tallies.open_invalid += is_span ? 1 : 0;
      continue;
    }
    Item item;
    std::copy(std::begin(slot.trace_id), std::end(slot.trace_id), item.ids.trace.begin());
    std::copy(std::begin(slot.span_id), std::end(slot.span_id), item.ids.span.begin());
    if (std::find(ended.begin(), ended.end(), item.ids) != ended.end()) continue;
    item.origin = origin_of(lane, slot.scope);
    item.bytes = repaired_.emplace_back(std::move(*bytes));
    item.lane = lane.lane;
    item.reconstructed = true;
    items_.push_back(item);
    ++cursor_.tallies.reconstructed;
  }
}

void MailboxReader::settle(LaneCursor& lane) const {
  const std::uint64_t told = lane.spans + lane.counters.lost_all();
  const std::uint64_t ended = lane.counters.ended;
  const std::uint64_t between = geometry().is_shared(lane.lane) ? kBetweenShared : kBetween;
  if (std::max(told, ended) - std::min(told, ended) <= between) lane.counters.ended = told;
}

std::size_t MailboxReader::open_spans(std::uint32_t lane) const {
  const runmain_open_slot* slots = memory_.slots(lane);
  std::size_t open = 0;
  for (std::uint32_t i = 0; i < geometry().open_slots; ++i) open += load(slots[i].state) != 0 ? 1 : 0;
  return open;
}

void MailboxReader::commit() {
  for (LaneCursor& lane : cursor_.lanes) {
    if (lane.stage == LaneStage::idle) continue;
    store(memory_.lane(lane.lane).read, lane.position);
    if (lane.stage == LaneStage::done) free_lane(lane);
  }
}

void MailboxReader::free_lane(LaneCursor& lane) {
  runmain_lane& shared = memory_.lane(lane.lane);
  runmain_open_slot* slots = memory_.slots(lane.lane);
  for (std::uint32_t i = 0; i < geometry().open_slots; ++i) {
    if (load(slots[i].state) != 0) store(slots[i].state, std::uint64_t{0});
  }
  for (std::uint64_t* word : {&shared.started, &shared.ended, &shared.not_sampled, &shared.cut,
                              &shared.dictionary_used, &shared.dictionary_full, &shared.open_full}) {
    store(*word, std::uint64_t{0});
  }
  for (std::uint64_t& word : shared.lost) store(word, std::uint64_t{0});
  store(shared.write, lane.position);
  store(shared.pid_started, std::uint64_t{0});
  store(shared.pid, 0U);
  store(shared.tid, 0U);
  store(shared.state, static_cast<std::uint32_t>(RUNMAIN_LANE_FREE));
  end_round(lane);
}

}  // namespace runmain::telemetry

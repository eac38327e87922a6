// How lanes are found and followed. Their records: mailbox_records.cpp; their end: mailbox_end.cpp.
#include "telemetry/mailbox_reader.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace runmain::telemetry {

Result<MailboxReader> MailboxReader::open(os::UniqueFd fd, MailboxCursor cursor) {
  auto memory = MailboxMemory::open(std::move(fd), cursor.geometry);
  if (!memory) return memory.error();
  return MailboxReader(std::move(*memory), std::move(cursor));
}

MailboxReader::MailboxReader(MailboxMemory memory, MailboxCursor cursor)
    : memory_(std::move(memory)), cursor_(std::move(cursor)) {
  cursor_.geometry = memory_.geometry();
  const std::uint32_t lanes = cursor_.geometry.lane_count;
  views_.resize(lanes);
  slot_of_.resize(lanes);
  std::erase_if(cursor_.lanes, [&](const LaneCursor& lane) { return lane.lane >= lanes; });
  for (std::size_t i = 0; i < cursor_.lanes.size(); ++i) {
    slot_of_[cursor_.lanes[i].lane] = static_cast<std::uint32_t>(i + 1);
  }
  // One that was about to be freed may be somebody else's by now, and of one that was never wholly taken
  // nothing was read.
  for (LaneCursor& lane : cursor_.lanes) {
    if (lane.stage != LaneStage::done) continue;
    if (lane.pid_started == 0) end_round(lane);
    look_at(lane);
  }
}

void MailboxReader::prepare(std::size_t max_bytes) {
  max_bytes = std::max<std::size_t>(max_bytes, RUNMAIN_RECORD_MAX);
  if (max_bytes != buffer_size_) {
    buffer_.reset(new char[max_bytes]);
    buffer_size_ = max_bytes;
  }
  used_ = 0;
  items_.clear();
  repaired_.clear();
  old_dictionaries_.clear();
}

void MailboxReader::let_go_of_memory() {
  used_ = buffer_size_ = 0;
  buffer_.reset();
  std::vector<Item>().swap(items_);
  std::deque<std::string>().swap(repaired_);
  std::vector<std::unique_ptr<Dictionary>>().swap(old_dictionaries_);
}

std::size_t MailboxReader::memory() const { return buffer_size_ + items_.capacity() * sizeof(Item); }

std::string_view MailboxReader::copy(const char* from, std::size_t size) {
  size = std::min(size, room());
  char* to = buffer_.get() + used_;
  std::memcpy(to, from, size);
  used_ += size;
  return {to, size};
}

// Lanes that have got memory since the last look.
void MailboxReader::find_lanes() {
  const std::uint32_t lanes = geometry().lane_count;
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    if (slot_of_[lane] != 0) continue;
    lane = memory_.next_with_memory(lane);
    if (lane >= lanes) return;
    if (slot_of_[lane] != 0) continue;
    LaneCursor found;
    found.lane = lane;
    // Another reader may have been here, whose cursor is lost.
    found.position = load(memory_.lane(lane).read);
    found.adopted = found.position > 0;
    cursor_.lanes.push_back(found);
    slot_of_[lane] = static_cast<std::uint32_t>(cursor_.lanes.size());
  }
}

std::span<const Item> MailboxReader::drain(std::size_t max_bytes) {
  store(memory_.header().asleep, 0U);
  prepare(max_bytes);
  find_lanes();
  const auto lanes = static_cast<std::uint32_t>(cursor_.lanes.size());
  for (LaneCursor& lane : cursor_.lanes) view(lane).at_end = false;
  has_more_ = false;
  bool more = lanes > 0;
  while (more && !has_more_) {
    more = false;
    for (std::uint32_t i = 0; i < lanes; ++i) {
      has_more_ = is_full();
      if (has_more_) break;
      cursor_.next = (cursor_.next + 1) % lanes;
      LaneCursor& lane = cursor_.lanes[cursor_.next];
      if (look_at(lane) && read_some(lane)) more = true;
    }
  }
  for (LaneCursor& lane : cursor_.lanes) count(lane);
  count_no_lane();
  finish_lanes();
  return items_;
}

void MailboxReader::count_unread() {
  find_lanes();
  for (LaneCursor& lane : cursor_.lanes) {
    look_at(lane);
    count(lane);
  }
  count_no_lane();
}

void MailboxReader::count_no_lane() {
  MailboxTallies& tallies = cursor_.tallies;
  const std::uint64_t now = load(memory_.header().no_lane);
  if (tallies.no_lane_unlikely || now <= tallies.no_lane) return;
  if (now - tallies.no_lane <= kCounterStepMax) {
    tallies.no_lane = std::min(now, kCounterMax);
  } else {
    tallies.no_lane_unlikely = true;
    ++tallies.unlikely;
  }
}

// Whether there may be something to read in the lane.
bool MailboxReader::look_at(LaneCursor& lane) {
  if (lane.stage == LaneStage::aside) return false;
  const runmain_lane& shared = memory_.lane(lane.lane);
  const std::uint32_t state = load(shared.state);
  const std::uint64_t pid_started = load(shared.pid_started);
  const std::uint32_t round = load(shared.round);
  const bool another = round != lane.round || pid_started != lane.pid_started;
  if (lane.stage == LaneStage::done) {
    if (state != RUNMAIN_LANE_FREE && !another) return false;
    end_round(lane);  // it was freed, and that was not saved
  }
  if (state == RUNMAIN_LANE_FREE) {
    if (lane.stage != LaneStage::idle) end_round(lane);
    return false;
  }
  if (state != RUNMAIN_LANE_TAKEN && state != RUNMAIN_LANE_CLOSED) {
    lane.round = round;  // whose it says to be, so that it has an end with that process
    lane.pid_started = pid_started;
    lane.pid = load(shared.pid);
    put_aside(lane, "a state that is none");
    return false;
  }
  if (lane.stage == LaneStage::idle || another) {
    if (pid_started == 0) {  // it is being taken
      has_half_taken_ = true;
      return false;
    }
    if (lane.stage != LaneStage::idle) end_round(lane);
    begin_round(lane, round, pid_started);
  }
  view(lane).closed = state == RUNMAIN_LANE_CLOSED;
  return lane.stage == LaneStage::reading || lane.stage == LaneStage::gone;
}

void MailboxReader::begin_round(LaneCursor& lane, std::uint32_t round, std::uint64_t pid_started) {
  const runmain_lane& shared = memory_.lane(lane.lane);
  lane.stage = LaneStage::reading;
  lane.round = round;
  lane.pid_started = pid_started;
  lane.pid = load(shared.pid);
  lane.mode = load(shared.mode);
  if (lane.mode > RUNMAIN_LANE_BY_CHECKSUM) put_aside(lane, "a mode that is none");
  if (lane.position % RUNMAIN_RECORD_ALIGN != 0) put_aside(lane, "a position that is not aligned");
}

// Somebody else will have the lane.
void MailboxReader::end_round(LaneCursor& lane) {
  cursor_.tallies.counters.add(lane.believed());
  LaneCursor next;
  next.lane = lane.lane;
  next.position = lane.position;
  next.round = lane.round;
  lane = next;
  LaneView fresh;
  std::swap(view(lane), fresh);
  old_dictionaries_.push_back(std::move(fresh.dictionary));
}

void MailboxReader::put_aside(LaneCursor& lane, const std::string& reason) {
  if (lane.stage == LaneStage::aside) return;
  lane.stage = LaneStage::aside;
  ++cursor_.tallies.lanes_aside;
  faults_.push_back({lane.lane, reason});
}

bool MailboxReader::fall_asleep() {
  // A writer writes first and looks at `asleep` then; we the other way round. One of us has to see the other:
  // this is a full barrier of ours, and as writers have none, membarrier(2) puts one in the middle of theirs.
  std::atomic_ref<std::uint32_t>(memory_.header().asleep).exchange(1U, std::memory_order_seq_cst);
  syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
  if (!something_there()) return true;
  store(memory_.header().asleep, 0U);
  return false;
}

bool MailboxReader::something_there() {
  find_lanes();
  for (const LaneCursor& lane : cursor_.lanes) {
    const runmain_lane& shared = memory_.lane(lane.lane);
    if (lane.stage == LaneStage::aside || lane.stage == LaneStage::done) continue;
    if (lane.stage == LaneStage::gone) return true;
    const std::uint32_t state = load(shared.state);
    if (state == RUNMAIN_LANE_FREE) continue;
    if (lane.stage == LaneStage::idle) {
      if (load(shared.pid_started) != 0) return true;
      continue;
    }
    if (state == RUNMAIN_LANE_CLOSED && !view(lane).pinned) return true;
    if (lane.mode == RUNMAIN_LANE_BY_POSITION) {
      if (load(shared.write) != lane.position) return true;
      continue;
    }
    const std::uint64_t ring = geometry().ring_size;
    const std::uint64_t at = lane.position % ring;
    const std::uint64_t size = std::min<std::uint64_t>(RUNMAIN_RECORD_MAX, ring - at);
    const std::string bytes(memory_.ring(lane.lane) + at, size);
    if (skipped_at_end(lane.position, ring) > 0 ||
        cut_by_checksum(bytes, lane.position, ring).what != CutKind::none) {
      return true;
    }
  }
  return false;
}

bool MailboxReader::at_rest() const {
  return std::all_of(cursor_.lanes.begin(), cursor_.lanes.end(),
                     [](const LaneCursor& lane) { return lane.stage == LaneStage::idle; });
}

MailboxTallies MailboxReader::tallies() const {
  MailboxTallies all = cursor_.tallies;
  for (const LaneCursor& lane : cursor_.lanes) all.counters.add(lane.believed());
  return all;
}

std::uint64_t MailboxReader::unread_spans() const {
  const MailboxTallies all = tallies();
  const std::uint64_t gone = all.counters.lost_all() + all.spans - all.requested;
  return all.counters.ended - std::min(all.counters.ended, gone);
}

}  // namespace runmain::telemetry

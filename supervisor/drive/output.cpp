#include "drive/output.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <set>

namespace runmain::drive {
namespace {

constexpr Duration kFlushStep = std::chrono::milliseconds(20);
constexpr std::uint32_t kColoursMax = 8;

bool any(const std::array<std::uint64_t, keeper::kDirtyWords>& bits) {
  return std::any_of(bits.begin(), bits.end(), [](std::uint64_t word) { return word != 0; });
}

void set(std::array<std::uint64_t, keeper::kDirtyWords>& bits, std::uint32_t ring) {
  bits[ring / 64] |= 1ULL << (ring % 64);
}

void write_event(int fd) {
  const std::uint64_t one = 1;
  (void)!write(fd, &one, sizeof one);  // it can only fail because it is set already
}

}  // namespace

Output::Output(os::Loop& loop, keeper::Board* board, const OutputFds& fds, OutputTerminal& terminal,
               Tell tell)
    : loop_(loop),
      board_(board),
      fds_(fds),
      terminal_(terminal),
      tell_(std::move(tell)),
      reader_(board, fds.rings),
      record_(board),
      history_(fds.history) {
  if (fds_.output_event >= 0) {
    event_poll_ = loop_.poll(fds_.output_event, os::kReadable, [this](int) { on_output_event(); });
  }
  next_turn_ = loop_.timer([this] { on_output_event(); });
  retry_ = loop_.timer([this] { retry_logs(); });
  quiet_ = loop_.timer([this] { quiet(); });
  terminal_.on_room([this] {
    resume(held_by_terminal_);
    on_output_event();
  });
}

Output::~Output() { terminal_.on_room(nullptr); }

void Output::configure(const Services& services) {
  for (auto& [id, service] : services_) service.configured = false;
  bare_ = services.size() == 1 && services.front().second.workers <= 1;
  bare_pty_ = bare_ && services.front().second.pty;
  label_width_ = 0;
  std::uint32_t colour = 0;
  for (const auto& [id, spec] : services) {
    Service& service = services_[id.value];
    service = Service{id, spec.name, spec.workers > 1, true, colour, nullptr};
    colour += std::clamp(spec.workers, 1U, kColoursMax);
    const std::uint32_t last_slot = spec.workers > 1 ? spec.workers - 1 : 0;
    label_width_ = std::max(label_width_, output_label(spec.name, service.numbered, last_slot).size());
    if (spec.log.file.empty()) continue;
    Log& log = logs_[spec.log.file];
    if (!log.file) log.file = std::make_unique<OutputFile>(spec.log.file);
    log.file->configure(spec.log.max_size, spec.log.keep);
    service.log = &log;
  }
  prune();
}

// Services that are gone, but for those that still have a ring; and the logs that are nobody's.
void Output::prune() {
  std::set<std::uint32_t> in_use;
  for (const keeper::RingLine& line : board_->rings) {
    if (line.used.load() != 0) in_use.insert(line.service.load());
  }
  std::erase_if(services_, [&](const auto& s) { return !s.second.configured && !in_use.contains(s.first); });
  std::set<const Log*> used;
  for (const auto& [id, service] : services_) used.insert(service.log);
  std::erase_if(logs_, [&](const auto& log) { return !used.contains(&log.second); });
}

Output::Service& Output::service_of(ServiceId id) {
  const auto [found, fresh] = services_.try_emplace(id.value);
  if (fresh)
    found->second = Service{id, "service-" + std::to_string(id.value), true, false, id.value, nullptr};
  return found->second;
}

void Output::recover() {
  if (const auto unfinished = record_.recover()) {
    if (unfinished->place.in_history()) {
      history_.cut(unfinished->service, unfinished->place.offset);
    } else if (std::none_of(logs_.begin(), logs_.end(),
                            [&](auto& log) { return log.second.file->cut(unfinished->place); })) {
      tell_("a log file that was being written is gone; its last lines may be in it twice, ignoring");
    }
  }
  record_.abandon();
  mark_used();
  write_event(fds_.space_event);  // the dead head may have made room and not said so
  on_output_event();
}

void Output::mark_used() {
  for (std::uint32_t ring = 0; ring < keeper::kRings; ++ring) {
    if (board_->rings[ring].used.load(std::memory_order_acquire) != 0) set(pending_, ring);
  }
}

void Output::resume(Bits& held) {
  for (std::uint32_t word = 0; word < keeper::kDirtyWords; ++word)
    pending_[word] |= std::exchange(held[word], 0);
}

void Output::gather() {
  for (std::uint32_t word = 0; word < keeper::kDirtyWords; ++word) {
    if (board_->dirty[word].load() != 0) pending_[word] |= board_->dirty[word].exchange(0);
  }
  if (!terminal_.active()) resume(held_by_terminal_);
}

bool Output::on_output_event() {
  std::uint64_t count = 0;
  if (fds_.output_event >= 0) (void)!read(fds_.output_event, &count, sizeof count);
  board_->head_asleep.store(0);
  if (!carry(os::Loop::now() + kOutputTurn) && fall_asleep()) return false;
  next_turn_->set(os::Loop::now());
  return true;
}

// Each ring with something gets a slice, round after round, beginning behind the last one. True if time is
// over before the work.
bool Output::carry(Time until) {
  for (gather(); any(pending_); gather()) {
    const Bits round = pending_;
    const std::uint32_t first = next_ring_ / 64;
    const std::uint64_t behind = ~0ULL << (next_ring_ % 64);
    for (std::uint32_t i = 0; i <= keeper::kDirtyWords; ++i) {
      const std::uint32_t word = (first + i) % keeper::kDirtyWords;
      std::uint64_t bits = round[word];
      if (i == 0) bits &= behind;
      if (i == keeper::kDirtyWords) bits &= ~behind;
      for (; bits != 0; bits &= bits - 1) {
        const auto ring = word * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bits));
        carry_ring(ring);
        if (os::Loop::now() < until) continue;
        next_ring_ = (ring + 1) % keeper::kRings;
        return any(pending_);
      }
    }
  }
  return false;
}

void Output::carry_ring(std::uint32_t ring) {
  pending_[ring / 64] &= ~(1ULL << (ring % 64));
  const Pumped pumped = pump(ring);
  if (pumped == Pumped::more) set(pending_, ring);
  if (pumped == Pumped::held_by_terminal) set(held_by_terminal_, ring);
  if (pumped == Pumped::held_by_log) set(held_by_log_, ring);
}

// The keeper looks at head_asleep after it has set a dirty bit, we look at the bits after we have set it: one
// of the two sees the other.
bool Output::fall_asleep() {
  board_->head_asleep.store(1);
  gather();
  if (any(pending_)) {
    board_->head_asleep.store(0);
    return false;
  }
  reader_.release();
  batch_.clear();
  batch_.release();
  terminal_.release();
  if (shown_.capacity() > kOutputLineMax) std::string().swap(shown_);
  return true;
}

void Output::retry_logs() {
  retry_armed_ = false;
  for (auto& [path, log] : logs_) log.resting = false;
  resume(held_by_log_);
  on_output_event();
}

bool Output::flush(Duration at_most) {
  const Time until = os::Loop::now() + at_most;
  for (;;) {
    mark_used();
    for (auto& [path, log] : logs_) log.resting = false;
    carry(until);
    const bool out = terminal_.flush(std::min(kFlushStep, until - os::Loop::now()));
    if (out) resume(held_by_terminal_);
    if (out && !any(pending_) && !any(held_by_log_)) return true;
    if (os::Loop::now() >= until) return false;
    if (any(held_by_log_)) ::poll(nullptr, 0, static_cast<int>(to_ms(kFlushStep)));
    resume(held_by_log_);
  }
}

std::vector<OutputLine> Output::recent_of(const Service& service, std::size_t count) {
  constexpr std::size_t kTypicalLine = 256;
  std::vector<OutputLine> lines;
  const std::size_t most = service.log != nullptr ? kRecentBytesMax : kHistoryRoom;
  for (std::size_t limit = std::min(most, (count + 16) * kTypicalLine);; limit = most) {
    const std::string text =
        service.log != nullptr ? service.log->file->tail(limit) : history_.lines(service.id, limit);
    std::string_view left = text;
    lines.clear();
    while (!left.empty() && lines.size() < count) {
      left.remove_suffix(left.back() == '\n' ? 1 : 0);
      const std::size_t from = left.rfind('\n') + 1;  // npos + 1 is 0
      if (auto line = parse_output_line(left.substr(from), service.name)) lines.push_back(std::move(*line));
      left = left.substr(0, from);
    }
    if (lines.size() >= count || limit >= most) break;
  }
  for (OutputLine& line : lines) line.service = service.id;
  std::reverse(lines.begin(), lines.end());
  return lines;
}

std::vector<OutputLine> Output::recent(const std::vector<ServiceId>& services, std::size_t count) {
  std::vector<OutputLine> all;
  for (const ServiceId id : services) {
    const auto found = services_.find(id.value);
    if (found == services_.end()) continue;
    for (OutputLine& line : recent_of(found->second, count)) all.push_back(std::move(line));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.time_ns < b.time_ns; });
  if (all.size() > count) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(count));
  return all;
}

}  // namespace runmain::drive

// Reads what a worker's processes have left in their mailbox (child_runtime/mailbox.h), as hostile bytes.
//
//     auto reader = MailboxReader::open(fd, cursor);   // cursor: of the reader before, or none
//     for (const Item& item : reader->drain(1 << 20)) …
//     save(reader->cursor());
//     reader->commit();                                // only now writers may overwrite it
//
// Invariant: bytes are copied first and checked then; every Item is valid OTLP. A lane that lies is put aside
// with a reason, and the others go on. What was handed out and saved is not handed out again; what was not
// saved is. Thread: one. Non-goal: whether a process lives, and why it does not; the caller says so.
//
// What is taken for agreed with writers, beyond the header's comments:
// - Who takes a lane writes pid, tid, mode and round before pid_started; nothing of the lane is read before
// that.
// - It goes on where `write` stands. Who frees a lane (we do) sets write = read, the slots' states, the
// counters
//   and dictionary_used to 0: a writer only adds to its counters.
// - Where less than a header fits before the end of the ring, nothing stands: both skip it.
// - The checksum of a pad is over its header alone.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"
#include "telemetry/item.hpp"
#include "telemetry/mailbox_cursor.hpp"
#include "telemetry/mailbox_memory.hpp"

namespace runmain::telemetry {

// Lanes of living processes that are kept although their thread has ended, because spans of it are still
// open. Beyond this part of all lanes they are freed, and those spans are forgotten.
inline constexpr std::uint32_t kPinnedPart = 2;

// Items that a drain() gives, and of one record of a request, as an empty log record is two bytes and valid:
// a drain ends once it has so many, and what of a record is over it is counted as invalid. A span has more
// bytes than a record has for each of them.
inline constexpr std::size_t kDrainItemsMax = 16U << 10U;

inline constexpr Duration kLookAgain = std::chrono::milliseconds(100);

struct LaneFault {
  std::uint32_t lane = 0;
  std::string reason;
};

class MailboxReader {
 public:
  // On failure why the mailbox is refused, as MailboxMemory::open() says. `fd` is of the caller's making and
  // becomes ours.
  static Result<MailboxReader> open(os::UniqueFd fd, MailboxCursor cursor = {});

  MailboxReader(MailboxReader&&) = default;
  MailboxReader& operator=(MailboxReader&&) = default;
  ~MailboxReader() = default;

  // Copies at most `max_bytes` (not less than RUNMAIN_RECORD_MAX) out of the lanes, in turn; of items it
  // gives less than twice kDrainItemsMax, and spans that were open. They are views that hold until the next
  // call.
  std::span<const Item> drain(std::size_t max_bytes);
  // Whether the last drain() ended because of its limit.
  bool has_more() const { return has_more_; }

  // Takes the writers' counters, also of what is not read yet, into tallies().
  void count_unread();

  // Tells the writers what they may overwrite, and frees lanes of which all was read. To be called once
  // cursor() and the items are where our own death does not reach them.
  void commit();

  // Asks of each process that has a lane whether it is gone. `pid_started` as in /proc/PID/stat, 0 where it
  // had no time to say it; its answer is empty while it lives. What such a process has left comes with the
  // next drain(), its open spans at the end.
  using Ask = std::function<std::optional<Ending>(std::uint32_t pid, std::uint64_t pid_started)>;
  void find_gone(const Ask& ask);
  // Whether somebody was in the middle of taking a lane when we looked last.
  bool has_half_taken() const { return has_half_taken_; }

  // Writers wake us from now on (by the wake fd). False, and they do not: something is there already. Where
  // membarrier(2) is refused, and for writers by pwrite(2), the caller looks again after kLookAgain all the
  // same.
  bool fall_asleep();

  // Gives back what the last drain() took: its items are gone. To be called when there is nothing to read, or
  // not soon.
  void let_go_of_memory();
  // For tests and bounds: what is held between two drains.
  std::size_t memory() const;

  // No lane is anybody's and nothing is left to read or free: once its worker is gone, so may the mailbox.
  bool at_rest() const;

  // Whether a process may take a lane without a wake.
  bool is_by_path() const { return load(memory_.header().by_path) != 0; }

  const MailboxCursor& cursor() const { return cursor_; }
  const Geometry& geometry() const { return cursor_.geometry; }
  MailboxTallies tallies() const;
  // Spans that their writers say to have ended and that are not read: at rest 0.
  std::uint64_t unread_spans() const;
  std::vector<LaneFault> take_faults() { return std::exchange(faults_, {}); }

 private:
  struct Entry {
    std::uint16_t kind = 0;
    std::string_view schema;
    std::string_view payload;
  };
  struct Dictionary {
    std::uint64_t used = 0;  // bytes that were copied
    std::deque<std::string> bytes;
    std::vector<Entry> entries;
  };
  // Of a lane in our memory only.
  struct LaneView {
    bool closed = false;
    bool at_end = false;
    bool pinned = false;
    std::unique_ptr<Dictionary> dictionary = std::make_unique<Dictionary>();
  };

  explicit MailboxReader(MailboxMemory memory, MailboxCursor cursor);

  LaneView& view(const LaneCursor& lane) { return views_[lane.lane]; }
  std::size_t room() const { return buffer_size_ - used_; }
  bool is_full() const { return room() < RUNMAIN_RECORD_MAX || items_.size() >= kDrainItemsMax; }
  std::string_view copy(const char* from, std::size_t size);
  void prepare(std::size_t max_bytes);
  void find_lanes();
  bool look_at(LaneCursor& lane);
  void begin_round(LaneCursor& lane, std::uint32_t round, std::uint64_t pid_started);
  void end_round(LaneCursor& lane);
  void put_aside(LaneCursor& lane, const std::string& reason);

  bool read_some(LaneCursor& lane);
  bool read_by_position(LaneCursor& lane);
  bool read_by_checksum(LaneCursor& lane);
  void take(LaneCursor& lane, const Cut& cut);
  void take_item(LaneCursor& lane, Signal signal, std::string_view payload);
  void take_request(LaneCursor& lane, std::string_view payload);
  enum class By : std::uint8_t { record, request };
  void add(LaneCursor& lane, Item item, By by);
  void add_invalid(LaneCursor& lane, Signal signal, By by);
  void count_span(LaneCursor& lane, By by);
  Origin origin_of(LaneCursor& lane, std::uint32_t scope);
  bool refresh_dictionary(LaneCursor& lane);
  Entry usable_entry(const Entry& raw, Dictionary& dictionary);
  Origin scope_of(LaneCursor& lane, std::uint32_t scope);

  void count(LaneCursor& lane);
  bool is_plausible(const LaneCursor& lane, const LaneCounters& now, std::uint64_t lost_before) const;
  void count_no_lane();
  void find_half_taken(const Ask& ask);
  void is_gone(const LaneCursor& process);
  void finish_lanes();
  void finish_process(const LaneCursor& one);
  void reconstruct(LaneCursor& lane, const std::vector<SpanIds>& ended);
  void settle(LaneCursor& lane) const;
  std::size_t open_spans(std::uint32_t lane) const;
  void free_lane(LaneCursor& lane);
  bool something_there();

  MailboxMemory memory_;
  MailboxCursor cursor_;
  std::vector<LaneView> views_;         // a lane
  std::vector<std::uint32_t> slot_of_;  // of a lane in cursor_.lanes, plus 1
  std::unique_ptr<char[]> buffer_;
  std::size_t buffer_size_ = 0;
  std::size_t used_ = 0;
  bool has_more_ = false;
  bool has_half_taken_ = false;
  std::vector<Item> items_;
  std::deque<std::string> repaired_;
  std::vector<std::unique_ptr<Dictionary>> old_dictionaries_;  // items may still point there
  std::vector<LaneFault> faults_;
};

}  // namespace runmain::telemetry

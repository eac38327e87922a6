// A queue on disk: what is in it survives its process, and it is bounded. For requests that no destination
// takes, and for all of them where nothing may be lost with the observer.
//
//     push, push, …            each record gets a number, higher than all before
//     next, next, …            hands each out once, oldest first
//     done(number)             in any order; what is not done is handed out again after a restart
//
// A folder of segments ("0000000000000001.spill"), to which records are appended: u32 magic, u32 length, u32
// items, u32 CRC-32C of all the rest, u64 number, payload. The file "read" says how far they are done, and
// which were handed out. Invariant: over the limit the oldest segment goes, counted; a record that a death
// cut off is cut off for good. Thread: one. Non-goal: power cuts (nothing is synced), and more than one
// process at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "os/linux/fd.hpp"
#include "telemetry/destination.hpp"
#include "telemetry/ledger.hpp"

namespace runmain::telemetry {

struct SpillLimits {
  std::uint64_t bytes = 256U << 20U;  // of all segments
  std::uint64_t segment = 8U << 20U;  // a new one begins beyond it
  std::uint64_t record = 72U << 20U;  // a longer one is refused
};

struct SpillTallies {
  std::uint64_t pushed = 0;
  std::uint64_t done = 0;
  std::uint64_t dropped_records = 0;  // over the limit
  std::uint64_t dropped_items = 0;
  std::uint64_t damaged_records = 0;  // cut off, or of another checksum
  std::uint64_t damaged_items = 0;    // as far as they tell
};

class Spill {
 public:
  // `folder` is there and nobody else's. On failure the errno.
  static Result<Spill> open(std::string folder, SpillLimits limits = {});

  // Told of each record that is lost: spill_full or spill_damaged, the first bytes of its payload (perhaps
  // damaged, at most kSpillBegin), and its items.
  using Lost = std::function<void(Drop reason, std::string_view begin, std::uint32_t items)>;
  void on_lost(Lost lost) { lost_ = std::move(lost); }

  // Appends. Its number; on failure the errno (ENOSPC), and nothing has changed.
  Result<std::uint64_t> push(std::string_view payload, std::uint32_t items);

  struct Record {
    std::uint64_t number = 0;
    std::string payload;
    std::uint32_t items = 0;
    bool again = false;  // it was handed out before a restart
  };
  // The oldest one that was not handed out; nothing if there is none.
  std::optional<Record> next();
  // It needs no more be kept. Numbers that are not handed out are ignored.
  void done(std::uint64_t number);
  // Those that are done and would be handed out again after a restart: an older one is not done yet.
  std::vector<std::uint64_t> done_early() const;

  // Cuts off what was pushed after this number, so that it can be pushed anew: for a caller that died before
  // it saved how far it had come. Requires that nothing was handed out since open(). Returns how many
  // records.
  std::uint64_t forget_after(std::uint64_t number);
  std::uint64_t last_number() const { return last_number_; }

  bool empty() const { return records_ == 0; }
  std::uint64_t records() const { return records_; }  // not done
  std::uint64_t items() const { return items_; }
  std::uint64_t bytes() const { return bytes_; }  // on disk
  const SpillTallies& tallies() const { return tallies_; }

 private:
  struct Head {
    std::uint32_t magic = 0;
    std::uint32_t length = 0;
    std::uint32_t items = 0;
    std::uint32_t checksum = 0;
    std::uint64_t number = 0;
  };
  struct Segment {
    std::uint64_t name = 0;
    std::uint64_t size = 0;
    std::uint64_t records = 0;  // not done
    std::uint64_t items = 0;
    std::uint64_t waiting = 0;  // of these: not handed out
    os::UniqueFd fd;
  };
  struct Flight {
    std::uint64_t number = 0;
    std::uint64_t segment = 0;
    std::uint64_t end = 0;  // offset behind it
    std::uint32_t items = 0;
    bool done = false;
  };

  Spill(std::string folder, SpillLimits limits) : folder_(std::move(folder)), limits_(limits) {}

  std::string path_of(std::uint64_t name) const;
  Result<void> load();
  void load_position();
  Result<void> load_segment(std::uint64_t name);
  Result<void> cut(Segment& segment, std::uint64_t size) const;
  Result<void> begin_segment();
  void save_position();
  void drop_first();
  void drop_over_limit();
  void drop_rest(std::size_t index);
  void add(Segment& segment, const Head& head, std::int64_t sign);
  void advance();
  void lose(Drop reason, std::string_view payload, std::uint32_t items);
  std::optional<Head> head_at(const Segment& segment, std::uint64_t offset) const;
  std::optional<std::string> payload_at(const Segment& segment, std::uint64_t offset, const Head& head) const;

  std::string folder_;
  SpillLimits limits_;
  Lost lost_;
  std::deque<Segment> segments_;  // oldest first
  std::uint64_t read_segment_ = 0;
  std::uint64_t read_offset_ = 0;   // in the first segment: what is before is done
  std::uint64_t next_segment_ = 0;  // from where next() goes on
  std::uint64_t next_offset_ = 0;
  std::deque<Flight> flights_;           // handed out, in order
  std::uint64_t handed_out_ = 0;         // the highest number
  std::uint64_t handed_out_before_ = 0;  // of those before us
  std::uint64_t last_name_ = 0;
  std::uint64_t last_number_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t items_ = 0;
  std::uint64_t bytes_ = 0;
  os::UniqueFd position_;
  SpillTallies tallies_;
};

inline constexpr std::size_t kSpillBegin = 64;

// A parcel as bytes and back. Of its first kSpillBegin bytes unpack() gives all but the request's bytes.
std::string pack(const Parcel& parcel);
std::optional<Parcel> unpack(std::string_view bytes);

}  // namespace runmain::telemetry

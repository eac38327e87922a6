// A queue on disk for requests that no destination takes: it survives its process, and is bounded.
//
// A folder of segments ("0000000000000001.spill"), to which records are appended: u32 magic, u32 length, u32
// items, u32 CRC-32C of length, items and payload, payload. The file "read" says how far they were taken.
// Invariant: over the limit the oldest segment goes, counted; a record that a death cut off is cut off for
// good. Thread: one. Non-goal: power cuts (nothing is synced), and more than one process at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "os/linux/fd.hpp"
#include "telemetry/destination.hpp"

namespace runmain::telemetry {

struct SpillLimits {
  std::uint64_t bytes = 256U << 20U;  // of all segments
  std::uint64_t segment = 8U << 20U;  // a new one begins beyond it
  std::uint64_t record = 72U << 20U;  // a longer one is refused
};

struct SpillTallies {
  std::uint64_t pushed = 0;
  std::uint64_t popped = 0;
  std::uint64_t dropped_records = 0;  // over the limit
  std::uint64_t dropped_items = 0;
  std::uint64_t damaged_records = 0;  // cut off, or of another checksum
  std::uint64_t damaged_items = 0;    // as far as they tell
};

class Spill {
 public:
  // `folder` is there and nobody else's. On failure the errno.
  static Result<Spill> open(std::string folder, SpillLimits limits = {});

  // Appends. On failure the errno (ENOSPC); nothing has changed then.
  Result<void> push(std::string_view payload, std::uint32_t items);

  struct Record {
    std::string payload;
    std::uint32_t items = 0;
  };
  // The oldest one, which stays; nothing if there is none.
  std::optional<Record> front();
  // The one that front() has given is done with.
  void pop();

  bool empty() const { return records_ == 0; }
  std::uint64_t records() const { return records_; }
  std::uint64_t items() const { return items_; }
  std::uint64_t bytes() const { return bytes_; }
  const SpillTallies& tallies() const { return tallies_; }

 private:
  struct Segment {
    std::uint64_t number = 0;
    std::uint64_t size = 0;
    std::uint64_t records = 0;  // not yet taken
    std::uint64_t items = 0;
    os::UniqueFd fd;
  };
  struct Head {
    std::uint32_t magic = 0;
    std::uint32_t length = 0;
    std::uint32_t items = 0;
    std::uint32_t checksum = 0;
  };

  Spill(std::string folder, SpillLimits limits) : folder_(std::move(folder)), limits_(limits) {}

  std::string path_of(std::uint64_t number) const;
  Result<void> load();
  void load_position();
  Result<void> load_segment(std::uint64_t number);
  Result<void> begin_segment();
  void save_position();
  void drop_first();
  void step(const Head& head);
  std::optional<Head> head_at(const Segment& segment, std::uint64_t offset) const;
  bool is_whole(const Segment& segment, std::uint64_t offset, const Head& head) const;

  std::string folder_;
  SpillLimits limits_;
  std::deque<Segment> segments_;  // oldest first
  std::uint64_t read_segment_ = 0;
  std::uint64_t read_offset_ = 0;  // in the first segment
  std::uint64_t last_number_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t items_ = 0;
  std::uint64_t bytes_ = 0;
  os::UniqueFd position_;
  SpillTallies tallies_;
};

// A parcel as bytes and back.
std::string pack(const Parcel& parcel);
std::optional<Parcel> unpack(std::string_view bytes);

}  // namespace runmain::telemetry

// What the bytes of a mailbox mean (child_runtime/mailbox.h), as pure functions over bytes that were copied
// out of it before.
//
// Invariant: nothing here reads beyond the bytes that it is given, whatever they say. Non-goal: memory that
// is shared (mailbox_memory.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "child_runtime/mailbox.h"

namespace runmain::telemetry {

// Bounds for the header of a stranger.
inline constexpr std::uint32_t kLanesMax = 4096;
inline constexpr std::uint64_t kRingMax = 1ULL << 30U;
inline constexpr std::uint32_t kDictionaryMax = 1U << 20U;
inline constexpr std::uint32_t kOpenSlotsMax = 1U << 16U;
inline constexpr std::uint64_t kMailboxMax = 1ULL << 36U;

struct Geometry {
  std::uint16_t minor = 0;
  std::uint32_t header_size = 0;
  std::uint32_t lane_count = 0;
  std::uint32_t lanes_shared = 0;
  std::uint64_t lane_stride = 0;
  std::uint32_t dictionary_size = 0;
  std::uint32_t open_slots = 0;
  std::uint64_t ring_size = 0;
  std::string instance_id;

  bool known() const { return lane_count > 0; }
  bool is_shared(std::uint32_t lane) const { return lane >= lane_count - lanes_shared; }
  // Offsets in the file, and in the lane.
  std::uint64_t lane_offset(std::uint32_t lane) const { return header_size + lane * lane_stride; }
  std::uint64_t slots_offset() const;
  std::uint64_t ring_offset() const;
  std::uint64_t size() const { return lane_offset(lane_count); }

  friend bool operator==(const Geometry&, const Geometry&) = default;
  template <class A>
  void fields(A& a) {
    a("minor", minor);
    a("header_size", header_size);
    a("lane_count", lane_count);
    a("lanes_shared", lanes_shared);
    a("lane_stride", lane_stride);
    a("dictionary_size", dictionary_size);
    a("open_slots", open_slots);
    a("ring_size", ring_size);
    a("instance_id", instance_id);
  }
};

// What runmain makes.
Geometry standard_geometry(const std::string& instance_id);
// Errors of read_geometry() for a version that we do not speak have this code.
inline constexpr int kUnknownVersion = -1;
// The first sizeof(runmain_mailbox) bytes of a file of `file_size`. On failure what is wrong with them.
Result<Geometry> read_geometry(std::string_view header, std::uint64_t file_size);
// Does what the header of a mailbox that was made before still fits its file.
Result<void> check_geometry(const Geometry& geometry, std::uint64_t file_size);
// The header that says this.
runmain_mailbox make_header(const Geometry& geometry);

// ---- records

constexpr std::uint64_t padded(std::uint64_t size) {
  return (size + RUNMAIN_RECORD_ALIGN - 1) / RUNMAIN_RECORD_ALIGN * RUNMAIN_RECORD_ALIGN;
}

inline constexpr std::uint64_t kEntryAlign = 8;
constexpr std::uint64_t padded_entry(std::uint64_t size) {
  return (size + kEntryAlign - 1) / kEntryAlign * kEntryAlign;
}

enum class CutKind : std::uint8_t {
  record,
  pad,      // goes to the end of the ring, or less far
  none,     // no (whole) record there yet
  partial,  // more bytes than were given belong to it
  lie,      // `reason` says of what
};

struct Cut {
  CutKind what = CutKind::none;
  std::uint64_t size = 0;  // from this record to the next
  std::uint16_t kind = 0;
  std::uint16_t version = 0;
  std::string_view payload{};
  const char* reason = "";
};

// What begins at `position`, of a lane BY_POSITION. `bytes` are a copy of what stands there, not longer than
// `available`: what the lane says to be written, at most to the end of the ring.
Cut cut_by_position(std::string_view bytes, std::uint64_t available, std::uint64_t position,
                    std::uint64_t ring_size);

// The same BY_CHECKSUM. `bytes` is a copy of up to RUNMAIN_RECORD_MAX bytes, at most to the end of the ring.
// Only a pad's header is under its checksum.
Cut cut_by_checksum(std::string_view bytes, std::uint64_t position, std::uint64_t ring_size);

std::uint32_t record_checksum(std::uint64_t position, std::uint32_t length, std::uint16_t kind,
                              std::uint16_t version, std::string_view payload);

// Bytes of which nothing but the end of the ring can follow are skipped by writer and reader: a header does
// not fit there.
constexpr std::uint64_t skipped_at_end(std::uint64_t position, std::uint64_t ring_size) {
  const std::uint64_t left = ring_size - position % ring_size;
  return left < sizeof(runmain_record) ? left : 0;
}

// ---- the dictionary

struct DictionaryEntry {
  std::uint16_t kind = 0;
  std::string_view schema;   // of a scope
  std::string_view payload;  // Resource or InstrumentationScope, unchecked
};

// The entries in these bytes, as many as are whole and not more than `limit`. `whole` tells whether that were
// all.
struct DictionaryEntries {
  std::vector<DictionaryEntry> entries;
  bool whole = true;
};
DictionaryEntries read_dictionary(std::string_view bytes, std::size_t limit);

}  // namespace runmain::telemetry

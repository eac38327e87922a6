#include "telemetry/mailbox_layout.hpp"

#include <algorithm>
#include <cstring>

#include "telemetry/crc32c.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::uint64_t kPart = 4096;  // a lane's parts begin at multiples of it

constexpr std::uint64_t round_up(std::uint64_t size) { return (size + kPart - 1) / kPart * kPart; }

Error header_fault(const std::string& what) { return Error{"the mailbox's header: " + what}; }

std::uint64_t lane_size(const Geometry& g) { return g.ring_offset() + g.ring_size; }

}  // namespace

std::uint64_t Geometry::slots_offset() const { return RUNMAIN_LANE_DICTIONARY + round_up(dictionary_size); }

std::uint64_t Geometry::ring_offset() const {
  return slots_offset() + round_up(std::uint64_t{open_slots} * sizeof(runmain_open_slot));
}

Geometry standard_geometry(const std::string& instance_id) {
  Geometry g;
  g.minor = RUNMAIN_MAILBOX_MINOR;
  g.header_size = RUNMAIN_MAILBOX_HEADER_SIZE;
  g.lane_count = RUNMAIN_MAILBOX_LANES;
  g.lanes_shared = RUNMAIN_MAILBOX_LANES_SHARED;
  g.dictionary_size = RUNMAIN_MAILBOX_DICTIONARY_SIZE;
  g.open_slots = RUNMAIN_MAILBOX_OPEN_SLOTS;
  g.ring_size = RUNMAIN_MAILBOX_RING_SIZE;
  g.lane_stride = lane_size(g);
  g.instance_id = instance_id.substr(0, RUNMAIN_MAILBOX_INSTANCE_MAX - 1);
  return g;
}

Result<Geometry> read_geometry(std::string_view bytes, std::uint64_t file_size) {
  runmain_mailbox header{};
  if (bytes.size() < sizeof header) return header_fault("it is cut off");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != RUNMAIN_MAILBOX_MAGIC) return header_fault("it is none");
  if (header.major != RUNMAIN_MAILBOX_MAJOR) {
    Error error = header_fault("version " + std::to_string(header.major) + ", and we speak " +
                               std::to_string(RUNMAIN_MAILBOX_MAJOR));
    error.code = kUnknownVersion;
    return error;
  }
  Geometry g;
  g.minor = header.minor;
  g.header_size = header.header_size;
  g.lane_count = header.lane_count;
  g.lanes_shared = header.lanes_shared;
  g.lane_stride = header.lane_stride;
  g.dictionary_size = header.dictionary_size;
  g.open_slots = header.open_slots;
  g.ring_size = header.ring_size;
  g.instance_id.assign(header.instance_id, strnlen(header.instance_id, sizeof header.instance_id));
  if (auto fits = check_geometry(g, file_size); !fits) return fits.error();
  return g;
}

Result<void> check_geometry(const Geometry& g, std::uint64_t file_size) {
  if (g.header_size < sizeof(runmain_mailbox) || g.header_size % kPart != 0 || g.header_size > (1U << 20U)) {
    return header_fault("header_size");
  }
  if (g.lane_count == 0 || g.lane_count > kLanesMax) return header_fault("lane_count");
  if (g.lanes_shared > g.lane_count) return header_fault("lanes_shared");
  if (g.dictionary_size > kDictionaryMax || g.dictionary_size % 8 != 0)
    return header_fault("dictionary_size");
  if (g.open_slots > kOpenSlotsMax) return header_fault("open_slots");
  if (g.ring_size < kPart || g.ring_size > kRingMax || (g.ring_size & (g.ring_size - 1)) != 0) {
    return header_fault("ring_size");
  }
  if (g.lane_stride % kPart != 0 || g.lane_stride < lane_size(g) ||
      g.lane_stride > kMailboxMax / g.lane_count) {
    return header_fault("lane_stride");
  }
  if (g.size() > file_size) return header_fault("it speaks of more bytes than the file has");
  return {};
}

runmain_mailbox make_header(const Geometry& g) {
  runmain_mailbox header{};
  header.magic = RUNMAIN_MAILBOX_MAGIC;
  header.major = RUNMAIN_MAILBOX_MAJOR;
  header.minor = g.minor;
  header.header_size = g.header_size;
  header.lane_count = g.lane_count;
  header.lanes_shared = g.lanes_shared;
  header.lane_stride = g.lane_stride;
  header.dictionary_size = g.dictionary_size;
  header.open_slots = g.open_slots;
  header.ring_size = g.ring_size;
  const std::size_t length = std::min<std::size_t>(g.instance_id.size(), sizeof header.instance_id - 1);
  std::memcpy(header.instance_id, g.instance_id.data(), length);
  return header;
}

std::uint32_t record_checksum(std::uint64_t position, std::uint32_t length, std::uint16_t kind,
                              std::uint16_t version, std::string_view payload) {
  char head[16];
  std::memcpy(head, &position, 8);
  std::memcpy(head + 8, &length, 4);
  std::memcpy(head + 12, &kind, 2);
  std::memcpy(head + 14, &version, 2);
  return crc32c(payload, crc32c({head, sizeof head}));
}

Cut cut_by_position(std::string_view bytes, std::uint64_t available, std::uint64_t position,
                    std::uint64_t ring_size) {
  const std::uint64_t to_end = ring_size - position % ring_size;
  if (available == 0) return {CutKind::none};
  if (const std::uint64_t skipped = skipped_at_end(position, ring_size); skipped > 0) {
    if (skipped <= available) return {CutKind::pad, skipped};
    return {CutKind::lie, 0, 0, 0, {}, "a position within a record"};
  }
  runmain_record record{};
  if (available < sizeof record) return {CutKind::lie, 0, 0, 0, {}, "a position within a record"};
  if (bytes.size() < sizeof record) return {CutKind::partial};
  std::memcpy(&record, bytes.data(), sizeof record);
  const std::uint64_t size = padded(sizeof record + std::uint64_t{record.length});
  if (size > to_end) return {CutKind::lie, 0, 0, 0, {}, "a length beyond the end of the ring"};
  if (size > available) return {CutKind::lie, 0, 0, 0, {}, "a length beyond what is written"};
  if (record.kind == RUNMAIN_RECORD_PAD) return {CutKind::pad, size, record.kind, record.version};
  if (size > RUNMAIN_RECORD_MAX) return {CutKind::lie, 0, 0, 0, {}, "a length beyond the limit"};
  if (record.kind == 0) return {CutKind::lie, 0, 0, 0, {}, "a record of no kind"};
  if (bytes.size() < size) return {CutKind::partial};
  return {CutKind::record, size, record.kind, record.version, bytes.substr(sizeof record, record.length)};
}

Cut cut_by_checksum(std::string_view bytes, std::uint64_t position, std::uint64_t ring_size) {
  const std::uint64_t to_end = ring_size - position % ring_size;
  runmain_record record{};
  if (bytes.size() < sizeof record) return {CutKind::none};
  std::memcpy(&record, bytes.data(), sizeof record);
  const std::uint64_t size = padded(sizeof record + std::uint64_t{record.length});
  const bool pad = record.kind == RUNMAIN_RECORD_PAD;
  if (record.kind == 0 || size > to_end || (!pad && (size > RUNMAIN_RECORD_MAX || size > bytes.size()))) {
    return {CutKind::none};
  }
  const std::string_view payload = pad ? std::string_view() : bytes.substr(sizeof record, record.length);
  if (record.checksum != record_checksum(position, record.length, record.kind, record.version, payload)) {
    return {CutKind::none};
  }
  return {pad ? CutKind::pad : CutKind::record, size, record.kind, record.version, payload};
}

DictionaryEntries read_dictionary(std::string_view bytes, std::size_t limit) {
  DictionaryEntries found;
  while (!bytes.empty()) {
    runmain_entry head{};
    if (bytes.size() < sizeof head || found.entries.size() == limit) {
      found.whole = false;
      return found;
    }
    std::memcpy(&head, bytes.data(), sizeof head);
    const std::uint64_t size = padded_entry(sizeof head + std::uint64_t{head.length});
    if (size > bytes.size()) {
      found.whole = false;
      return found;
    }
    DictionaryEntry entry{head.kind, {}, bytes.substr(sizeof head, head.length)};
    if (head.kind == RUNMAIN_ENTRY_SCOPE) {
      std::uint32_t schema = 0;
      constexpr std::size_t kBefore = 8;
      if (entry.payload.size() >= kBefore) std::memcpy(&schema, entry.payload.data(), sizeof schema);
      if (entry.payload.size() < kBefore || schema > entry.payload.size() - kBefore) {
        entry = {};  // it keeps its number
      } else {
        entry.schema = entry.payload.substr(kBefore, schema);
        entry.payload = entry.payload.substr(kBefore + schema);
      }
    }
    found.entries.push_back(entry);
    bytes.remove_prefix(size);
  }
  return found;
}

}  // namespace runmain::telemetry

// A mailbox and writers of it, as child_runtime/mailbox.h says: independent of child_runtime's own.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <vector>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/mailbox_memory.hpp"
#include "telemetry/mailbox_reader.hpp"

namespace runmain::telemetry::test {

inline Geometry small_geometry() {
  Geometry g = standard_geometry("instance-1");
  g.lane_count = 4;
  g.lanes_shared = 1;
  g.dictionary_size = 4096;
  g.open_slots = 8;
  g.ring_size = 4096;
  g.lane_stride = g.ring_offset() + g.ring_size;
  return g;
}

inline os::UniqueFd dup_of(const os::UniqueFd& fd) { return os::UniqueFd(dup(fd.get())); }

struct World {
  Geometry geometry;
  os::UniqueFd fd;
  MailboxMemory memory;

  explicit World(const Geometry& g = small_geometry()) : World(g, make(g)) {}
  World(const Geometry& g, os::UniqueFd made) : geometry(g), fd(std::move(made)), memory(map(fd)) {}

  MailboxReader reader(MailboxCursor cursor = {}) const {
    auto made = MailboxReader::open(dup_of(fd), std::move(cursor));
    REQUIRE(made.ok());
    return std::move(*made);
  }

  static os::UniqueFd make(const Geometry& g) {
    auto made = make_mailbox(g);
    REQUIRE(made.ok());
    return std::move(*made);
  }
  static MailboxMemory map(const os::UniqueFd& fd) {
    auto mapped = MailboxMemory::open(dup_of(fd), {});
    REQUIRE(mapped.ok());
    return std::move(*mapped);
  }
};

// What writes to one lane.
class Lane {
 public:
  Lane(const World& world, std::uint32_t number, std::uint32_t mode = RUNMAIN_LANE_BY_POSITION)
      : memory_(world.memory), number_(number), mode_(mode), lane_(memory_.lane(number)) {}

  bool take(std::uint32_t pid = 100, std::uint64_t pid_started = 7) {
    std::atomic_ref<std::uint32_t> state(lane_.state);
    std::uint32_t free = RUNMAIN_LANE_FREE;
    if (!state.compare_exchange_strong(free, RUNMAIN_LANE_TAKEN)) return false;
    lane_.pid = pid;
    lane_.tid = pid;
    lane_.mode = mode_;
    lane_.round += 1;
    store(lane_.pid_started, pid_started);
    position_ = load(lane_.write);
    entries_ = 0;
    entry(RUNMAIN_ENTRY_RESOURCE, make_resource("web"));
    return true;
  }
  void close() { store(lane_.state, static_cast<std::uint32_t>(RUNMAIN_LANE_CLOSED)); }

  // Its number.
  std::uint32_t entry(std::uint16_t kind, const std::string& payload) {
    const runmain_entry head{static_cast<std::uint32_t>(payload.size()), kind, 0};
    const std::uint64_t used = load(lane_.dictionary_used);
    char* at = const_cast<char*>(memory_.dictionary(number_)) + used;
    std::memcpy(at, &head, sizeof head);
    std::memcpy(at + sizeof head, payload.data(), payload.size());
    store(lane_.dictionary_used, used + padded_entry(sizeof head + payload.size()));
    return entries_++;
  }
  std::uint32_t scope(std::string_view name, std::string_view schema = {}) {
    std::string payload(8, '\0');
    const auto length = static_cast<std::uint32_t>(schema.size());
    std::memcpy(payload.data(), &length, sizeof length);
    payload += schema;
    payload += make_scope(name);
    return entry(RUNMAIN_ENTRY_SCOPE, payload);
  }

  // False: no room, counted.
  bool span(std::uint32_t scope, const std::string& bytes) {
    lane_count(lane_.ended);
    const bool written = record(RUNMAIN_RECORD_SPAN, scope, bytes);
    if (!written) lane_count(lane_.lost[RUNMAIN_LOST_FULL]);
    return written;
  }
  bool record(std::uint16_t kind, std::uint32_t scope, const std::string& bytes) {
    std::string payload(8, '\0');
    std::memcpy(payload.data(), &scope, sizeof scope);
    payload += bytes;
    const std::uint64_t ring = memory_.geometry().ring_size;
    const std::uint64_t size = padded(sizeof(runmain_record) + payload.size());
    const std::uint64_t to_end = ring - position_ % ring;
    const std::uint64_t fill = size > to_end ? to_end : 0;
    if (position_ + fill + size - load(lane_.read) > ring) return false;
    if (fill >= sizeof(runmain_record)) {
      put(RUNMAIN_RECORD_PAD, static_cast<std::uint32_t>(fill - sizeof(runmain_record)), {});
    }
    position_ += fill;
    put(kind, static_cast<std::uint32_t>(payload.size()), payload);
    position_ += size;
    if (mode_ == RUNMAIN_LANE_BY_POSITION) store(lane_.write, position_);
    return true;
  }

  void open(std::uint32_t slot, const std::string& trace, const std::string& span, const std::string& name,
            std::uint32_t scope) {
    runmain_open_slot& at = memory_.slots(number_)[slot];
    at.start_unix_nano = 500;
    std::memcpy(at.trace_id, trace.data(), 16);
    std::memcpy(at.span_id, span.data(), 8);
    at.scope = scope;
    at.kind = 2;
    at.name_length = static_cast<std::uint32_t>(name.size());
    std::memcpy(at.name, name.data(), std::min<std::size_t>(name.size(), sizeof at.name));
    store(at.state, std::uint64_t{2});
    lane_count(lane_.started);
  }

  runmain_lane& words() { return lane_; }
  char* ring() { return const_cast<char*>(memory_.ring(number_)); }
  std::uint64_t position() const { return position_; }
  static void lane_count(std::uint64_t& word) { store(word, word + 1); }

 private:
  void put(std::uint16_t kind, std::uint32_t length, const std::string& payload) {
    runmain_record head{length, kind, 0, 0, 0};
    if (mode_ == RUNMAIN_LANE_BY_CHECKSUM)
      head.checksum = record_checksum(position_, length, kind, 0, payload);
    char* at = ring() + position_ % memory_.geometry().ring_size;
    std::memcpy(at + sizeof head, payload.data(), payload.size());
    std::memcpy(at, &head, sizeof head);
  }

  const MailboxMemory& memory_;
  std::uint32_t number_;
  std::uint32_t mode_;
  runmain_lane& lane_;
  std::uint64_t position_ = 0;
  std::uint32_t entries_ = 0;
};

// The spans' bytes, until nothing is left.
inline std::vector<std::string> read_all(MailboxReader& reader, std::size_t max_bytes = 1U << 20U) {
  std::vector<std::string> all;
  do {
    for (const Item& item : reader.drain(max_bytes)) all.emplace_back(item.bytes);
    reader.commit();
  } while (reader.has_more());
  return all;
}

}  // namespace runmain::telemetry::test

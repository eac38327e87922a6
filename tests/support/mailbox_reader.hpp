// A mailbox of the tests' own, and its reader: simple, and on the same machine as a friendly writer.
#pragma once

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "child_runtime/mailbox_format.h"
#include "support/otlp_text.hpp"

namespace otlp {

struct Shape {
  std::uint32_t lanes = 8;
  std::uint32_t shared = 2;
  std::uint64_t ring = 1U << 20U;
  std::uint32_t dictionary = 16384;
  std::uint32_t slots = 256;
};

class TestMailbox {
 public:
  explicit TestMailbox(Shape shape = {}) {
    runmain_mailbox m{};
    runmain_mailbox_layout(&m, "instance-of-the-test");
    m.lane_count = shape.lanes;
    m.lanes_shared = shape.shared;
    m.ring_size = shape.ring;
    m.dictionary_size = shape.dictionary;
    m.open_slots = shape.slots;
    runmain_mailbox_fit(&m);
    memfd_ = memfd_create("test-mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (memfd_ < 0 || runmain_mailbox_format(memfd_, &m) != 0) abort();
    size_ = runmain_mailbox_size(&m);
    void* mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_, 0);
    if (mapped == MAP_FAILED) abort();
    base_ = static_cast<char*>(mapped);
  }
  ~TestMailbox() {
    munmap(base_, size_);
    close(memfd_);
    close(wake_);
  }
  TestMailbox(const TestMailbox&) = delete;
  TestMailbox& operator=(const TestMailbox&) = delete;

  int memfd() const { return memfd_; }
  int wake() const { return wake_; }
  runmain_mailbox& header() const { return *reinterpret_cast<runmain_mailbox*>(base_); }
  std::uint32_t lanes() const { return header().lane_count; }
  runmain_lane& lane(std::uint32_t i) const { return *reinterpret_cast<runmain_lane*>(lane_base(i)); }
  runmain_open_slot& slot(std::uint32_t lane, std::uint32_t i) const {
    return reinterpret_cast<runmain_open_slot*>(lane_base(lane) + runmain_mailbox_slots_offset(&header()))[i];
  }

  // The entries of a lane's dictionary, without their heads.
  std::vector<std::string> dictionary(std::uint32_t i) const {
    std::vector<std::string> out;
    const char* at = lane_base(i) + RUNMAIN_LANE_DICTIONARY;
    const char* const end = at + __atomic_load_n(&lane(i).dictionary_used, __ATOMIC_ACQUIRE);
    while (at < end) {
      runmain_entry entry{};
      std::memcpy(&entry, at, sizeof entry);
      out.emplace_back(at + sizeof entry, entry.length);
      at += (sizeof entry + entry.length + 7) / 8 * 8;
    }
    return out;
  }

  // What a lane has that was not read yet; it is read then. What makes no sense is counted as torn.
  std::vector<Span> read_lane(std::uint32_t i) {
    std::vector<Span> out;
    runmain_lane& l = lane(i);
    const char* ring = lane_base(i) + runmain_mailbox_ring_offset(&header());
    const std::uint64_t size = header().ring_size;
    const std::uint64_t write = __atomic_load_n(&l.write, __ATOMIC_ACQUIRE);
    std::uint64_t at = l.read;
    while (at < write) {
      runmain_record record{};
      std::memcpy(&record, ring + at % size, sizeof record);
      const std::uint64_t whole = (sizeof record + record.length + RUNMAIN_RECORD_ALIGN - 1) /
                                  RUNMAIN_RECORD_ALIGN * RUNMAIN_RECORD_ALIGN;
      if (whole > size - at % size || at + whole > write) {
        ++torn;
        at = write;
        break;
      }
      const std::string_view payload(ring + at % size + sizeof record, record.length);
      if (record.kind == RUNMAIN_RECORD_SPAN && payload.size() > 8) {
        std::uint32_t scope = 0;
        std::memcpy(&scope, payload.data(), sizeof scope);
        out.push_back(read_span(payload.substr(8)));
        if (out.back().bad) ++torn;
        scopes[out.back().span_id] = scope;
      } else if (record.kind != RUNMAIN_RECORD_PAD) {
        ++torn;
      }
      at += whole;
    }
    __atomic_store_n(&l.read, at, __ATOMIC_RELEASE);
    return out;
  }
  std::vector<Span> read_all() {
    std::vector<Span> out;
    for (std::uint32_t i = 0; i < lanes(); ++i) {
      for (Span& span : read_lane(i)) out.push_back(std::move(span));
    }
    return out;
  }

  // As the reader does when a lane's process is gone, or it is closed, and all is read.
  void free_lane(std::uint32_t i) {
    for (std::uint32_t s = 0; s < header().open_slots; ++s) {
      if (slot(i, s).state != 0) slot(i, s).state = 0;
    }
    lane(i).pid_started = 0;
    __atomic_store_n(&lane(i).state, RUNMAIN_LANE_FREE, __ATOMIC_RELEASE);
  }

  template <class F>
  std::uint64_t sum(F&& of) const {
    std::uint64_t n = 0;
    for (std::uint32_t i = 0; i < lanes(); ++i) n += of(lane(i));
    return n;
  }
  std::uint64_t started() const {
    return sum([](runmain_lane& l) { return l.started; });
  }
  std::uint64_t ended() const {
    return sum([](runmain_lane& l) { return l.ended; });
  }
  std::uint64_t lost(runmain_lost why) const {
    return sum([why](runmain_lane& l) { return l.lost[why]; });
  }
  std::uint64_t cut() const {
    return sum([](runmain_lane& l) { return l.cut; });
  }
  std::uint32_t in_state(std::uint32_t state) const {
    return static_cast<std::uint32_t>(sum(
        [state](runmain_lane& l) { return __atomic_load_n(&l.state, __ATOMIC_ACQUIRE) == state ? 1U : 0U; }));
  }
  std::vector<std::string> open_names() const {
    std::vector<std::string> out;
    for (std::uint32_t i = 0; i < lanes(); ++i) {
      if (lane(i).round == 0) continue;
      for (std::uint32_t s = 0; s < header().open_slots; ++s) {
        const runmain_open_slot& o = slot(i, s);
        if (o.state != 0) out.emplace_back(o.name, o.name_length);
      }
    }
    return out;
  }

  std::uint64_t torn = 0;
  std::map<std::string, std::uint32_t> scopes;  // by span id

 private:
  char* lane_base(std::uint32_t i) const { return base_ + header().header_size + i * header().lane_stride; }

  int memfd_ = -1;
  int wake_ = -1;
  std::size_t size_ = 0;
  char* base_ = nullptr;
};

}  // namespace otlp

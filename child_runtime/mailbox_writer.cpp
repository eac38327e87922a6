#include "mailbox_writer.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>

#include "mailbox_format.h"

namespace runmain::child {
namespace {

constexpr std::uint64_t kSearchNs = 1'000'000;  // between two looks for free slots
constexpr std::uint64_t kRingMin = 4096;
constexpr int kFdMin = 100;  // leaves the low numbers to the program

bool is_usable(const runmain_mailbox& m, std::uint64_t file_size) {
  return m.magic == RUNMAIN_MAILBOX_MAGIC && m.major == RUNMAIN_MAILBOX_MAJOR && m.lane_count > 0 &&
         m.lane_count <= kLanesMax && m.lanes_shared <= m.lane_count && m.header_size >= sizeof m &&
         m.header_size % 4096 == 0 && m.lane_stride % 4096 == 0 && m.ring_size >= kRingMin &&
         (m.ring_size & (m.ring_size - 1)) == 0 && m.ring_size <= file_size &&
         m.dictionary_size <= file_size && m.open_slots <= file_size / sizeof(runmain_open_slot) &&
         m.lane_stride >= runmain_mailbox_ring_offset(&m) + m.ring_size && m.lane_stride <= file_size &&
         runmain_mailbox_size(&m) <= file_size;
}

// Maps a part of the memfd whose beginning may be in the middle of a page (where pages are larger than 4096).
std::uint8_t* map_part(int memfd, std::uint64_t offset, std::uint64_t size) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t before = offset % page;
  void* memory = mmap(nullptr, size + before, PROT_READ | PROT_WRITE, MAP_SHARED, memfd,
                      static_cast<off_t>(offset - before));
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, size + before, MADV_DONTFORK);
  return static_cast<std::uint8_t*>(memory) + before;
}

bool is_our_memfd(const Mailbox& m) {
  struct stat status {};
  return fstat(m.memfd, &status) == 0 && status.st_dev == m.device && status.st_ino == m.inode;
}

std::uint64_t lane_offset(const Mailbox& m, std::uint32_t index) {
  return m.header_size + std::uint64_t{index} * m.lane_stride;
}

// Whether it is worth mapping.
bool looks_free(const Mailbox& m, std::uint32_t index) {
  std::uint8_t* mapped = m.lanes[index].load(std::memory_order_acquire);
  if (mapped != nullptr) {
    auto* lines = reinterpret_cast<runmain_lane*>(mapped);
    return __atomic_load_n(&lines->state, __ATOMIC_ACQUIRE) == RUNMAIN_LANE_FREE;
  }
  std::uint32_t state = RUNMAIN_LANE_TAKEN;
  const auto offset = static_cast<off_t>(lane_offset(m, index) + offsetof(runmain_lane, state));
  return pread(m.memfd, &state, sizeof state, offset) == sizeof state && state == RUNMAIN_LANE_FREE;
}

std::uint8_t* map_lane(Mailbox& m, std::uint32_t index) {
  std::uint8_t* mapped = m.lanes[index].load(std::memory_order_acquire);
  if (mapped != nullptr) return mapped;
  std::uint8_t* made = map_part(m.memfd, lane_offset(m, index), m.lane_stride);
  if (made == nullptr) return nullptr;
  if (m.lanes[index].compare_exchange_strong(mapped, made)) return made;
  munmap(made, m.lane_stride);
  return mapped;
}

// Makes `lane` of one that is ours now.
void begin(const Mailbox& m, Lane& lane, std::uint8_t* mapped, std::uint32_t index, bool shared) {
  auto* lines = reinterpret_cast<runmain_lane*>(mapped);
  const runmain_mailbox& header = *m.header.load();
  const std::uint32_t round = lines->round;  // ours alone until pid_started says who we are
  lane.lines = lines;
  lane.index = index;
  lane.several_writers = shared;
  lane.dictionary = mapped + RUNMAIN_LANE_DICTIONARY;
  lane.dictionary_size = m.dictionary_size;
  lane.slots = reinterpret_cast<runmain_open_slot*>(mapped + runmain_mailbox_slots_offset(&header));
  lane.slot_count = m.open_slots < kSlotsMax ? m.open_slots : kSlotsMax;
  lane.ring = mapped + runmain_mailbox_ring_offset(&header);
  lane.ring_size = m.ring_size;
  lane.write = lines->write;
  lane.read = __atomic_load_n(&lines->read, __ATOMIC_ACQUIRE);
  lane.slot_sequence = (std::uint64_t{round} + 1) << 48U;
  lane.free_count = 0;
  for (std::uint32_t i = lane.slot_count; i-- > 0;) {
    // Not to touch the pages of a lane that is new.
    if (round > 0) __atomic_store_n(&lane.slots[i].state, 0, __ATOMIC_RELAXED);
    lane.free_slots[lane.free_count++] = static_cast<std::uint16_t>(i);
  }
  std::memset(lane.scopes, 0, sizeof lane.scopes);
  lane.dictionary_used = 0;
  lane.dictionary_entries = 0;
  __atomic_store_n(&lines->dictionary_used, 0, __ATOMIC_RELAXED);
  lines->mode = RUNMAIN_LANE_BY_POSITION;
  lines->round = round + 1;
  lines->tid = static_cast<std::uint32_t>(syscall(SYS_gettid));
}

}  // namespace

void close_lanes_of_before(Mailbox& m) {
  for (std::uint32_t i = 0; i < m.lane_count && i < kLanesMax; ++i) {
    runmain_lane line{};
    const auto at = static_cast<off_t>(lane_offset(m, i));
    if (pread(m.memfd, &line, sizeof line, at) != sizeof line || line.state != RUNMAIN_LANE_TAKEN ||
        line.pid != m.pid || line.pid_started != m.pid_started)
      continue;
    std::uint8_t* mapped = map_lane(m, i);
    std::uint32_t taken = RUNMAIN_LANE_TAKEN;
    if (mapped != nullptr)
      __atomic_compare_exchange_n(&reinterpret_cast<runmain_lane*>(mapped)->state, &taken,
                                  RUNMAIN_LANE_CLOSED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
  }
}

int open_mailbox(Mailbox& m, int memfd, int wake_fd, std::uint64_t pid_started) {
  if (m.header.load(std::memory_order_acquire) != nullptr) return -EALREADY;
  struct stat status {};
  if (fstat(memfd, &status) != 0) return -errno;
  runmain_mailbox header{};
  if (pread(memfd, &header, sizeof header, 0) != sizeof header ||
      !is_usable(header, static_cast<std::uint64_t>(status.st_size)))
    return -EPROTO;
  const int own = fcntl(memfd, F_DUPFD_CLOEXEC, kFdMin);
  if (own < 0) return -errno;
  // With the first lane: whoever opens a mailbox ends spans, mostly.
  std::uint8_t* mapped = map_part(own, 0, header.header_size + header.lane_stride);
  if (mapped == nullptr) {
    close(own);
    return -ENOMEM;
  }
  m.memfd = own;
  m.wake_fd = wake_fd < 0 ? -1 : fcntl(wake_fd, F_DUPFD_CLOEXEC, kFdMin);
  m.device = status.st_dev;
  m.inode = status.st_ino;
  m.lane_count = header.lane_count;
  m.lanes_shared = header.lanes_shared;
  m.lane_stride = header.lane_stride;
  m.header_size = header.header_size;
  m.dictionary_size = header.dictionary_size;
  m.open_slots = header.open_slots;
  m.ring_size = header.ring_size;
  m.lanes[0].store(mapped + header.header_size, std::memory_order_relaxed);
  m.pid = static_cast<std::uint32_t>(getpid());
  m.pid_started = pid_started;
  syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
  m.process_number =
      __atomic_fetch_add(&reinterpret_cast<runmain_mailbox*>(mapped)->processes, 1, __ATOMIC_RELAXED);
  m.header.store(reinterpret_cast<runmain_mailbox*>(mapped), std::memory_order_release);
  return 0;
}

bool take_lane(Mailbox& m, Lane& lane, bool shared, const void* resource, std::size_t resource_size) {
  if (!is_our_memfd(m)) return false;
  const std::uint32_t own = m.lane_count - m.lanes_shared;
  for (std::uint32_t i = shared ? own : 0; i < (shared ? m.lane_count : own); ++i) {
    if (!looks_free(m, i)) continue;
    std::uint8_t* mapped = map_lane(m, i);
    if (mapped == nullptr) return false;
    auto* lines = reinterpret_cast<runmain_lane*>(mapped);
    std::uint32_t free = RUNMAIN_LANE_FREE;
    if (!__atomic_compare_exchange_n(&lines->state, &free, RUNMAIN_LANE_TAKEN, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
      continue;
    // At once: should we die before the rest is there, the reader knows whose the lane was.
    __atomic_store_n(&lines->pid, m.pid, __ATOMIC_RELEASE);
    begin(m, lane, mapped, i, shared);
    // Scopes are counted from 1: something has to be 0.
    if (add_entry(lane, RUNMAIN_ENTRY_RESOURCE, resource, resource_size) != 0 &&
        add_entry(lane, RUNMAIN_ENTRY_RESOURCE, nullptr, 0) != 0)
      lane.dictionary_size = lane.dictionary_used;
    __atomic_store_n(&lines->pid_started, m.pid_started, __ATOMIC_RELEASE);
    return true;
  }
  return false;
}

void rename_lane(Lane& lane) { lane.lines->tid = static_cast<std::uint32_t>(syscall(SYS_gettid)); }

bool close_lane(Lane& lane) {
  if (lane.lines == nullptr) return true;
  for (std::uint32_t i = 0; i < lane.slot_count && lane.free_count < lane.slot_count; ++i) {
    if (__atomic_load_n(&lane.slots[i].state, __ATOMIC_ACQUIRE) != 0) return false;
  }
  __atomic_store_n(&lane.lines->state, RUNMAIN_LANE_CLOSED, __ATOMIC_RELEASE);
  lane.lines = nullptr;
  return true;
}

std::uint32_t add_entry(Lane& lane, std::uint16_t kind, const void* payload, std::size_t size) {
  const std::size_t whole = (sizeof(runmain_entry) + size + 7) & ~std::size_t{7};
  if (whole > lane.dictionary_size - lane.dictionary_used) {
    count(lane, lane.lines->dictionary_full);
    return RUNMAIN_SCOPE_LOST;
  }
  const runmain_entry entry{static_cast<std::uint32_t>(size), kind, 0};
  std::uint8_t* at = lane.dictionary + lane.dictionary_used;
  std::memcpy(at, &entry, sizeof entry);
  if (size > 0) std::memcpy(at + sizeof entry, payload, size);
  lane.dictionary_used += static_cast<std::uint32_t>(whole);
  __atomic_store_n(&lane.lines->dictionary_used, lane.dictionary_used, __ATOMIC_RELEASE);
  return lane.dictionary_entries++;
}

std::uint8_t* reserve_record_slow(Lane& lane, std::size_t size) {
  const std::uint64_t offset = lane.write & (lane.ring_size - 1);
  const std::uint64_t tail = lane.ring_size - offset;
  const std::uint64_t needed = size <= tail ? size : tail + size;
  if (lane.write + needed - lane.read > lane.ring_size) {
    lane.read = __atomic_load_n(&lane.lines->read, __ATOMIC_ACQUIRE);
    if (lane.write + needed - lane.read > lane.ring_size) return nullptr;
  }
  if (size > tail) {  // published together with what follows
    const runmain_record pad{static_cast<std::uint32_t>(tail - sizeof(runmain_record)), RUNMAIN_RECORD_PAD, 0,
                             0, 0};
    std::memcpy(lane.ring + offset, &pad, sizeof pad);
    lane.write += tail;
  }
  return lane.ring + (lane.write & (lane.ring_size - 1));
}

void wake_reader(Mailbox& mailbox) {
  runmain_mailbox* header = mailbox.header.load(std::memory_order_relaxed);
  if (__atomic_exchange_n(&header->asleep, 0, __ATOMIC_ACQ_REL) == 0 || mailbox.wake_fd < 0) return;
  // The program may have closed all that it does not know, and the number be another file's: not ours to
  // write to.
  char path[32];
  char target[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", mailbox.wake_fd);
  const int saved = errno;
  const ssize_t n = readlink(path, target, sizeof target - 1);
  if (n > 0) {
    target[n] = '\0';
    const std::uint64_t one = 1;
    if (std::strcmp(target, "anon_inode:[eventfd]") == 0) (void)!write(mailbox.wake_fd, &one, sizeof one);
  }
  errno = saved;
}

void find_free_slots(Lane& lane, std::uint64_t now_ns) {
  if (now_ns < lane.next_search_ns) return;
  lane.next_search_ns = now_ns + kSearchNs;
  for (std::uint32_t i = lane.slot_count; i-- > 0;) {
    if (__atomic_load_n(&lane.slots[i].state, __ATOMIC_ACQUIRE) == 0)
      lane.free_slots[lane.free_count++] = static_cast<std::uint16_t>(i);
  }
}

void rename_slot(runmain_open_slot* slot, std::uint64_t& state, const char* name, std::size_t size) {
  if ((state & (kSlotStep - 1)) + 2 >= kSlotStep) return;
  std::uint64_t now = state;
  if (!__atomic_compare_exchange_n(&slot->state, &now, state + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    return;
  order_stores();
  slot->name_length = static_cast<std::uint32_t>(size < sizeof slot->name ? size : sizeof slot->name);
  std::memcpy(slot->name, name, slot->name_length);
  state += 2;
  __atomic_store_n(&slot->state, state, __ATOMIC_RELEASE);
}

}  // namespace runmain::child

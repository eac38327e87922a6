// Room for what is added to a span, by its owner and by other threads.
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "span.hpp"

namespace runmain::child {

constinit std::atomic<bool> g_owners_fence{false};

namespace {

// The attribute of this key between the two, all of which are fields; false if there is none.
bool find_key(const std::uint8_t* begin, const std::uint8_t* end, runmain_text key, WireField& found) {
  WireFields fields(begin, end);
  while (fields.next(found)) {
    if (found.number == kFieldAttribute && same_text(key_of(found), key)) return true;
  }
  return false;
}

// Where it ends after that.
std::uint8_t* cut_out(const WireField& field, std::uint8_t* end) {
  auto* at = const_cast<std::uint8_t*>(field.begin);
  std::memmove(at, field.end, static_cast<std::size_t>(end - field.end));
  return end - field.size();
}

// At least the double, so that many additions are copied few times.
Block* larger_block(std::size_t used, std::size_t size) {
  const std::size_t needed = used + size + kTail;
  if (needed > RUNMAIN_RECORD_MAX) return nullptr;
  Block* block = take_block_here(needed + used);
  return block != nullptr ? block : take_block_here(needed);
}

bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

// After it every other thread has seen what this one has written, and has written what it had in the making.
void barrier_on_all() {
  if (g_owners_fence.load(std::memory_order_relaxed)) {
    full_barrier();
  } else if (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  }
}

}  // namespace

void prepare_sharing() {
  const long can = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  if (can < 0 || (can & MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) g_owners_fence.store(true);
}

void register_sharing() {
  if (!membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) g_owners_fence.store(true);
}

std::uint8_t* make_room(runmain_span& span, std::size_t size) {
  std::uint8_t* const write = span.head.write;
  if (size + kTail <= static_cast<std::size_t>(span.end - write)) return write;
  const auto used = static_cast<std::size_t>(write - span.begin);
  Block* block = larger_block(used, size);
  if (block == nullptr) return nullptr;
  Block* const before = span.now.grown;
  std::memcpy(block->data(), span.begin, used);
  pthread_mutex_lock(&span.lock);
  span.begin = block->data();
  span.end = block->end();
  span.now.grown = block;
  span.head.limit = span.end - kShortRoom;
  __atomic_store_n(&span.head.write, span.begin + used, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&span.lock);
  if (before != nullptr) give_block_here(before);
  return span.head.write;
}

bool remove_key(runmain_span& span, runmain_text key) {
  WireField found{};
  if (!find_key(span.begin + span.prefix, span.head.write, key, found)) return false;
  pthread_mutex_lock(&span.lock);
  __atomic_store_n(&span.head.write, cut_out(found, span.head.write), __ATOMIC_RELEASE);
  pthread_mutex_unlock(&span.lock);
  return true;
}

Sharing::Sharing(runmain_span& span) : span_(span) {
  // One that a fork has left here may have its lock held by a thread that is not here.
  if (!is_recording(span) || !is_ours(span)) return;
  pthread_mutex_lock(&span.lock);
  locked_ = true;
  if (__atomic_load_n(&span.now.shared, __ATOMIC_RELAXED) == 0) {
    __atomic_store_n(&span.now.shared, 1, __ATOMIC_RELAXED);
    barrier_on_all();
  }
  open_ = span.now.ended == 0 && __atomic_load_n(&span.now.ending, __ATOMIC_RELAXED) == 0;
}

std::uint8_t* Sharing::make_room(std::size_t size) {
  Side& side = span_.now.side;
  if (side.block != nullptr && size + kTail <= static_cast<std::size_t>(side.block->end() - side.write))
    return side.write;
  const std::size_t used =
      side.block != nullptr ? static_cast<std::size_t>(side.write - side.block->data()) : 0;
  Block* block = larger_block(used, size);
  if (block == nullptr) return nullptr;
  if (side.block != nullptr) {
    std::memcpy(block->data(), side.block->data(), used);
    give_block_here(side.block);
  }
  side.block = block;
  side.write = block->data() + used;
  return side.write;
}

bool Sharing::remove_key(runmain_text key) {
  Side& side = span_.now.side;
  WireField found{};
  if (side.block == nullptr || !find_key(side.block->data(), side.write, key, found)) return false;
  side.write = cut_out(found, side.write);
  return true;
}

}  // namespace runmain::child

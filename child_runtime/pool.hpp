// Memory of spans and contexts: blocks of five sizes, a pool a thread, by mmap(2).
//
// Invariants: taking and giving back on the pool's own thread is a few plain instructions; another thread
// gives back by one compare-and-swap; a pool never gives memory back to the system, and is bounded (kChunks):
// beyond that there is none. Pools of ended threads are taken over by new ones (thread.hpp). A forked child
// goes on with its copy of the pool of the thread that it is. Non-goal: memory for anything else.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mailbox.h"

namespace runmain::child {

enum BlockClass : std::uint32_t { kSmall, kSpan, kLarge, kHuge, kWhole, kBlockClasses };

inline constexpr std::size_t kBlockSize[kBlockClasses] = {512, 2048, 16384, 65536, RUNMAIN_RECORD_MAX + 8192};
inline constexpr std::uint32_t kBlocksPerChunk[kBlockClasses] = {128, 64, 16, 4, 1};
inline constexpr std::uint32_t kChunksMax[kBlockClasses] = {64, 256, 16, 8, 8};  // 16384 open spans a thread

struct Pool;

// What every block begins with.
struct alignas(64) Block {
  Pool* home;
  Block* next;  // of what is free
  std::uint32_t block_class;

  std::uint8_t* data() { return reinterpret_cast<std::uint8_t*>(this) + sizeof(Block); }
  std::uint8_t* end() { return reinterpret_cast<std::uint8_t*>(this) + kBlockSize[block_class]; }
  static Block* of(const void* data) {
    return reinterpret_cast<Block*>(const_cast<char*>(static_cast<const char*>(data)) - sizeof(Block));
  }
};
static_assert(sizeof(Block) == 64);

// All zero is an empty pool.
struct Pool {
  Block* free[kBlockClasses];
  std::uint8_t* fresh[kBlockClasses];  // of the latest chunk, what was never a block: its pages are not there
  std::uint32_t fresh_blocks[kBlockClasses];
  std::uint32_t chunks[kBlockClasses];
  std::atomic<Block*> returned;  // by other threads, and by signal handlers
};

// nullptr: the bound is reached, or the system has no memory. Own thread only.
Block* take_more(Pool& pool, BlockClass c);

inline Block* take_block(Pool& pool, BlockClass c) {
  Block* block = pool.free[c];
  if (block == nullptr) [[unlikely]]
    return take_more(pool, c);
  pool.free[c] = block->next;
  return block;
}

// From every thread.
inline void return_block(Block* block) {
  std::atomic<Block*>& returned = block->home->returned;
  block->next = returned.load(std::memory_order_relaxed);
  while (!returned.compare_exchange_weak(block->next, block, std::memory_order_release,
                                         std::memory_order_relaxed)) {
  }
}

// `mine`: the calling thread's pool, nullptr if it has none or must not touch it now.
[[gnu::always_inline]] inline void give_block(Pool* mine, Block* block) {
  if (block->home != mine) return return_block(block);
  block->next = mine->free[block->block_class];
  mine->free[block->block_class] = block;
}

// The smallest class with `size` bytes of data; kBlockClasses: none.
inline std::uint32_t class_for(std::size_t size) {
  std::uint32_t c = kSmall;
  while (c < kBlockClasses && kBlockSize[c] - sizeof(Block) < size) ++c;
  return c;
}

}  // namespace runmain::child

#include "pool.hpp"

#include <sys/mman.h>

#include <algorithm>

namespace runmain::child {
namespace {

constexpr std::size_t kPage = 4096;

// Puts what others gave back to the rest.
void collect(Pool& pool) {
  Block* block = pool.returned.exchange(nullptr, std::memory_order_acquire);
  while (block != nullptr) {
    Block* const next = block->next;
    block->next = pool.free[block->block_class];
    pool.free[block->block_class] = block;
    block = next;
  }
}

bool add_chunk(Pool& pool, BlockClass c) {
  if (pool.chunks[c] == kChunksMax[c]) return false;
  const std::size_t size = kBlockSize[c] * kBlocksPerChunk[c];
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  ++pool.chunks[c];
  pool.fresh[c] = static_cast<std::uint8_t*>(memory);
  pool.fresh_blocks[c] = kBlocksPerChunk[c];
  return true;
}

// As many as a page has: a thread's first span is not to wait for the pages of the others.
void make_blocks(Pool& pool, BlockClass c) {
  const auto in_page = static_cast<std::uint32_t>(kPage / kBlockSize[c]);
  for (std::uint32_t i = std::min(std::max(in_page, 1U), pool.fresh_blocks[c]); i > 0; --i) {
    auto* block = reinterpret_cast<Block*>(pool.fresh[c]);
    block->home = &pool;
    block->block_class = c;
    block->next = pool.free[c];
    pool.free[c] = block;
    pool.fresh[c] += kBlockSize[c];
    --pool.fresh_blocks[c];
  }
}

}  // namespace

Block* take_more(Pool& pool, BlockClass c) {
  collect(pool);
  if (pool.free[c] == nullptr) {
    if (pool.fresh_blocks[c] == 0 && !add_chunk(pool, c)) return nullptr;
    make_blocks(pool, c);
  }
  Block* const block = pool.free[c];
  pool.free[c] = block->next;
  return block;
}

}  // namespace runmain::child

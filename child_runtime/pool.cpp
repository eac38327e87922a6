#include "pool.hpp"

#include <sys/mman.h>

namespace runmain::child {
namespace {

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
  for (std::uint32_t i = kBlocksPerChunk[c]; i-- > 0;) {
    auto* block = reinterpret_cast<Block*>(static_cast<char*>(memory) + i * kBlockSize[c]);
    block->home = &pool;
    block->block_class = c;
    block->next = pool.free[c];
    pool.free[c] = block;
  }
  return true;
}

}  // namespace

Block* take_more(Pool& pool, BlockClass c) {
  collect(pool);
  if (pool.free[c] == nullptr && !add_chunk(pool, c)) return nullptr;
  Block* const block = pool.free[c];
  pool.free[c] = block->next;
  return block;
}

}  // namespace runmain::child

// A heap with a hole in it, before and after it is given back. Sanitizers and other C libraries have heaps of
// their own: this is for builds without them.
#include <cstdlib>
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include "os/linux/heap.hpp"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "support/catch.hpp"

using namespace runmain;

namespace {

constexpr std::size_t kBlock = 16U << 10U;
constexpr std::size_t kBlocks = 4096;  // 64 MiB

std::size_t resident() {
  std::ifstream in("/proc/self/statm");
  std::size_t all = 0;
  std::size_t pages = 0;
  in >> all >> pages;
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::unique_ptr<char[]> block() {
  std::unique_ptr<char[]> made(new char[kBlock]);
  std::memset(made.get(), 1, kBlock);
  return made;
}

}  // namespace

TEST_CASE("what a peak took goes back though a small block lies above it") {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (std::size_t i = 0; i < kBlocks; ++i) blocks.push_back(block());
  const auto last = block();
  const std::size_t peak = resident();
  blocks.clear();
  os::give_heap_back();
  CHECK(resident() + kBlock * kBlocks * 3 / 4 < peak);
  CHECK(last[0] == 1);
}
#endif

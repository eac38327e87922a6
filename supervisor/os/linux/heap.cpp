#include "os/linux/heap.hpp"

#include <features.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace runmain::os {

#ifdef __GLIBC__

void keep_heap_small() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, static_cast<int>(kOwnMappingFrom));
  mallopt(M_TRIM_THRESHOLD, static_cast<int>(kHeapSlack));
}

void give_heap_back() { malloc_trim(kHeapSlack); }

#else

void keep_heap_small() {}
void give_heap_back() {}

#endif

}  // namespace runmain::os

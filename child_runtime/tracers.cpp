#include "tracers.hpp"

#include <sys/mman.h>

#include <cstring>

#include "attributes.hpp"
#include "context.hpp"

namespace runmain::child {
namespace {

constexpr std::size_t kArenaSize = 256U << 10U;  // of all scopes; pages come as they are used

constinit const StaticTracer g_without_scope{{kScopesMax, kSchemaSizes, 0}, {}};

constinit std::atomic<const runmain_tracer*> g_tracers[RUNMAIN_TRACERS_MAX]{};  // numbers from 1
constinit std::atomic<char*> g_arena{nullptr};
constinit std::atomic<std::size_t> g_arena_used{0};

void* take_from_arena(std::size_t size) {
  char* arena = g_arena.load(std::memory_order_acquire);
  if (arena == nullptr) {
    void* made = mmap(nullptr, kArenaSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) return nullptr;
    if (g_arena.compare_exchange_strong(arena, static_cast<char*>(made))) {
      arena = static_cast<char*>(made);
    } else {
      munmap(made, kArenaSize);
    }
  }
  size = (size + 15) & ~std::size_t{15};
  if (size > kArenaSize) return nullptr;
  const std::size_t at = g_arena_used.fetch_add(size);
  return at <= kArenaSize - size ? arena + at : nullptr;
}

struct ScopeEntry {
  runmain_text name;
  runmain_text version;
  runmain_text schema_url;
  AttributeList attributes;

  std::size_t size() const {
    return kSchemaSizes + schema_url.size + text_size(name) + text_size(version) + attributes.size();
  }
  void write(std::uint8_t* to) const {
    WireWriter out(to);
    const std::uint32_t sizes[2] = {static_cast<std::uint32_t>(schema_url.size), 0};
    out.raw(sizes, sizeof sizes);
    out.raw(schema_url.data, schema_url.size);
    if (name.size > 0) out.bytes(1, name.data, name.size);
    if (version.size > 0) out.bytes(2, version.data, version.size);
    attributes.write(out, 3);
  }

 private:
  static std::size_t text_size(runmain_text text) { return text.size > 0 ? field_size(text.size) : 0; }
};

// Finds one with this entry, or makes it of `bytes`.
const runmain_tracer* find_or_add(const std::uint8_t* bytes, std::size_t size) {
  runmain_tracer* made = nullptr;
  for (std::uint32_t i = 0; i < RUNMAIN_TRACERS_MAX; ++i) {
    const runmain_tracer* known = g_tracers[i].load(std::memory_order_acquire);
    if (known == nullptr) {
      if (made == nullptr) {
        void* memory = take_from_arena(sizeof(runmain_tracer) + size);
        if (memory == nullptr) return &g_without_scope.tracer;
        made = static_cast<runmain_tracer*>(memory);
        made->size = static_cast<std::uint32_t>(size);
        std::memcpy(made + 1, bytes, size);
      }
      made->number = i + 1;
      if (g_tracers[i].compare_exchange_strong(known, made)) return made;
    }
    if (known->size == size && std::memcmp(known->entry(), bytes, size) == 0) return known;
  }
  return &g_without_scope.tracer;
}

}  // namespace

constinit const StaticTracer g_default_tracer{{0, kSchemaSizes, 0}, {}};

std::uint32_t add_scope(Lane& lane, const runmain_tracer& tracer) {
  const std::uint32_t index = add_entry(lane, RUNMAIN_ENTRY_SCOPE, tracer.entry(), tracer.size);
  lane.scopes[tracer.number] = index;  // also if there was no room: there will be none
  return index;
}

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

const runmain_tracer* runmain_get_tracer(runmain_text name, runmain_text version, runmain_text schema_url,
                                         const runmain_attribute* attributes, size_t attribute_count) {
  const ScopeEntry scope{name, version, schema_url,
                         AttributeList(attributes, attribute_count, AttributeLimits{})};
  const std::size_t size = scope.size();
  Block* block = size <= RUNMAIN_RECORD_MAX ? take_block_here(size) : nullptr;
  if (block == nullptr) return &g_without_scope.tracer;
  scope.write(block->data());
  const runmain_tracer* tracer = find_or_add(block->data(), size);
  give_block_here(block);
  return tracer;
}

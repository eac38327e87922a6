// Contexts and which one is current (current.h), and the place of a span among the current ones of a thread.
//
// A span holds its own context, and while it is current, what was so before: a chain, a thread. Invariant:
// the memory of a context that some thread has in its chain is there: a span that is given back on another
// thread than the one on which it is current stays until that thread comes by (kLeft). What gets a reference
// while it is current keeps all below it. Non-goal: spans.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "current.h"
#include "telemetry.hpp"

// Begins with how many hold it: of a span's own context, how many hold the span.
struct runmain_context {
  std::uint32_t holders;
  std::uint32_t gone;  // 1: its scope has ended, though some thread may have it in its chain
  runmain_span_context span;
  runmain_shared* trace_state;  // held
  runmain_shared* baggage;      // held
  runmain_span* owner;          // the span of this process; held if the context is not in it
};

namespace runmain::child {

inline constexpr std::uintptr_t kNowhere = 0;  // in no thread's chain
inline constexpr std::uintptr_t kLeft = 1;     // a bit: given back elsewhere, the thread that has it drops it

// Of a span that was made current.
struct Scope {
  const runmain_context* before;
  std::uintptr_t thread;  // in whose chain it is, with kLeft, or kNowhere; atomic
  bool entered;           // and not left
  bool keeps_before;      // `before` is held
};

inline std::uint64_t load8(const std::uint8_t* from) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline bool is_valid(const runmain_span_context& c) {
  return (load8(c.trace_id) | load8(c.trace_id + 8)) != 0 && load8(c.span_id) != 0;
}

// Drops contexts whose scopes have ended from the top of the calling thread's chain.
const runmain_context* pass_gone();
inline const runmain_context* current_context() {
  const runmain_context* c = t_local.current;
  if (c != nullptr && __atomic_load_n(&c->gone, __ATOMIC_ACQUIRE) != 0) [[unlikely]]
    return pass_gone();
  return c;
}

void leave_slow(runmain_span& span);
// The thread ends: nothing of it is in a chain any more.
void leave_all();

inline void hold(runmain_shared* shared) {
  if (shared != nullptr) __atomic_fetch_add(&shared->holders, 1, __ATOMIC_RELAXED);
}

// What the last holder does to a span's memory (span.cpp).
void free_span(runmain_span* span);
// Whose holders are not counted.
bool is_static(const runmain_context* context);

// A block of the calling thread's pool, nullptr in the middle of something or without memory.
Block* take_block_here(std::size_t data_size);
void give_block_here(Block* block);

}  // namespace runmain::child

// How a span ends: its record goes into the mailbox, its memory back when the last handle goes.
#include <cstring>

#include "process.hpp"
#include "span.hpp"

namespace runmain::child {
namespace {

struct End {
  Telemetry& telemetry;
  ThreadLocal& local;
  std::uint64_t now_ns;
};

constexpr unsigned kLinesAhead = 10;  // of 64 bytes

constexpr std::size_t padded(std::size_t size) {
  return (size + RUNMAIN_RECORD_ALIGN - 1) & ~std::size_t{RUNMAIN_RECORD_ALIGN - 1};
}

[[gnu::always_inline]] inline void write_dropped(WireWriter& out, const runmain_span& span) {
  if (span.now.dropped_attributes > 0) out.number(kFieldDroppedAttributes, span.now.dropped_attributes);
  if (span.now.dropped_events > 0) out.number(kFieldDroppedEvents, span.now.dropped_events);
  if (span.now.dropped_links > 0) out.number(kFieldDroppedLinks, span.now.dropped_links);
}

// Where the next record comes to: the ring is larger than the caches near to the processor.
[[gnu::always_inline]] inline void fetch_ahead(const Lane& lane) {
  const std::uint8_t* next = lane.ring + (lane.write & (lane.ring_size - 1));
#if defined(__x86_64__)
  // To be written; older processors take it for a no-op, and the compiler would leave the "written" out for
  // them.
  for (unsigned i = 0; i < kLinesAhead; ++i) __asm__ volatile("prefetchw %0" : : "m"(next[i * 64]));
#else
  for (unsigned i = 0; i < kLinesAhead; ++i) __builtin_prefetch(next + i * 64, 1, 3);
#endif
}

// A record of what is from `begin` on, a prefix first; what is only known now is written in its place.
[[gnu::always_inline]] inline void put_record(Telemetry& t, Lane* lane, const runmain_span& span,
                                              const std::uint8_t* begin, std::size_t size,
                                              std::uint64_t end_ns) {
  if (lane == nullptr) return count_no_lane(t);
  std::uint8_t* to = reserve_record(*lane, padded(size));
  if (to == nullptr) {
    count(*lane, lane->lines->lost[RUNMAIN_LOST_FULL]);
  } else {
    std::memcpy(to, begin, size);
    auto* prefix = reinterpret_cast<Prefix*>(to);
    prefix->record = {static_cast<std::uint32_t>(size - sizeof(runmain_record)), RUNMAIN_RECORD_SPAN, 0, 0,
                      0};
    prefix->scope = scope_in(*lane, *span.tracer);
    prefix->reserved = 0;
    prefix->end = end_ns;
    publish_record(*lane, padded(size));
    fetch_ahead(*lane);
  }
  count(*lane, lane->lines->ended);
}

[[gnu::noinline]] void put_merged(Telemetry& t, Lane* lane, runmain_span& span, Pool& pool,
                                  std::uint64_t end_ns) {
  const std::uint8_t* write = __atomic_load_n(&span.head.write, __ATOMIC_ACQUIRE);
  std::size_t size = 0;
  Block* merged = merge(span, write, pool, size);
  if (merged == nullptr) {
    if (lane == nullptr) return count_no_lane(t);
    count(*lane,
          lane->lines->lost[size > RUNMAIN_RECORD_MAX ? RUNMAIN_LOST_TOO_BIG : RUNMAIN_LOST_NO_MEMORY]);
    count(*lane, lane->lines->ended);
    return;
  }
  WireWriter out(merged->data() + size);
  write_dropped(out, span);
  put_record(t, lane, span, merged->data(), static_cast<std::size_t>(out.at() - merged->data()), end_ns);
  give_block(&pool, merged);
}

std::uint64_t end_time(const runmain_span& span, std::uint64_t given, std::uint64_t now_ns) {
  const std::uint64_t end = given != 0 ? given : now_ns + static_cast<std::uint64_t>(span.wall_offset);
  return end < span.start_wall ? span.start_wall : end;
}

[[gnu::always_inline]] inline void close_slot(Lane* lane, runmain_span& span) {
  if (span.slot != nullptr) free_slot(lane, span.slot, span.slot_state);
  span.slot = nullptr;
}

void stop_recording(runmain_span& span) { __atomic_store_n(&span.head.owner, 0, __ATOMIC_RELEASE); }

// Needs the span's lock: others have added to it, or may.
[[gnu::noinline]] void end_shared(Telemetry& t, runmain_span& span, std::uint64_t end_ns) {
  if (span.now.ended != 0) return;
  span.now.ended = 1;
  const LaneHold hold(t, *t_local.live);
  put_merged(t, hold.get(), span, t_local.thread->pool, end_ns);
  close_slot(hold.get(), span);
  stop_recording(span);
}

[[gnu::always_inline]] inline void end_as_owner(Telemetry& t, runmain_span& span, std::uint64_t given) {
  __atomic_store_n(&span.now.ending, 1, __ATOMIC_RELAXED);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the processor's part is the other's membarrier
  if (g_owners_fence.load(std::memory_order_relaxed)) [[unlikely]]
    full_barrier();
  const std::uint64_t end_ns = end_time(span, given, given != 0 ? 0 : monotonic_ns());
  if (__atomic_load_n(&span.now.shared, __ATOMIC_RELAXED) != 0) [[unlikely]] {
    pthread_mutex_lock(&span.lock);
    end_shared(t, span, end_ns);
    pthread_mutex_unlock(&span.lock);
    return;
  }
  const LaneHold hold(t, *t_local.live);
  WireWriter out(span.head.write);
  write_dropped(out, span);
  put_record(t, hold.get(), span, span.begin, static_cast<std::size_t>(out.at() - span.begin), end_ns);
  close_slot(hold.get(), span);
  stop_recording(span);
}

// A signal handler has interrupted a start or an end of its own thread.
void end_reentrant(Telemetry& t, runmain_span& span) {
  const Live* live = t_local.live;
  if (live != nullptr && live->lane.lines != nullptr) {
    count(live->lane, live->lane.lines->lost[RUNMAIN_LOST_REENTRANT]);
    count(live->lane, live->lane.lines->ended);
  } else {
    count_no_lane(t);
  }
  disown(span);
}

}  // namespace

void disown(runmain_span& span) {
  if (span.slot != nullptr && is_ours(span)) free_slot(nullptr, span.slot, span.slot_state);
  span.slot = nullptr;
  stop_recording(span);
}

namespace {

// By another thread, in another process than it was started in, or by a thread that has nothing here yet.
[[gnu::noinline]] void end_elsewhere(Telemetry& t, ThreadLocal& local, runmain_span& span,
                                     std::uint64_t given) {
  if (local.busy != 0) return end_reentrant(t, span);
  if (!is_ours(span)) return disown(span);
  if (local.live == nullptr || !local.live->begun) {
    const Busy busy(local);
    if (!begin_thread(t, monotonic_ns())) return disown(span);
  }
  if (is_owner(span)) {
    const Busy busy(local);
    end_as_owner(t, span, given);
  } else {
    Sharing sharing(span);
    if (!sharing.open()) return;
    const Busy busy(local);
    end_shared(t, span, end_time(span, given, monotonic_ns()));
  }
  wake_if_asleep(t.mailbox);
}

[[gnu::always_inline]] inline void end_here(runmain_span& span, std::uint64_t given) {
  if (!is_recording(span)) return;
  ThreadLocal& local = t_local;
  Telemetry& t = *g_telemetry.load(std::memory_order_acquire);
  if (local.busy != 0 || local.live == nullptr || span.era != local.live->era || !is_owner(span)) [[unlikely]]
    return end_elsewhere(t, local, span, given);
  {
    const Busy busy(local);
    end_as_owner(t, span, given);
  }
  wake_if_asleep(t.mailbox);
}

}  // namespace

void end_span(runmain_span& span, std::uint64_t given) { end_here(span, given); }

void free_span(runmain_span* span) {
  runmain_shared_release(span->context.trace_state);
  runmain_shared_release(span->context.baggage);
  if (span->scope.keeps_before) runmain_context_release(span->scope.before);
  Block* block = Block::of(span);
  if (block->block_class == kSpan) {
    if (span->now.side.block != nullptr) give_block_here(span->now.side.block);
    if (span->now.grown != nullptr) give_block_here(span->now.grown);
    // A fork has left its lock as it was.
    if (!is_ours(*span)) std::memset(&span->lock, 0, sizeof span->lock);
  }
  give_block_here(block);
}

namespace {

// The last handle has gone.
[[gnu::always_inline]] inline void free_here(runmain_span* span) {
  ThreadLocal& local = t_local;
  Block* block = Block::of(span);
  const bool plain = span->context.trace_state == nullptr && span->context.baggage == nullptr &&
                     !span->scope.keeps_before && local.busy == 0 && local.live != nullptr &&
                     block->home == &local.thread->pool;
  if (plain &&
      (block->block_class == kSmall ||
       (span->now.side.block == nullptr && span->now.grown == nullptr && span->era == local.live->era))) {
    const Busy busy(local);
    return give_block(block->home, block);
  }
  free_span(span);
}

}  // namespace

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

void runmain_span_end(runmain_span* span, uint64_t end_unix_nano) { end_span(*span, end_unix_nano); }

void runmain_span_leave(runmain_span* span) { leave(*span); }

runmain_span* runmain_span_retain(runmain_span* span) {
  runmain_context_retain(&span->context);
  return span;
}

void runmain_span_release(runmain_span* span) {
  if (span == &g_no_span) return;
  // Nobody else holds it: nobody can begin to.
  const bool last = __atomic_load_n(&span->context.holders, __ATOMIC_ACQUIRE) == 1;
  if (last) {
    leave(*span);
    end_span(*span, 0);
    if (__atomic_load_n(&span->context.holders, __ATOMIC_ACQUIRE) == 1) return free_here(span);
  }
  runmain_context_release(&span->context);
}

void runmain_span_finish(runmain_span* span) {
  if (span == &g_no_span) return;
  leave(*span);
  end_here(*span, 0);
  if (__atomic_load_n(&span->context.holders, __ATOMIC_ACQUIRE) == 1) return free_here(span);
  runmain_context_release(&span->context);
}

void runmain_span_adopt(runmain_span* span) {
  if (is_recording(*span) && is_ours(*span))
    __atomic_store_n(&span->head.owner, thread_self(), __ATOMIC_RELEASE);
}

runmain_span* runmain_span_none(void) { return &g_no_span; }

int runmain_span_is_recording(const runmain_span* span) {
  return is_recording(*span) && is_ours(*span) ? 1 : 0;
}

const runmain_context* runmain_span_get_context(const runmain_span* span) { return &span->context; }

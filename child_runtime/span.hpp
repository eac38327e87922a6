// A span: its fields for the inlined path (span_inline.h), its context, and its OTLP bytes in a buffer behind
// it.
//
// The buffer is what goes into the mailbox: a record's header, the scope's number, fields of fixed size
// (Prefix), then the name and what the program adds, each appended once. Invariants: only the owner's thread
// writes into the buffer; where it takes something out or moves it, it does so under the lock. Others read up
// to head.write under the lock, or add to the side buffer, under it too. Who is first to end a span: the
// owner says `ending` before it looks at `shared`, another thread says `shared` before it looks at `ending`,
// and pays for the barrier on both sides (membarrier(2)). Keys are unique when they are set, not when they
// are read: a filter of 512 bits tells that a key is new, which costs an instruction or two; only where it
// cannot tell the buffer is searched. Left to the reader, every span would be searched. Non-goals: lanes,
// contexts.
#pragma once

#include <pthread.h>

#include "attributes.hpp"
#include "context.hpp"
#include "tracers.hpp"

namespace runmain::child {

// What foreign threads appended. All zero: nothing.
struct Side {
  Block* block;
  std::uint8_t* write;
  std::uint32_t attributes;
  std::uint32_t dropped;  // attributes, events and links that found no room
};
inline constexpr std::uint32_t kSideAttributesMax = 1024;

// What is all zero when a span begins, in one piece.
struct Fresh {
  Block* grown;  // the buffer's own block; nullptr: it is behind the span
  Side side;
  std::uint32_t dropped_attributes;
  std::uint32_t dropped_events;
  std::uint32_t dropped_links;
  std::uint8_t status;
  std::uint8_t ending;  // by the owner; atomic
  std::uint8_t shared;  // by others; atomic
  std::uint8_t ended;   // under the lock, or by the owner alone while it is not shared
};

// Fields of OTLP's Span.
enum SpanField : unsigned {
  kFieldTraceState = 3,
  kFieldName = 5,
  kFieldAttribute = 9,
  kFieldDroppedAttributes = 10,
  kFieldEvent = 11,
  kFieldDroppedEvents = 12,
  kFieldLink = 13,
  kFieldDroppedLinks = 14,
  kFieldStatus = 15,
};

// Bytes at the end of a buffer for the dropped counts, and to copy in pieces of 16.
inline constexpr std::size_t kTail = 48;
// head.limit is so far from the buffer's end: an attribute that is set inline, and the tail.
inline constexpr std::size_t kShortRoom = 160 + kTail;

// The first fields of each record: where they are is known, so that the end can be written there.
struct __attribute__((packed)) Prefix {
  runmain_record record;
  std::uint32_t scope;
  std::uint32_t reserved;
  std::uint8_t trace_id_tag[2];  // 0a 10
  std::uint8_t trace_id[16];
  std::uint8_t span_id_tag[2];  // 12 08
  std::uint8_t span_id[8];
  std::uint8_t kind[2];    // 30 and the kind
  std::uint8_t start_tag;  // 39
  std::uint64_t start;
  std::uint8_t end_tag;  // 41
  std::uint64_t end;
  std::uint8_t flags_tag[2];  // 85 01
  std::uint32_t flags;
  std::uint8_t parent_tag[2];  // 22 08; of a root the prefix ends before it
  std::uint8_t parent_span_id[8];
};
inline constexpr std::size_t kRootPrefix = offsetof(Prefix, parent_tag);

}  // namespace runmain::child

struct runmain_span {
  runmain_span_head head;
  runmain_context context;
  runmain::child::Scope scope;

  // of one that records
  std::uint8_t* begin;  // of the buffer
  std::uint8_t* end;
  const runmain_tracer* tracer;
  std::uint64_t start_wall;
  std::int64_t wall_offset;  // CLOCK_REALTIME - CLOCK_MONOTONIC when it began
  runmain_open_slot* slot;
  std::uint64_t slot_state;
  std::uint32_t era;
  std::uint32_t left;  // attributes that may still be set, beyond head.quick
  std::uint32_t events_left;
  std::uint32_t links_left;
  std::uint32_t prefix;  // bytes before the name
  runmain::child::Fresh now;
  pthread_mutex_t lock;

  std::uint8_t* own_buffer() { return reinterpret_cast<std::uint8_t*>(this + 1); }
};

namespace runmain::child {

static_assert(sizeof(runmain_span) + sizeof(Block) <= kBlockSize[kSmall]);

extern runmain_span g_no_span;  // records nothing, no context

inline bool is_recording(const runmain_span& span) {
  return __atomic_load_n(&span.head.owner, __ATOMIC_ACQUIRE) != 0;
}
inline bool is_owner(const runmain_span& span) {
  return __atomic_load_n(&span.head.owner, __ATOMIC_RELAXED) == thread_self();
}

// Makes it current on the calling thread.
inline void enter(runmain_span& span) {
  span.scope.before = current_context();
  span.scope.entered = true;
  __atomic_store_n(&span.scope.thread, thread_self(), __ATOMIC_RELEASE);
  t_local.current = &span.context;
}
// … not any more.
inline void leave(runmain_span& span) {
  if (!span.scope.entered) return;
  ThreadLocal& local = t_local;
  // A root in its place: nothing is below it.
  if (local.current == &span.context && span.scope.before == nullptr &&
      __atomic_load_n(&span.scope.thread, __ATOMIC_RELAXED) == thread_self()) {
    span.scope.entered = false;
    local.current = nullptr;
    return;
  }
  leave_slow(span);
}

// Whether this process, not one that forked it, started the span.
bool is_ours(const runmain_span& span);

// ---- adding (span_room.cpp)

// By the owner: room for `size` more bytes behind head.write, in a larger buffer if need be. nullptr: beyond
// RUNMAIN_RECORD_MAX, or no memory.
std::uint8_t* make_room(runmain_span& span, std::size_t size);
// Takes an attribute's field out, by the owner. False: there is none of this key.
bool remove_key(runmain_span& span, runmain_text key);

// Another thread's turn: holds the span's lock. It may be added to, or ended, if open() says so.
class Sharing {
 public:
  explicit Sharing(runmain_span& span);
  ~Sharing() {
    if (locked_) pthread_mutex_unlock(&span_.lock);
  }
  Sharing(const Sharing&) = delete;
  Sharing& operator=(const Sharing&) = delete;

  bool open() const { return open_; }
  // As the two above, in the side buffer.
  std::uint8_t* make_room(std::size_t size);
  bool remove_key(runmain_text key);

 private:
  runmain_span& span_;
  bool locked_ = false;
  bool open_ = false;
};
// Owners need a full barrier in end: the kernel has no membarrier(2) for us.
extern std::atomic<bool> g_owners_fence;
void prepare_sharing();
// For spans that are sent: takes milliseconds where there are several threads already (the kernel waits for
// all processors), so it is done as early as it is known that there will be any. Else the first thread that
// needs it does it.
void register_sharing();

// Adds a field: `write(WireWriter&)` is given room for `size` bytes. False: there is none.
template <class W>
bool append(runmain_span& span, std::size_t size, W&& write) {
  std::uint8_t* at = make_room(span, size);
  if (at == nullptr) return false;
  WireWriter out(at);
  write(out);
  __atomic_store_n(&span.head.write, out.at(), __ATOMIC_RELEASE);
  return true;
}
template <class W>
bool append(runmain_span& span, Sharing& sharing, std::size_t size, W&& write) {
  std::uint8_t* at = sharing.make_room(size);
  if (at == nullptr) {
    ++span.now.side.dropped;
    return false;
  }
  WireWriter out(at);
  write(out);
  span.now.side.write = out.at();
  return true;
}

// Of the owner.
void append_name(runmain_span& span, runmain_text name);

// ---- the end (span_end.cpp)

void end_span(runmain_span& span, std::uint64_t end_unix_nano);

// Ends without a record: another process's, or in a signal handler.
void disown(runmain_span& span);

// The owner's fields and those of other threads in one: a block of `pool`, or nullptr: no memory. `size`
// becomes that of its data. The span's dropped counts are made right, but not written.
Block* merge(runmain_span& span, const std::uint8_t* write, Pool& pool, std::size_t& size);

}  // namespace runmain::child

// How a span begins: its parent, the sampler's word, its ids, its first bytes.
#include <cstring>

#include "message.hpp"
#include "process.hpp"
#include "settings.hpp"
#include "span.hpp"

namespace runmain::child {

runmain_span g_no_span{{}, {1, 0, {}, nullptr, nullptr, nullptr}};

namespace {

constexpr std::uint32_t kFlagHasIsRemote = 0x100;  // of OTLP's Span.flags
constexpr std::uint32_t kFlagIsRemote = 0x200;

constexpr Prefix kPrefix = [] {
  Prefix p{};
  p.record.kind = RUNMAIN_RECORD_SPAN;
  p.trace_id_tag[0] = 0x0a;
  p.trace_id_tag[1] = 16;
  p.span_id_tag[0] = 0x12;
  p.span_id_tag[1] = 8;
  p.kind_tag = 0x30;
  p.start_tag = 0x39;
  p.end_tag = 0x41;
  p.flags_tag[0] = 0x85;
  p.flags_tag[1] = 0x01;
  p.parent_tag[0] = 0x22;
  p.parent_tag[1] = 8;
  return p;
}();

struct Request {
  const runmain_tracer* tracer;
  runmain_text name;
  const runmain_start* start;     // nullptr: nothing but defaults
  const runmain_context* parent;  // nullptr: none
  bool has_parent;                // … with valid ids
  bool current;

  std::uint32_t kind() const {
    return start != nullptr && start->kind >= RUNMAIN_KIND_INTERNAL && start->kind <= RUNMAIN_KIND_CONSUMER
               ? start->kind
               : RUNMAIN_KIND_INTERNAL;
  }
};

const runmain_context* parent_for(const runmain_start* start) {
  if (start != nullptr) {
    if ((start->flags & RUNMAIN_START_ROOT) != 0) return nullptr;
    if (start->parent != nullptr) return start->parent;
  }
  return current_context();
}

// Fills the context of a new span: what it has of its parent.
void begin_context(runmain_span& span, const runmain_context* parent) {
  runmain_context& c = span.context;
  c.holders = 1;
  c.gone = 0;
  c.owner = &span;
  c.trace_state = nullptr;
  c.baggage = nullptr;
  span.scope.entered = false;
  span.scope.keeps_before = false;
  if (parent == nullptr) return;
  c.trace_state = parent->trace_state;  // none where the ids are not valid
  c.baggage = parent->baggage;
  hold(c.trace_state);
  hold(c.baggage);
}

// Ids and flags that are right whatever the sampler says.
void make_ids(Live& live, const Request& request, runmain_span_context& out) {
  std::uint64_t ids[3];
  out = runmain_span_context{};
  if (request.has_parent) {
    std::memcpy(out.trace_id, request.parent->span.trace_id, sizeof out.trace_id);
    out.flags = request.parent->span.flags & RUNMAIN_FLAG_RANDOM;
  } else {
    do {
      ids[0] = random_number(live);
      ids[1] = random_number(live);
    } while ((ids[0] | ids[1]) == 0);
    std::memcpy(out.trace_id, ids, sizeof out.trace_id);
    out.flags = RUNMAIN_FLAG_RANDOM;
  }
  do {
    ids[2] = random_number(live);
  } while (ids[2] == 0);
  std::memcpy(out.span_id, ids + 2, sizeof out.span_id);
}

bool is_sampled(const SamplerState& state, const Request& request, const std::uint8_t* trace_id) {
  if (state.kind.load(std::memory_order_relaxed) == RUNMAIN_SAMPLER_ALWAYS_ON &&
      state.custom.load(std::memory_order_relaxed) == nullptr) {
    return !request.has_parent || state.ignore_parent.load(std::memory_order_relaxed) != 0 ||
           (request.parent->span.flags & RUNMAIN_FLAG_SAMPLED) != 0;
  }
  return is_sampled_slow(state, {request.has_parent ? request.parent : nullptr, trace_id, request.name,
                                 request.kind(), request.start});
}

// ---- spans that record nothing

// A span that is its parent, or nothing where there is none.
runmain_span* carry(const Request& request) {
  const runmain_context* parent = request.parent;
  if (parent == nullptr) return &g_no_span;
  Block* block = take_block_here(sizeof(runmain_span));
  if (block == nullptr) return &g_no_span;
  auto* span = reinterpret_cast<runmain_span*>(block->data());
  span->head.owner = 0;
  span->head.quick = 0;
  begin_context(*span, parent);
  span->context.span = parent->span;
  if (request.current) enter(*span);
  return span;
}

runmain_span* not_sampled(ThreadLocal& local, const Request& request, const runmain_span_context& ids) {
  Block* block = take_block(local.thread->pool, kSmall);
  if (block == nullptr) return nullptr;
  auto* span = reinterpret_cast<runmain_span*>(block->data());
  span->head.owner = 0;
  span->head.quick = 0;
  begin_context(*span, request.parent);
  span->context.span = ids;
  return span;
}

// ---- those that record

void fill_slot(Lane& lane, runmain_span& span, const Request& request, std::uint32_t flags, std::uint64_t now_ns) {
  runmain_open_slot* slot = take_slot(lane, now_ns);
  span.slot = slot;
  if (slot == nullptr) return;
  slot->start_unix_nano = span.start_wall;
  std::memcpy(slot->trace_id, span.context.span.trace_id, sizeof slot->trace_id);
  std::memcpy(slot->span_id, span.context.span.span_id, sizeof slot->span_id);
  if (request.has_parent) {
    std::memcpy(slot->parent_span_id, request.parent->span.span_id, sizeof slot->parent_span_id);
  } else {
    std::memset(slot->parent_span_id, 0, sizeof slot->parent_span_id);
  }
  slot->scope = scope_in(lane, *span.tracer);
  slot->flags = flags;
  slot->kind = request.kind();
  const std::size_t size = request.name.size < sizeof slot->name ? request.name.size : sizeof slot->name;
  slot->name_length = static_cast<std::uint32_t>(size);
  copy_short(reinterpret_cast<std::uint8_t*>(slot->name), request.name.data, size);
  span.slot_state = publish_slot(lane, slot);
}

void fill_prefix(runmain_span& span, const Request& request, std::uint32_t flags) {
  auto* prefix = reinterpret_cast<Prefix*>(span.begin);
  *prefix = kPrefix;
  std::memcpy(prefix->trace_id, span.context.span.trace_id, sizeof prefix->trace_id);
  std::memcpy(prefix->span_id, span.context.span.span_id, sizeof prefix->span_id);
  prefix->kind = static_cast<std::uint8_t>(request.kind());
  prefix->start = span.start_wall;
  prefix->flags = flags;
  span.prefix = kRootPrefix;
  if (request.has_parent) {
    std::memcpy(prefix->parent_span_id, request.parent->span.span_id, sizeof prefix->parent_span_id);
    span.prefix = sizeof(Prefix);
  }
}

void begin_limits(runmain_span& span, const Limits& limits) {
  const std::uint32_t attributes = limits.attributes.load(std::memory_order_relaxed);
  const bool any_length = limits.value_length.load(std::memory_order_relaxed) == RUNMAIN_NO_LIMIT;
  span.head.quick = any_length ? attributes : 0;  // what is cut is not set inline
  span.left = any_length ? 0 : attributes;
  span.events_left = limits.events.load(std::memory_order_relaxed);
  span.links_left = limits.links.load(std::memory_order_relaxed);
}

// Everything but the name, the slot and the times.
void begin_fields(runmain_span& span, Block* block, const Request& request, std::uint32_t era) {
  std::memset(span.head.keys, 0, sizeof span.head.keys);
  span.grown = nullptr;
  span.begin = span.own_buffer();
  span.end = block->end();
  span.head.limit = span.end - kShortRoom;
  span.tracer = request.tracer;
  span.era = era;
  span.dropped_attributes = span.dropped_events = span.dropped_links = 0;
  span.status = RUNMAIN_STATUS_UNSET;
  span.ended = 0;
  __atomic_store_n(&span.ending, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&span.shared, 0, __ATOMIC_RELAXED);
  span.side = Side{};
}

void add_given(runmain_span* span, const runmain_start& start) {
  for (std::size_t i = 0; i < start.attribute_count; ++i) {
    const runmain_attribute& a = start.attributes[i];
    runmain_span_set_value(span, a.key.data, a.key.size, &a.value);
  }
  for (std::size_t i = 0; i < start.link_count; ++i) runmain_span_add_link(span, &start.links[i]);
}

// A tracestate, where there is one, and the name.
void add_name(runmain_span& span, runmain_text name) {
  if (runmain_shared* state = span.context.trace_state) {
    append(span, field_size(state->size),
           [&](WireWriter& out) { out.bytes(kFieldTraceState, runmain_shared_bytes(state), state->size); });
  }
  std::uint8_t* at = span.head.write;
  if (name.size < 128 && at <= span.head.limit) {
    at[0] = 0x2a;
    at[1] = static_cast<std::uint8_t>(name.size);
    copy_short(at + 2, name.data, name.size);
    __atomic_store_n(&span.head.write, at + 2 + name.size, __ATOMIC_RELEASE);
    return;
  }
  append_name(span, name);
}

runmain_span* record(Telemetry& t, ThreadLocal& local, Live& live, const Request& request,
                     const runmain_span_context& ids) {
  const std::uint64_t now = monotonic_ns();
  if (now >= live.wall_until) [[unlikely]]
    refresh_thread(t, live, now);
  LaneHold hold(t, live);
  Lane* lane = hold.get();
  Block* block = take_block(local.thread->pool, kSpan);
  if (lane != nullptr) count(*lane, lane->lines->started);
  if (block == nullptr) {
    if (lane != nullptr) {
      count(*lane, lane->lines->lost[RUNMAIN_LOST_NO_MEMORY]);
      count(*lane, lane->lines->ended);
    }
    return nullptr;
  }
  auto* span = reinterpret_cast<runmain_span*>(block->data());
  begin_context(*span, request.parent);
  span->context.span = ids;
  span->context.span.flags |= RUNMAIN_FLAG_SAMPLED;
  begin_fields(*span, block, request, live.era);
  begin_limits(*span, t.limits);
  span->wall_offset = live.wall_offset;
  span->start_wall = request.start != nullptr && request.start->start_unix_nano != 0
                         ? request.start->start_unix_nano
                         : now + static_cast<std::uint64_t>(live.wall_offset);
  const bool remote = request.has_parent && request.parent->span.is_remote != 0;
  const std::uint32_t flags =
      span->context.span.flags | kFlagHasIsRemote | (remote ? kFlagIsRemote : std::uint32_t{0});
  fill_prefix(*span, request, flags);
  __atomic_store_n(&span->head.write, span->begin + span->prefix, __ATOMIC_RELAXED);
  span->slot = nullptr;
  if (lane != nullptr) fill_slot(*lane, *span, request, flags, now);
  __atomic_store_n(&span->head.owner, thread_self(), __ATOMIC_RELEASE);
  return span;
}

// A signal handler has interrupted a start or an end of its own thread: whose memory is in between.
runmain_span* reentrant(Telemetry* t, const ThreadLocal& local) {
  const bool on = t != nullptr && t->mode.load(std::memory_order_acquire) == Mode::on;
  if (on && local.live != nullptr && local.live->lane.lines != nullptr) {
    const Lane& lane = local.live->lane;
    count(lane, lane.lines->started);
    count(lane, lane.lines->lost[RUNMAIN_LOST_REENTRANT]);
    count(lane, lane.lines->ended);
  } else if (on) {
    count_no_lane(*t);
  }
  return &g_no_span;
}

runmain_span* start(Request request) {
  ThreadLocal& local = t_local;
  request.parent = parent_for(request.start);
  request.has_parent = request.parent != nullptr && is_valid(request.parent->span);
  Telemetry* t = g_telemetry.load(std::memory_order_acquire);
  if (local.busy != 0) [[unlikely]]
    return reentrant(t, local);
  if (t == nullptr || t->mode.load(std::memory_order_acquire) != Mode::on) [[unlikely]] {
    if (t == nullptr || t->mode.load(std::memory_order_acquire) == Mode::undecided) t = &telemetry();
    if (t->mode.load(std::memory_order_acquire) != Mode::on) return carry(request);
  }
  Live* live = local.live;
  if (live == nullptr || live->lane.lines == nullptr || !live->begun) [[unlikely]] {
    const Busy busy(local);
    if (!begin_thread(*t, monotonic_ns())) {
      count_no_lane(*t);
      return &g_no_span;
    }
    live = local.live;
  }
  runmain_span* span = nullptr;
  {
    runmain_span_context ids;
    const Busy busy(local);
    make_ids(*live, request, ids);
    if (is_sampled(t->sampler, request, ids.trace_id)) {
      span = record(*t, local, *live, request, ids);
    } else {
      const LaneHold hold(*t, *live);
      if (const Lane* lane = hold.get()) count(*lane, lane->lines->not_sampled);
      span = not_sampled(local, request, ids);
    }
  }
  if (span == nullptr) return carry(request);
  if (is_recording(*span)) add_name(*span, request.name);
  if (request.start != nullptr && is_recording(*span)) add_given(span, *request.start);
  if (request.current) enter(*span);
  return span;
}

const runmain_tracer* or_default(const runmain_tracer* tracer) {
  return tracer != nullptr ? tracer : default_tracer();
}

}  // namespace

bool is_ours(const runmain_span& span) {
  return span.era == process().era.load(std::memory_order_relaxed);
}

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

runmain_span* runmain_span_start(const runmain_tracer* tracer, const char* name, size_t name_size,
                                 const runmain_start* options) {
  return start({or_default(tracer), {name, name_size}, options, nullptr, false, false});
}

runmain_span* runmain_span_start_current(const runmain_tracer* tracer, const char* name, size_t name_size,
                                         const runmain_start* options) {
  return start({or_default(tracer), {name, name_size}, options, nullptr, false, true});
}

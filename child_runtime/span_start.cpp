// How a span begins: its parent, the sampler's word, its ids, its first bytes.
#include <cstring>

#include "message.hpp"
#include "process.hpp"
#include "settings.hpp"
#include "span.hpp"

namespace runmain::child {

runmain_span g_no_span{{nullptr, nullptr, 0, 0, 1, {}, {}}, {1, 0, {}, nullptr, nullptr, nullptr}};

namespace {

constexpr std::uint32_t kFlagHasIsRemote = 0x100;  // of OTLP's Span.flags
constexpr std::uint32_t kFlagIsRemote = 0x200;

// What a span is, in registers: stored and loaded in the same pieces, because a wide load of what was stored
// in halves has to wait for both.
struct Ids {
  std::uint64_t trace[2];
  std::uint64_t span;
  std::uint8_t flags;
};

inline void store(void* to, std::uint64_t value) { std::memcpy(to, &value, sizeof value); }
inline void store_trace(std::uint8_t (&to)[16], const Ids& ids) {
  store(to, ids.trace[0]);
  store(to + 8, ids.trace[1]);
}
inline void store_tag(std::uint8_t (&to)[2], std::uint8_t first, std::uint8_t second) {
  const auto both = static_cast<std::uint16_t>(first | second << 8U);
  std::memcpy(to, &both, sizeof both);
}
inline void store_context(runmain_span_context& to, const Ids& ids) {
  store_trace(to.trace_id, ids);
  store(to.span_id, ids.span);
  store(&to.flags, ids.flags);  // and what is behind: not remote, nothing reserved
}
static_assert(sizeof(runmain_span_context) - offsetof(runmain_span_context, flags) == sizeof(std::uint64_t));

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
[[gnu::always_inline]] inline void begin_context(runmain_span& span, const runmain_context* parent) {
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

// The ids that the caller has for this span; nullptr: none.
inline const runmain_span_context* given_ids(const runmain_start* start) {
  if (start == nullptr || start->size < offsetof(runmain_start, ids) + sizeof start->ids) return nullptr;
  return start->ids != nullptr && is_valid(*start->ids) ? start->ids : nullptr;
}

[[gnu::noinline]] Ids ids_of(const runmain_span_context& given) {
  return {{load8(given.trace_id), load8(given.trace_id + 8)},
          load8(given.span_id),
          static_cast<std::uint8_t>(given.flags & RUNMAIN_FLAG_RANDOM)};
}

inline void make_trace_id(Live& live, Ids& ids) {
  do {
    ids.trace[0] = random_number(live);
    ids.trace[1] = random_number(live);
  } while ((ids.trace[0] | ids.trace[1]) == 0);
  ids.flags = RUNMAIN_FLAG_RANDOM;
}
inline void make_span_id(Live& live, Ids& ids) {
  do {
    ids.span = random_number(live);
  } while (ids.span == 0);
}
inline void take_trace_id(const runmain_span_context& parent, Ids& ids) {
  ids.trace[0] = load8(parent.trace_id);
  ids.trace[1] = load8(parent.trace_id + 8);
  ids.flags = parent.flags & RUNMAIN_FLAG_RANDOM;
}

// Those of the program's own generator, or ours in their place.
[[gnu::noinline]] Ids generate_ids(Live& live, const runmain_id_generator& generator,
                                   const runmain_span_context* parent) {
  Ids out{};
  if (parent != nullptr) {
    take_trace_id(*parent, out);
  } else if (generator.trace_id != nullptr) {
    std::uint8_t id[16] = {};
    generator.trace_id(generator.data, id);
    out.trace[0] = load8(id);
    out.trace[1] = load8(id + 8);
    out.flags = generator.is_random != 0 ? RUNMAIN_FLAG_RANDOM : 0;
  }
  if (generator.span_id != nullptr) {
    std::uint8_t id[8] = {};
    generator.span_id(generator.data, id);
    out.span = load8(id);
  }
  const bool has_trace = (out.trace[0] | out.trace[1]) != 0;
  if ((!has_trace && generator.trace_id != nullptr) || (out.span == 0 && generator.span_id != nullptr))
    warn_of_zero_id();
  if (!has_trace) make_trace_id(live, out);
  if (out.span == 0) make_span_id(live, out);
  return out;
}

// Ids and flags that are right whatever the sampler says.
[[gnu::always_inline]] inline Ids make_ids(const Telemetry& t, Live& live, const Request& request) {
  if (const runmain_span_context* given = given_ids(request.start)) [[unlikely]]
    return ids_of(*given);
  if (const runmain_id_generator* generator = t.id_generator.load(std::memory_order_acquire)) [[unlikely]]
    return generate_ids(live, *generator, request.has_parent ? &request.parent->span : nullptr);
  Ids out{};
  if (request.has_parent) {
    take_trace_id(request.parent->span, out);
  } else {
    make_trace_id(live, out);
  }
  make_span_id(live, out);
  return out;
}

[[gnu::noinline]] Verdict ask_sampler(const SamplerState& state, Request request, Ids ids) {
  std::uint8_t trace_id[16];
  store_trace(trace_id, ids);
  return decide(state, {request.has_parent ? request.parent : nullptr,
                        request.parent != nullptr ? request.parent->trace_state : nullptr, trace_id,
                        request.name, request.kind(), request.start});
}

[[gnu::always_inline]] inline Verdict verdict_for(const SamplerState& state, const Request& request,
                                                  const Ids& ids) {
  if (const runmain_span_context* given = given_ids(request.start)) [[unlikely]]
    return {(given->flags & RUNMAIN_FLAG_SAMPLED) != 0, kThresholdKept};
  const std::uint32_t kind = state.kind.load(std::memory_order_acquire);
  if (state.custom.load(std::memory_order_relaxed) != nullptr) [[unlikely]]
    return ask_sampler(state, request, ids);
  if (kind == RUNMAIN_SAMPLER_ALWAYS_ON) [[likely]] {
    if (!request.has_parent || state.ignore_parent.load(std::memory_order_relaxed) != 0)
      return {true, kThresholdKept};
    const runmain_context& parent = *request.parent;
    if (parent.trace_state == nullptr || parent.span.is_remote == 0) [[likely]]
      return {(parent.span.flags & RUNMAIN_FLAG_SAMPLED) != 0, kThresholdKept};
  } else if (request.parent == nullptr) {
    if (kind == RUNMAIN_SAMPLER_ALWAYS_OFF) return {false, kThresholdKept};
    if (kind == RUNMAIN_SAMPLER_PROBABILITY) {
      const std::uint64_t threshold = state.threshold.load(std::memory_order_relaxed);
      const bool sampled = randomness_of(ids.trace[1]) >= threshold;
      return {sampled, sampled ? threshold : kThresholdKept};
    }
  }
  return ask_sampler(state, request, ids);
}

// Gives the span a tracestate of its own.
[[gnu::noinline]] void set_threshold(runmain_span& span, std::uint64_t threshold) {
  bool cut = false;
  runmain_shared* before = span.context.trace_state;
  span.context.trace_state = with_threshold(before, threshold, cut);
  runmain_shared_release(before);
  if (cut) count_cut();
}

// ---- spans that record nothing

// A span that is its parent, or nothing where there is none.
[[gnu::noinline]] runmain_span* carry(Request request) {
  const runmain_context* parent = request.parent;
  if (parent == nullptr) return &g_no_span;
  Block* block = take_block_here(sizeof(runmain_span));
  if (block == nullptr) return &g_no_span;
  auto* span = reinterpret_cast<runmain_span*>(block->data());
  span->head.owner = 0;
  span->head.quick = 0;
  span->head.none = 0;
  begin_context(*span, parent);
  span->context.span = parent->span;
  if (request.current) enter(*span);
  return span;
}

[[gnu::noinline]] runmain_span* not_sampled(Telemetry& t, ThreadLocal& local, Live& live,
                                            const Request& request, const Ids& ids) {
  {
    const LaneHold hold(t, live);
    if (const Lane* lane = hold.get()) count(*lane, lane->lines->not_sampled);
  }
  Block* block = take_block(local.thread->pool, kSmall);
  if (block == nullptr) return nullptr;
  auto* span = reinterpret_cast<runmain_span*>(block->data());
  span->head.owner = 0;
  span->head.quick = 0;
  span->head.none = 0;
  begin_context(*span, request.parent);
  store_context(span->context.span, ids);
  return span;
}

// ---- those that record

[[gnu::always_inline]] inline void fill_slot(Lane& lane, runmain_span& span, const Ids& ids,
                                             const Request& request, std::uint64_t start, std::uint32_t flags,
                                             std::uint64_t now_ns) {
  runmain_open_slot* slot = take_slot(lane, now_ns);
  span.slot = slot;
  if (slot == nullptr) return;
  slot->start_unix_nano = start;
  store_trace(slot->trace_id, ids);
  store(slot->span_id, ids.span);
  store(slot->parent_span_id, request.has_parent ? load8(request.parent->span.span_id) : 0);
  slot->scope = scope_in(lane, *request.tracer);
  slot->flags = flags;
  slot->kind = request.kind();
  const std::size_t size = request.name.size < sizeof slot->name ? request.name.size : sizeof slot->name;
  slot->name_length = static_cast<std::uint32_t>(size);
  copy_short(reinterpret_cast<std::uint8_t*>(slot->name), request.name.data, size);
  span.slot_state = publish_slot(lane, slot);
}

// But what is only known at the end: there it is written to its place in the mailbox.
// Returns its size.
[[gnu::always_inline]] inline std::size_t fill_prefix(std::uint8_t* to, const Ids& ids,
                                                      const Request& request, std::uint64_t start,
                                                      std::uint32_t flags) {
  auto* prefix = reinterpret_cast<Prefix*>(to);
  store_tag(prefix->trace_id_tag, 0x0a, 16);
  store_trace(prefix->trace_id, ids);
  store_tag(prefix->span_id_tag, 0x12, 8);
  store(prefix->span_id, ids.span);
  store_tag(prefix->kind, 0x30, static_cast<std::uint8_t>(request.kind()));
  prefix->start_tag = 0x39;
  prefix->start = start;
  prefix->end_tag = 0x41;
  store_tag(prefix->flags_tag, 0x85, 0x01);
  prefix->flags = flags;
  if (!request.has_parent) return kRootPrefix;
  store_tag(prefix->parent_tag, 0x22, 8);
  store(prefix->parent_span_id, load8(request.parent->span.span_id));
  return sizeof(Prefix);
}

[[gnu::always_inline]] inline void begin_limits(runmain_span& span, const Limits& limits) {
  const std::uint32_t attributes = limits.attributes.load(std::memory_order_relaxed);
  const bool any_length = limits.value_length.load(std::memory_order_relaxed) == RUNMAIN_NO_LIMIT;
  span.head.quick = any_length ? attributes : 0;  // what is cut is not set inline
  span.head.none = 0;
  span.left = any_length ? 0 : attributes;
  span.events_left = limits.events.load(std::memory_order_relaxed);
  span.links_left = limits.links.load(std::memory_order_relaxed);
}

void add_given(runmain_span* span, const runmain_start& start) {
  for (std::size_t i = 0; i < start.attribute_count; ++i) {
    const runmain_attribute& a = start.attributes[i];
    runmain_span_set_value(span, a.key.data, a.key.size, &a.value);
  }
  for (std::size_t i = 0; i < start.link_count; ++i) runmain_span_add_link(span, &start.links[i]);
}

// What is not short: a tracestate; `late`: the name, long or behind one.
[[gnu::noinline]] void add_long(runmain_span& span, runmain_text name, bool late) {
  if (runmain_shared* state = span.context.trace_state) {
    append(span, field_size(state->size),
           [&](WireWriter& out) { out.bytes(kFieldTraceState, runmain_shared_bytes(state), state->size); });
  }
  if (late) append_name(span, name);
}

constexpr std::size_t kShortName = 127;

[[gnu::always_inline]] inline void add_name(runmain_span& span, std::uint8_t* at, runmain_text name) {
  if (name.size > kShortName || span.context.trace_state != nullptr) [[unlikely]] {
    __atomic_store_n(&span.head.write, at, __ATOMIC_RELAXED);
    return;  // add_long
  }
  store_tag(*reinterpret_cast<std::uint8_t(*)[2]>(at), 0x2a, static_cast<std::uint8_t>(name.size));
  copy_short(at + 2, name.data, name.size);
  __atomic_store_n(&span.head.write, at + 2 + name.size, __ATOMIC_RELAXED);
}

[[gnu::always_inline]] inline runmain_span* record(Telemetry& t, ThreadLocal& local, Live& live,
                                                   const Request& request, Ids ids) {
  ids.flags |= RUNMAIN_FLAG_SAMPLED;
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
  std::uint8_t* const buffer = span->own_buffer();
  const std::uint64_t start = request.start != nullptr && request.start->start_unix_nano != 0
                                  ? request.start->start_unix_nano
                                  : now + static_cast<std::uint64_t>(live.wall_offset);
  const bool remote = request.has_parent && request.parent->span.is_remote != 0;
  const std::uint32_t flags = ids.flags | kFlagHasIsRemote | (remote ? kFlagIsRemote : std::uint32_t{0});
  const std::size_t prefix = fill_prefix(buffer, ids, request, start, flags);
  std::memset(span->head.keys, 0, sizeof span->head.keys);
  std::memset(&span->now, 0, sizeof span->now);
  begin_context(*span, request.parent);
  store_context(span->context.span, ids);
  begin_limits(*span, t.limits);
  span->begin = buffer;
  span->end = reinterpret_cast<std::uint8_t*>(block) + kBlockSize[kSpan];
  span->head.limit = reinterpret_cast<std::uint8_t*>(block) + kBlockSize[kSpan] - kShortRoom;
  span->tracer = request.tracer;
  span->era = live.era;
  span->prefix = static_cast<std::uint32_t>(prefix);
  span->wall_offset = live.wall_offset;
  span->start_wall = start;
  span->slot = nullptr;
  if (lane != nullptr) fill_slot(*lane, *span, ids, request, start, flags, now);
  add_name(*span, buffer + prefix, request.name);
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

[[gnu::noinline]] void add_rest(runmain_span& span, Request request, bool late) {
  if (!is_recording(span)) return;
  if (late || span.context.trace_state != nullptr) add_long(span, request.name, late);
  if (request.start != nullptr) add_given(&span, *request.start);
}

// A thread's first span, its first after a fork, or one of those that have no lane of their own.
[[gnu::noinline]] Live* begin_here(Telemetry& t, ThreadLocal& local) {
  const Busy busy(local);
  if (begin_thread(t, monotonic_ns())) return local.live;
  count_no_lane(t);
  return nullptr;
}

// Nothing is recorded here, or nothing is decided yet; or a signal handler comes in between.
[[gnu::noinline]] runmain_span* start_elsewhere(Request request);

// Request and Ids stay in registers as long as nobody is given their addresses.
[[gnu::noinline]] runmain_span* start(const runmain_tracer* tracer, const char* name, std::size_t size,
                                      const runmain_start* options, bool current) {
  ThreadLocal& local = t_local;
  Telemetry* t = g_telemetry.load(std::memory_order_acquire);
  const runmain_context* parent = parent_for(options);
  const Request request{tracer != nullptr ? tracer : &g_default_tracer.tracer, {name, size}, options, parent,
                        parent != nullptr && is_valid(parent->span),           current};
  if (t == nullptr || t->mode.load(std::memory_order_acquire) != Mode::on || local.busy != 0) [[unlikely]]
    return start_elsewhere(request);
  Live* live = local.live;
  if (live == nullptr || live->lane.lines == nullptr || !live->begun) [[unlikely]] {
    live = begin_here(*t, local);
    if (live == nullptr) return &g_no_span;
  }
  runmain_span* span = nullptr;
  std::uint64_t threshold = kThresholdKept;
  {
    const Busy busy(local);
    const Ids ids = make_ids(*t, *live, request);
    const Verdict verdict = verdict_for(t->sampler, request, ids);
    threshold = verdict.threshold;
    span = verdict.sampled ? record(*t, local, *live, request, ids)
                           : not_sampled(*t, local, *live, request, ids);
  }
  if (span == nullptr) return carry(request);
  const bool late = size > kShortName || span->context.trace_state != nullptr;  // its name: see add_name
  if (threshold != kThresholdKept) [[unlikely]]
    set_threshold(*span, threshold);
  if (late || options != nullptr || span->context.trace_state != nullptr) [[unlikely]]
    add_rest(*span, request, late);
  if (current) enter(*span);
  return span;
}

runmain_span* start_elsewhere(Request request) {
  Telemetry* t = g_telemetry.load(std::memory_order_acquire);
  if (t_local.busy != 0) return reentrant(t, t_local);
  if (t == nullptr || t->mode.load(std::memory_order_acquire) == Mode::undecided) t = &telemetry();
  if (t->mode.load(std::memory_order_acquire) == Mode::on)
    return start(request.tracer, request.name.data, request.name.size, request.start, request.current);
  return carry(request);
}

// The shortest way out of a process that does not serve.
inline bool is_off(const runmain_start* options) {
  const Telemetry* t = g_telemetry.load(std::memory_order_acquire);
  return t != nullptr && t->mode.load(std::memory_order_acquire) == Mode::off && options == nullptr &&
         t_local.current == nullptr;
}

}  // namespace

bool is_ours(const runmain_span& span) { return span.era == process().era.load(std::memory_order_relaxed); }

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

runmain_span* runmain_span_start(const runmain_tracer* tracer, const char* name, size_t name_size,
                                 const runmain_start* options) {
  return is_off(options) ? &g_no_span : start(tracer, name, name_size, options, false);
}

runmain_span* runmain_span_start_current(const runmain_tracer* tracer, const char* name, size_t name_size,
                                         const runmain_start* options) {
  return is_off(options) ? &g_no_span : start(tracer, name, name_size, options, true);
}

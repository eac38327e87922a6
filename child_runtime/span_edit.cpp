// What a program adds to a span while it is open.
#include <cstring>

#include "span.hpp"

namespace runmain::child {
namespace {

const Limits& limits() { return g_telemetry.load(std::memory_order_acquire)->limits; }

std::uint32_t value_length() { return limits().value_length.load(std::memory_order_relaxed); }

// Does `mine(span)` as the owner, or `theirs(span, sharing)` as another thread. One that a fork has left here
// is its parent's: its slot is not mapped, and its lock may be held by a thread that is not here.
template <class Mine, class Theirs>
void edit(runmain_span* span, Mine&& mine, Theirs&& theirs) {
  if (!is_recording(*span) || !is_ours(*span)) return;
  if (is_owner(*span)) {
    mine(*span);
    return;
  }
  Sharing sharing(*span);
  if (sharing.open()) theirs(*span, sharing);
}

// One that has no room any more.
void drop(std::uint32_t& dropped) {
  ++dropped;
  count_cut();
}

// ---- attributes

void set_as_owner(runmain_span& span, const runmain_attribute& attribute) {
  const std::uint32_t number = key_bit(attribute.key);
  std::uint64_t& word = span.head.keys[number >> 6U];
  const std::uint64_t bit = 1ULL << (number & 63U);
  const bool replaced = (word & bit) != 0 && remove_key(span, attribute.key);
  std::uint32_t& left = span.head.quick != 0 ? span.head.quick : span.left;
  if (!replaced && left == 0) return drop(span.now.dropped_attributes);
  bool cut = false;
  const std::uint32_t length = value_length();
  const std::size_t size = encoded_size(attribute, length, &cut);
  if (!append(span, size, [&](WireWriter& out) { encode(out, kFieldAttribute, attribute, length); }))
    return drop(span.now.dropped_attributes);
  word |= bit;
  if (!replaced) --left;
  if (cut) count_cut();
}

void set_aside(runmain_span& span, Sharing& sharing, const runmain_attribute& attribute) {
  const std::uint32_t limit = limits().attributes.load(std::memory_order_relaxed);
  const bool replaced = sharing.remove_key(attribute.key);
  if (!replaced && (span.now.side.attributes >= limit || span.now.side.attributes >= kSideAttributesMax))
    return drop(span.now.side.dropped);
  bool cut = false;
  const std::uint32_t length = value_length();
  const std::size_t size = encoded_size(attribute, length, &cut);
  if (!append(span, sharing, size, [&](WireWriter& out) { encode(out, kFieldAttribute, attribute, length); }))
    return count_cut();
  if (!replaced) ++span.now.side.attributes;
  if (cut) count_cut();
}

void set(runmain_span* span, const runmain_attribute& attribute) {
  if (!is_sendable(attribute)) return;
  edit(
      span, [&](runmain_span& s) { set_as_owner(s, attribute); },
      [&](runmain_span& s, Sharing& sharing) { set_aside(s, sharing, attribute); });
}

// By itself, so that the short way needs no stack.
[[gnu::noinline]] void set_string_slow(runmain_span* span, runmain_text key, runmain_text value) {
  runmain_attribute attribute{key, {RUNMAIN_VALUE_STRING, 0, value.size, {}}};
  attribute.value.of.string = value.data;
  set(span, attribute);
}

// ---- events and links

std::size_t number_size(std::uint32_t value) { return value == 0 ? 0 : 1 + varint_size(value); }

// An event or a link, encoded; `left` and `dropped` are the owner's.
template <class W>
void add_counted(runmain_span* span, std::size_t size, std::uint32_t runmain_span::*left,
                 std::uint32_t Fresh::*dropped, W&& write) {
  edit(
      span,
      [&](runmain_span& s) {
        if (s.*left == 0 || !append(s, size, write)) return drop(s.now.*dropped);
        --(s.*left);
      },
      [&](runmain_span& s, Sharing& sharing) {
        if (!append(s, sharing, size, write)) count_cut();
      });
}

void note(const AttributeList& list) {
  if (list.dropped() > 0 || list.cut()) count_cut(list.dropped() + (list.cut() ? 1 : 0));
}

void add_event(runmain_span* span, runmain_text name, std::uint64_t unix_nano, const AttributeList& list) {
  note(list);
  const std::size_t content = 9 + field_size(name.size) + list.size() + number_size(list.dropped());
  add_counted(span, field_size(content), &runmain_span::events_left, &Fresh::dropped_events,
              [&](WireWriter& out) {
                out.open(kFieldEvent, content);
                out.fixed64(1, unix_nano);
                out.bytes(2, name.data, name.size);
                list.write(out, 3);
                if (list.dropped() > 0) out.number(4, list.dropped());
              });
}

void add_link(runmain_span* span, const runmain_link& link, const AttributeList& list) {
  note(list);
  const std::size_t state = link.trace_state.size > 0 ? field_size(link.trace_state.size) : 0;
  const std::size_t content = 18 + 10 + state + list.size() + number_size(list.dropped()) + 5;
  const std::uint32_t flags = link.context.flags | 0x100U | (link.context.is_remote != 0 ? 0x200U : 0U);
  add_counted(span, field_size(content), &runmain_span::links_left, &Fresh::dropped_links,
              [&](WireWriter& out) {
                out.open(kFieldLink, content);
                out.bytes(1, link.context.trace_id, sizeof link.context.trace_id);
                out.bytes(2, link.context.span_id, sizeof link.context.span_id);
                if (state > 0) out.bytes(3, link.trace_state.data, link.trace_state.size);
                list.write(out, 4);
                if (list.dropped() > 0) out.number(5, list.dropped());
                out.fixed32(6, flags);
              });
}

AttributeLimits event_limits() {
  return {limits().attributes_of_event.load(std::memory_order_relaxed), value_length()};
}
AttributeLimits link_limits() {
  return {limits().attributes_of_link.load(std::memory_order_relaxed), value_length()};
}

std::uint64_t now_for(const runmain_span& span) {
  return monotonic_ns() + static_cast<std::uint64_t>(span.wall_offset);
}

// ---- status and name

// Both fields, always: what comes later then counts whole, for those who merge messages and for those who do
// not.
void write_status(WireWriter& out, int code, runmain_text description) {
  out.open(kFieldStatus, field_size(description.size) + 2);
  out.bytes(2, description.data, description.size);
  out.number(3, static_cast<std::uint64_t>(code));
}
std::size_t status_size(runmain_text description) { return field_size(field_size(description.size) + 2); }

}  // namespace

void append_name(runmain_span& span, runmain_text name) {
  if (!append(span, field_size(name.size),
              [&](WireWriter& out) { out.bytes(kFieldName, name.data, name.size); }))
    count_cut();
}

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

void runmain_span_set_string(runmain_span* span, const char* key, size_t key_size, const char* value,
                             size_t value_size) {
#if RUNMAIN_SPAN_INLINE
  if (runmain_span_try_set(span, key, key_size, value, value_size) != 0) return;
#endif
  set_string_slow(span, {key, key_size}, {value, value_size});
}

void runmain_span_set_bool(runmain_span* span, const char* key, size_t key_size, int value) {
  runmain_attribute attribute{{key, key_size}, {RUNMAIN_VALUE_BOOL, 0, 0, {}}};
  attribute.value.of.boolean = value;
  set(span, attribute);
}

void runmain_span_set_int(runmain_span* span, const char* key, size_t key_size, int64_t value) {
  runmain_attribute attribute{{key, key_size}, {RUNMAIN_VALUE_INT, 0, 0, {}}};
  attribute.value.of.integer = value;
  set(span, attribute);
}

void runmain_span_set_double(runmain_span* span, const char* key, size_t key_size, double value) {
  runmain_attribute attribute{{key, key_size}, {RUNMAIN_VALUE_DOUBLE, 0, 0, {}}};
  attribute.value.of.real = value;
  set(span, attribute);
}

void runmain_span_set_value(runmain_span* span, const char* key, size_t key_size,
                            const runmain_value* value) {
  set(span, {{key, key_size}, *value});
}

void runmain_span_add_event(runmain_span* span, const char* name, size_t name_size, uint64_t unix_nano,
                            const runmain_attribute* attributes, size_t count) {
  if (!is_recording(*span)) return;
  add_event(span, {name, name_size}, unix_nano != 0 ? unix_nano : now_for(*span),
            AttributeList(attributes, count, event_limits()));
}

void runmain_span_add_link(runmain_span* span, const runmain_link* link) {
  if (!is_recording(*span)) return;
  // What links to nothing and says nothing is none.
  if (!is_valid(link->context) && link->attribute_count == 0 && link->trace_state.size == 0) return;
  add_link(span, *link, AttributeList(link->attributes, link->attribute_count, link_limits()));
}

void runmain_span_record_exception(runmain_span* span, runmain_text type, runmain_text message,
                                   runmain_text stacktrace, const runmain_attribute* attributes,
                                   size_t count) {
  constexpr std::size_t kOwn = 3;
  constexpr std::size_t kMax = 64;  // of the program's; it goes last, so that its words count
  if (!is_recording(*span)) return;
  runmain_attribute all[kOwn + kMax] = {};
  std::size_t n = 0;
  if (type.size > 0) all[n++] = string_attribute("exception.type", type);
  if (message.size > 0) all[n++] = string_attribute("exception.message", message);
  if (stacktrace.size > 0) all[n++] = string_attribute("exception.stacktrace", stacktrace);
  for (std::size_t i = 0; i < count && i < kMax; ++i) all[n++] = attributes[i];
  if (count > kMax) count_cut(count - kMax);
  add_event(span, text_of("exception"), now_for(*span), AttributeList(all, n, event_limits()));
}

void runmain_span_set_status(runmain_span* span, int code, const char* description, size_t size) {
  if (code != RUNMAIN_STATUS_OK && code != RUNMAIN_STATUS_ERROR) return;
  const runmain_text text{description, code == RUNMAIN_STATUS_ERROR ? size : 0};
  const auto write = [&](WireWriter& out) { write_status(out, code, text); };
  edit(
      span,
      [&](runmain_span& s) {
        if (s.now.status == RUNMAIN_STATUS_OK) return;
        if (!append(s, status_size(text), write)) return count_cut();
        s.now.status = static_cast<std::uint8_t>(code);
      },
      [&](runmain_span& s, Sharing& sharing) {
        if (!append(s, sharing, status_size(text), write)) count_cut();
      });
}

void runmain_span_update_name(runmain_span* span, const char* name, size_t size) {
  const runmain_text text{name, size};
  edit(
      span,
      [&](runmain_span& s) {
        append_name(s, text);
        // Another thread that ends it meanwhile gives the slot away by the state that it was left in.
        pthread_mutex_lock(&s.lock);
        if (s.now.ended == 0 && s.slot != nullptr) rename_slot(s.slot, s.slot_state, name, size);
        pthread_mutex_unlock(&s.lock);
      },
      [&](runmain_span& s, Sharing& sharing) {
        const auto write = [&](WireWriter& out) { out.bytes(kFieldName, name, size); };
        if (!append(s, sharing, field_size(size), write)) count_cut();
      });
}

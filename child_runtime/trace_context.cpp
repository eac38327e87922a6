// traceparent and tracestate: W3C Trace Context, level 2, sections 3.2 and 3.3.
#include <cerrno>

#include "header_text.hpp"

namespace runmain::child {

using namespace header_text;

namespace {

constexpr std::size_t kKeyMax = 256;
constexpr std::size_t kValueMax = 256;
constexpr std::size_t kLongMember = 128;  // longer ones are the first to go

bool is_key_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/' ||
         c == '@';
}

bool is_key(runmain_text key) {
  if (key.size == 0 || key.size > kKeyMax) return false;
  const char first = key.data[0];
  if (!((first >= 'a' && first <= 'z') || (first >= '0' && first <= '9'))) return false;
  for (std::size_t i = 1; i < key.size; ++i) {
    if (!is_key_character(key.data[i])) return false;
  }
  return true;
}

bool is_value(runmain_text value) {
  if (value.size == 0 || value.size > kValueMax || value.data[value.size - 1] == ' ') return false;
  for (std::size_t i = 0; i < value.size; ++i) {
    const char c = value.data[i];
    if (c < 0x20 || c > 0x7e || c == ',' || c == '=') return false;
  }
  return true;
}

runmain_text key_of(runmain_text member) { return {member.data, find(member, '=')}; }

runmain_text value_of(runmain_text member) {
  take_until(member, '=');
  return member;
}

// Whole members, "key=value", that point into what was read.
struct Members {
  runmain_text list[RUNMAIN_TRACE_STATE_MEMBERS_MAX + 1];  // one more: it goes before there are too many
  std::size_t count = 0;

  std::size_t find_key(runmain_text key) const {
    std::size_t i = 0;
    while (i < count && !same(key_of(list[i]), key)) ++i;
    return i;
  }
  void remove(std::size_t index) {
    --count;
    for (std::size_t i = index; i < count; ++i) list[i] = list[i + 1];
  }
  std::size_t bytes() const {
    std::size_t sum = count == 0 ? 0 : count - 1;
    for (std::size_t i = 0; i < count; ++i) sum += list[i].size;
    return sum;
  }
};

// All members of one header's value. False: it is not valid.
bool read_members(runmain_text value, Members& members, std::size_t& seen) {
  while (value.size > 0) {
    const runmain_text member = trimmed(take_until(value, ','));
    if (member.size == 0) continue;
    if (!is_key(key_of(member)) || !is_value(value_of(member))) return false;
    if (++seen > RUNMAIN_TRACE_STATE_MEMBERS_MAX) return false;
    if (members.find_key(key_of(member)) == members.count) members.list[members.count++] = member;
  }
  return true;
}

// Drops members until they fit, as section 3.3.1.5 says; never the first `kept`.
void fit(Members& members, std::size_t kept) {
  for (std::size_t i = members.count; i > kept && members.bytes() > RUNMAIN_TRACE_STATE_MAX; --i) {
    if (members.list[i - 1].size > kLongMember) members.remove(i - 1);
  }
  while (members.count > kept &&
         (members.bytes() > RUNMAIN_TRACE_STATE_MAX || members.count > RUNMAIN_TRACE_STATE_MEMBERS_MAX)) {
    --members.count;
  }
}

// They may point into `out`.
void write(const Members& members, runmain_trace_state& out) {
  char text[RUNMAIN_TRACE_STATE_MAX];
  std::size_t used = 0;
  for (std::size_t i = 0; i < members.count; ++i) {
    if (i > 0) text[used++] = ',';
    append(text, used, members.list[i]);
  }
  std::memcpy(out.text, text, used);
  out.size = static_cast<std::uint16_t>(used);
  out.members = static_cast<std::uint16_t>(members.count);
}

// What is already in a state, which somebody may have written by hand: never more than fits.
Members members_of(const runmain_trace_state& state) {
  Members members;
  const std::size_t size = state.size < RUNMAIN_TRACE_STATE_MAX ? state.size : RUNMAIN_TRACE_STATE_MAX;
  std::size_t seen = 0;
  if (!read_members({state.text, size}, members, seen)) members.count = 0;
  return members;
}

}  // namespace
}  // namespace runmain::child

using namespace runmain::child;

extern "C" {

int runmain_traceparent_parse(runmain_text text, runmain_span_context* out) {
  constexpr std::size_t kTraceId = 3;
  constexpr std::size_t kSpanId = 36;
  constexpr std::size_t kFlags = 53;
  if (text.size < RUNMAIN_TRACEPARENT_SIZE) return -EINVAL;
  const char* const at = text.data;
  std::uint8_t version = 0;
  runmain_span_context read{};
  if (!read_hex(at, 1, false, &version) || at[2] != '-' ||
      !read_hex(at + kTraceId, 16, false, read.trace_id) || at[kSpanId - 1] != '-' ||
      !read_hex(at + kSpanId, 8, false, read.span_id) || at[kFlags - 1] != '-' ||
      !read_hex(at + kFlags, 1, false, &read.flags)) {
    return -EINVAL;
  }
  if (version == 0xff || !has_ids(read)) return -EINVAL;
  const bool longer = text.size > RUNMAIN_TRACEPARENT_SIZE;
  if (longer && (version == 0 || at[RUNMAIN_TRACEPARENT_SIZE] != '-')) return -EINVAL;
  read.flags &= kKnownFlags;
  read.is_remote = 1;
  *out = read;
  return 0;
}

size_t runmain_traceparent_format(const runmain_span_context* context,
                                  char out[RUNMAIN_TRACEPARENT_SIZE + 1]) {
  out[0] = '\0';
  if (!has_ids(*context)) return 0;
  const auto flags = static_cast<std::uint8_t>(context->flags & kKnownFlags);
  char* at = out;
  *at++ = '0';
  *at++ = '0';
  *at++ = '-';
  at = write_hex(context->trace_id, sizeof context->trace_id, at);
  *at++ = '-';
  at = write_hex(context->span_id, sizeof context->span_id, at);
  *at++ = '-';
  at = write_hex(&flags, 1, at);
  *at = '\0';
  return RUNMAIN_TRACEPARENT_SIZE;
}

int runmain_trace_state_parse(const runmain_text* values, size_t count, runmain_trace_state* out) {
  Members members;
  std::size_t seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!read_members(values[i], members, seen)) return -EINVAL;
  }
  fit(members, 0);
  write(members, *out);
  return 0;
}

int runmain_trace_state_get(const runmain_trace_state* state, runmain_text key, runmain_text* value) {
  const Members members = members_of(*state);
  const std::size_t at = members.find_key(key);
  if (at == members.count) return 0;
  *value = value_of(members.list[at]);
  return 1;
}

int runmain_trace_state_set(runmain_trace_state* state, runmain_text key, runmain_text value) {
  char made[RUNMAIN_TRACE_STATE_MAX];
  if (!is_key(key) || !is_value(value) || key.size + 1 + value.size > sizeof made) return -EINVAL;
  std::size_t used = 0;
  append(made, used, key);
  made[used++] = '=';
  append(made, used, value);
  Members members = members_of(*state);
  const std::size_t old = members.find_key(key);
  if (old < members.count) members.remove(old);
  for (std::size_t i = members.count++; i > 0; --i) members.list[i] = members.list[i - 1];
  members.list[0] = {made, used};
  fit(members, 1);
  write(members, *state);
  return 0;
}

int runmain_trace_state_remove(runmain_trace_state* state, runmain_text key) {
  Members members = members_of(*state);
  const std::size_t at = members.find_key(key);
  if (at == members.count) return 0;
  members.remove(at);
  write(members, *state);
  return 1;
}

}  // extern "C"

// The environment as a carrier: OpenTelemetry, context/env-carriers.
#include <pthread.h>
#include <unistd.h>

#include <cerrno>

#include "header_text.hpp"

namespace runmain::child {

using namespace header_text;

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A character of a name as the environment has it.
char normal(char c) {
  if (c >= 'a' && c <= 'z') return static_cast<char>(c - 'a' + 'A');
  return (c >= 'A' && c <= 'Z') || is_digit(c) ? c : '_';
}

bool needs_prefix(runmain_text name) { return name.size == 0 || is_digit(name.data[0]); }

// The value of "NAME=value", if its name is the normalised `name`, else NULL.
const char* value_in(const char* entry, runmain_text name) {
  if (needs_prefix(name) && *entry++ != '_') return nullptr;
  for (std::size_t i = 0; i < name.size; ++i) {
    if (*entry++ != normal(name.data[i])) return nullptr;
  }
  return *entry == '=' ? entry + 1 : nullptr;
}

// [A-Z_][A-Z0-9_]*
bool is_normal(runmain_text name) {
  if (needs_prefix(name)) return false;
  for (std::size_t i = 0; i < name.size; ++i) {
    if (normal(name.data[i]) != name.data[i]) return false;
  }
  return true;
}

int get_for_carrier(void* data, const char* name, std::size_t index, runmain_text* value) {
  return index == 0 ? runmain_environment_get(static_cast<char* const*>(data), text_of(name), value) : 0;
}

int set_for_carrier(void* data, const char* name, runmain_text value) {
  return runmain_environment_set(static_cast<runmain_child_environment*>(data), text_of(name), value);
}

// Index of the first entry of this name from `from` on, or the count.
std::size_t find_entry(const runmain_child_environment& environment, runmain_text name, std::size_t from) {
  while (from < environment.count && value_in(environment.entries[from], name) == nullptr) ++from;
  return from;
}

bool remove_from(runmain_child_environment& environment, runmain_text name, std::size_t from) {
  bool any = false;
  for (std::size_t i = find_entry(environment, name, from); i < environment.count;
       i = find_entry(environment, name, i)) {
    for (std::size_t j = i; j < environment.count; ++j) environment.entries[j] = environment.entries[j + 1];
    --environment.count;
    any = true;
  }
  return any;
}

// What this process was started with.
struct Inherited {
  int found;
  runmain_span_context span;
  runmain_trace_state state;
  runmain_baggage baggage;
};

constinit Inherited g_inherited{};
constinit pthread_once_t g_inherited_once = PTHREAD_ONCE_INIT;

void read_inherited() {
  g_inherited.found = runmain_extract_environment(runmain_propagators(), environ, &g_inherited.span,
                                                  &g_inherited.state, &g_inherited.baggage);
}

}  // namespace
}  // namespace runmain::child

using namespace runmain::child;

extern "C" {

size_t runmain_environment_name(runmain_text name, char* out, size_t size) {
  std::size_t length = 0;
  const auto put = [&](char c) {
    if (length + 1 < size) out[length] = c;
    ++length;
  };
  if (needs_prefix(name)) put('_');
  for (std::size_t i = 0; i < name.size; ++i) put(normal(name.data[i]));
  if (size > 0) out[length < size ? length : size - 1] = '\0';
  return length;
}

int runmain_environment_get(char* const* environment, runmain_text name, runmain_text* value) {
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const char* found = value_in(*environment, name);
    if (found == nullptr) continue;
    *value = text_of(found);
    return 1;
  }
  return 0;
}

size_t runmain_environment_keys(char* const* environment, runmain_text* out, size_t max) {
  std::size_t count = 0;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    runmain_text rest = text_of(*environment);
    const bool is_entry = find(rest, '=') < rest.size;
    const runmain_text name = take_until(rest, '=');
    if (!is_entry || !is_normal(name)) continue;
    if (count < max) out[count] = name;
    ++count;
  }
  return count;
}

int runmain_environment_copy(runmain_child_environment* out, char* const* environment, char** entries,
                             size_t capacity, char* text, size_t text_capacity) {
  *out = {entries, capacity, 0, text, text_capacity, 0};
  if (capacity == 0) return -ENOSPC;
  for (; environment != nullptr && *environment != nullptr && out->count + 1 < capacity; ++environment) {
    entries[out->count++] = *environment;
  }
  entries[out->count] = nullptr;
  return environment == nullptr || *environment == nullptr ? 0 : -ENOSPC;
}

int runmain_environment_set(runmain_child_environment* environment, runmain_text name, runmain_text value) {
  if (find(value, '\0') < value.size) return -EINVAL;
  const std::size_t room = environment->text_capacity - environment->text_used;
  const std::size_t name_size = runmain_environment_name(name, nullptr, 0);
  if (name_size + 1 + value.size + 1 > room) return -ENOSPC;
  const std::size_t at = find_entry(*environment, name, 0);
  const bool is_new = at == environment->count;
  if (is_new && environment->count + 2 > environment->capacity) return -ENOSPC;
  char* const entry = environment->text + environment->text_used;
  std::size_t used = runmain_environment_name(name, entry, room);
  entry[used++] = '=';
  append(entry, used, value);
  entry[used++] = '\0';
  environment->text_used += used;
  environment->entries[at] = entry;
  if (is_new) {
    environment->entries[++environment->count] = nullptr;
  } else {
    remove_from(*environment, name, at + 1);
  }
  return 0;
}

int runmain_environment_remove(runmain_child_environment* environment, runmain_text name) {
  return remove_from(*environment, name, 0) ? 1 : 0;
}

int runmain_inject_environment(uint32_t formats, runmain_child_environment* environment,
                               const runmain_span_context* span, const runmain_trace_state* state,
                               const runmain_baggage* baggage) {
  const char* fields[RUNMAIN_FIELDS_MAX];
  const std::size_t count = runmain_propagator_fields(formats, fields, RUNMAIN_FIELDS_MAX);
  for (std::size_t i = 0; i < count; ++i) runmain_environment_remove(environment, text_of(fields[i]));
  const runmain_carrier carrier{environment, nullptr, set_for_carrier};
  return runmain_inject(formats, &carrier, span, state, baggage);
}

int runmain_extract_environment(uint32_t formats, char* const* environment, runmain_span_context* span,
                                runmain_trace_state* state, runmain_baggage* baggage) {
  // Read only: the carrier's data is not const because others write by it.
  const runmain_carrier carrier{const_cast<char**>(environment), get_for_carrier, nullptr};
  return runmain_extract(formats, &carrier, span, state, baggage);
}

int runmain_inherited_context(runmain_span_context* span, runmain_trace_state* state,
                              runmain_baggage* baggage) {
  pthread_once(&g_inherited_once, read_inherited);
  const int found = g_inherited.found;
  if ((found & RUNMAIN_EXTRACTED_SPAN) != 0) {
    if (span != nullptr) *span = g_inherited.span;
    if (state != nullptr) *state = g_inherited.state;
  }
  if ((found & RUNMAIN_EXTRACTED_BAGGAGE) != 0 && baggage != nullptr) *baggage = g_inherited.baggage;
  return found;
}

}  // extern "C"

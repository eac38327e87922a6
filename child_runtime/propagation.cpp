// Which formats this process speaks, and all of them over one carrier.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "b3.hpp"
#include "header_text.hpp"

namespace runmain::child {

using namespace header_text;

namespace {

constexpr std::uint32_t kDefault = RUNMAIN_PROPAGATE_TRACECONTEXT | RUNMAIN_PROPAGATE_BAGGAGE;
constexpr std::uint32_t kAnyB3 = RUNMAIN_PROPAGATE_B3 | RUNMAIN_PROPAGATE_B3MULTI;
constexpr std::uint32_t kAll = kDefault | kAnyB3;
constexpr std::uint32_t kDecided = 0x80000000U;
constexpr std::size_t kHeadersMax = 64;  // of one name; more than a tracestate can have members

struct Field {
  std::uint32_t format;
  const char* name;
};

constexpr Field kFields[RUNMAIN_FIELDS_MAX] = {
    {RUNMAIN_PROPAGATE_TRACECONTEXT, "traceparent"}, {RUNMAIN_PROPAGATE_TRACECONTEXT, "tracestate"},
    {RUNMAIN_PROPAGATE_BAGGAGE, "baggage"},          {RUNMAIN_PROPAGATE_B3, "b3"},
    {RUNMAIN_PROPAGATE_B3MULTI, "x-b3-traceid"},     {RUNMAIN_PROPAGATE_B3MULTI, "x-b3-spanid"},
    {RUNMAIN_PROPAGATE_B3MULTI, "x-b3-sampled"},     {RUNMAIN_PROPAGATE_B3MULTI, "x-b3-flags"},
};

constinit std::atomic<std::uint32_t> g_formats{0};  // with kDecided, once they are known
constinit pthread_once_t g_formats_once = PTHREAD_ONCE_INIT;

void read_formats() {
  const char* list = std::getenv("OTEL_PROPAGATORS");
  runmain_text unknown{};
  const std::uint32_t formats = runmain_propagators_parse(text_of(list != nullptr ? list : ""), &unknown);
  if (unknown.size > 0) {
    dprintf(STDERR_FILENO, "runmain: OTEL_PROPAGATORS: \"%.*s\" is unknown, ignoring\n",
            static_cast<int>(unknown.size < 64 ? unknown.size : 64), unknown.data);
  }
  std::uint32_t undecided = 0;
  g_formats.compare_exchange_strong(undecided, formats | kDecided);
}

// All values of a header; one more than `max` stands for any number of more.
std::size_t collect(const runmain_carrier& carrier, const char* name, runmain_text* out, std::size_t max) {
  std::size_t count = 0;
  runmain_text value{};
  while (count <= max && carrier.get(carrier.data, name, count, &value) != 0) {
    if (count < max) out[count] = value;
    ++count;
  }
  return count;
}

// The only value of a header; empty if there is none, or more than one.
runmain_text only(const runmain_carrier& carrier, const char* name) {
  runmain_text value{};
  return collect(carrier, name, &value, 1) == 1 ? trimmed(value) : runmain_text{};
}

// Without a tracestate that is valid the trace goes on without one.
void extract_trace_state(const runmain_carrier& carrier, runmain_trace_state& out) {
  runmain_text values[kHeadersMax];
  const std::size_t count = collect(carrier, "tracestate", values, kHeadersMax);
  if (count > kHeadersMax || runmain_trace_state_parse(values, count, &out) != 0) {
    out.size = 0;
    out.members = 0;
  }
}

bool extract_b3(const runmain_carrier& carrier, runmain_span_context& out) {
  if (read_b3(only(carrier, "b3"), out)) return true;
  return read_b3_multi(only(carrier, "x-b3-traceid"), only(carrier, "x-b3-spanid"),
                       only(carrier, "x-b3-sampled"), only(carrier, "x-b3-flags"), out);
}

bool extract_span(std::uint32_t formats, const runmain_carrier& carrier, runmain_span_context* span,
                  runmain_trace_state* state) {
  runmain_span_context read{};
  if ((formats & RUNMAIN_PROPAGATE_TRACECONTEXT) != 0 &&
      runmain_traceparent_parse(only(carrier, "traceparent"), &read) == 0) {
    if (state != nullptr) extract_trace_state(carrier, *state);
  } else if ((formats & kAnyB3) != 0 && extract_b3(carrier, read)) {
    if (state != nullptr) *state = {};
  } else {
    return false;
  }
  if (span != nullptr) *span = read;
  return true;
}

bool extract_baggage(const runmain_carrier& carrier, runmain_baggage* out) {
  runmain_text values[kHeadersMax];
  const std::size_t count = collect(carrier, "baggage", values, kHeadersMax);
  if (out == nullptr || count == 0) return false;
  return runmain_baggage_parse(values, count < kHeadersMax ? count : kHeadersMax, out) > 0;
}

// Writes to a carrier and remembers its first error.
class Injection {
 public:
  explicit Injection(const runmain_carrier& carrier) : carrier_(carrier) {}

  void set(const char* name, runmain_text value) {
    const int result = carrier_.set(carrier_.data, name, value);
    if (result_ == 0 && result < 0) result_ = result;
  }
  int result() const { return result_; }

 private:
  const runmain_carrier& carrier_;
  int result_ = 0;
};

void inject_trace_context(Injection& to, const runmain_span_context& span, const runmain_trace_state* state) {
  char text[RUNMAIN_TRACEPARENT_SIZE + 1];
  to.set("traceparent", {text, runmain_traceparent_format(&span, text)});
  if (state != nullptr && state->size > 0 && state->size <= RUNMAIN_TRACE_STATE_MAX) {
    to.set("tracestate", {state->text, state->size});
  }
}

void inject_b3(Injection& to, std::uint32_t formats, const runmain_span_context& span) {
  constexpr std::size_t kTraceId = 2 * sizeof span.trace_id;
  constexpr std::size_t kSpanId = 2 * sizeof span.span_id;
  char text[kTraceId + 1 + kSpanId + 2];
  char* at = write_hex(span.trace_id, sizeof span.trace_id, text);
  *at++ = '-';
  at = write_hex(span.span_id, sizeof span.span_id, at);
  *at++ = '-';
  *at = (span.flags & RUNMAIN_FLAG_SAMPLED) != 0 ? '1' : '0';
  if ((formats & RUNMAIN_PROPAGATE_B3) != 0) to.set("b3", {text, sizeof text});
  if ((formats & RUNMAIN_PROPAGATE_B3MULTI) == 0) return;
  to.set("x-b3-traceid", {text, kTraceId});
  to.set("x-b3-spanid", {text + kTraceId + 1, kSpanId});
  to.set("x-b3-sampled", {at, 1});
}

}  // namespace
}  // namespace runmain::child

using namespace runmain::child;

extern "C" {

uint32_t runmain_propagators(void) {
  std::uint32_t formats = g_formats.load(std::memory_order_acquire);
  if ((formats & kDecided) == 0) {
    pthread_once(&g_formats_once, read_formats);
    formats = g_formats.load(std::memory_order_acquire);
  }
  return formats & kAll;
}

void runmain_set_propagators(uint32_t formats) { g_formats.store((formats & kAll) | kDecided); }

uint32_t runmain_propagators_parse(runmain_text list, runmain_text* unknown) {
  constexpr Field kNames[] = {{RUNMAIN_PROPAGATE_TRACECONTEXT, "tracecontext"},
                              {RUNMAIN_PROPAGATE_BAGGAGE, "baggage"},
                              {RUNMAIN_PROPAGATE_B3, "b3"},
                              {RUNMAIN_PROPAGATE_B3MULTI, "b3multi"}};
  std::uint32_t formats = 0;
  bool none = false;
  if (unknown != nullptr) *unknown = {};
  while (list.size > 0) {
    const runmain_text name = trimmed(take_until(list, ','));
    std::uint32_t format = 0;
    for (const Field& known : kNames) {
      if (same_in_any_case(name, known.name)) format = known.format;
    }
    const bool says_none = same_in_any_case(name, "none");
    none = none || says_none;
    formats |= format;
    const bool is_unknown = format == 0 && !says_none && name.size > 0;
    if (is_unknown && unknown != nullptr && unknown->size == 0) *unknown = name;
  }
  if (none) return 0;
  return formats != 0 ? formats : kDefault;
}

size_t runmain_propagator_fields(uint32_t formats, const char** out, size_t max) {
  std::size_t count = 0;
  for (const Field& field : kFields) {
    if ((formats & field.format) == 0) continue;
    if (count < max) out[count] = field.name;
    ++count;
  }
  return count;
}

int runmain_extract(uint32_t formats, const runmain_carrier* carrier, runmain_span_context* span,
                    runmain_trace_state* state, runmain_baggage* baggage) {
  int found = 0;
  if (extract_span(formats, *carrier, span, state)) found |= RUNMAIN_EXTRACTED_SPAN;
  if ((formats & RUNMAIN_PROPAGATE_BAGGAGE) != 0 && extract_baggage(*carrier, baggage)) {
    found |= RUNMAIN_EXTRACTED_BAGGAGE;
  }
  return found;
}

int runmain_inject(uint32_t formats, const runmain_carrier* carrier, const runmain_span_context* span,
                   const runmain_trace_state* state, const runmain_baggage* baggage) {
  Injection to(*carrier);
  if (span != nullptr && has_ids(*span)) {
    if ((formats & RUNMAIN_PROPAGATE_TRACECONTEXT) != 0) inject_trace_context(to, *span, state);
    if ((formats & kAnyB3) != 0) inject_b3(to, formats, *span);
  }
  if ((formats & RUNMAIN_PROPAGATE_BAGGAGE) != 0 && baggage != nullptr && baggage->size > 0 &&
      baggage->size <= RUNMAIN_BAGGAGE_MAX) {
    to.set("baggage", {baggage->text, baggage->size});
  }
  return to.result();
}

}  // extern "C"

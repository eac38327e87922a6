/* How a trace goes from process to process: W3C traceparent and tracestate (Trace Context, level 2), baggage,
 * and B3, in headers or in an environment.
 *
 * Everything here is a plain value of fixed size: no allocation, no lock, no I/O; it works where nothing
 * serves. Invariants: whatever comes in is safe to read, and what is not valid changes nothing that the
 * caller had; what goes out is valid. Non-goal: which context is current (current.h); who starts child
 * processes.
 *
 * Threads: every function from every thread, on values that nobody else changes meanwhile. Results: as in
 * child_runtime.h, unless said otherwise. */
#ifndef RUNMAIN_CHILD_PROPAGATION_H
#define RUNMAIN_CHILD_PROPAGATION_H

#include <stddef.h>
#include <stdint.h>

#include "child_runtime.h"
#include "span_context.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- traceparent ---- */

#define RUNMAIN_TRACEPARENT_SIZE 55

/* Reads version 00 and what is known of higher ones; flags that are not known are dropped, is_remote
 * becomes 1. -EINVAL: not valid, `out` is as before. White space around it is the carrier's to remove
 * (runmain_extract does). */
RUNMAIN_API int runmain_traceparent_parse(struct runmain_text text, struct runmain_span_context* out);

/* Writes version 00 and a NUL. Returns RUNMAIN_TRACEPARENT_SIZE, or 0 and an empty text if `context` is not
 * valid. */
RUNMAIN_API size_t runmain_traceparent_format(const struct runmain_span_context* context,
                                              char out[RUNMAIN_TRACEPARENT_SIZE + 1]);

/* ---- tracestate ---- */

#define RUNMAIN_TRACE_STATE_MEMBERS_MAX 32

/* All zero: empty. `text` is the header's value, "k1=v1,k2=v2", newest first. */
struct runmain_trace_state {
  uint16_t size;
  uint16_t members;
  char text[RUNMAIN_TRACE_STATE_MAX];
};

/* Combines the header's values in their order. Of members with one key the first counts. What is longer than
 * RUNMAIN_TRACE_STATE_MAX loses whole members: those over 128 bytes first, then from the end. -EINVAL: one of
 * them is not valid, or there are more than 32 members; `out` is as before. */
RUNMAIN_API int runmain_trace_state_parse(const struct runmain_text* values, size_t count,
                                          struct runmain_trace_state* out);

/* 1 and the value, which points into `state`; 0: no such key. */
RUNMAIN_API int runmain_trace_state_get(const struct runmain_trace_state* state, struct runmain_text key,
                                        struct runmain_text* value);

/* Puts key=value in front, in the place of an older one. Members that find no room are lost as above, the new
 * one never. -EINVAL: key or value are not allowed or too long; `state` is as before. */
RUNMAIN_API int runmain_trace_state_set(struct runmain_trace_state* state, struct runmain_text key,
                                        struct runmain_text value);

/* 1: removed; 0: no such key. */
RUNMAIN_API int runmain_trace_state_remove(struct runmain_trace_state* state, struct runmain_text key);

/* ---- baggage ---- */

#define RUNMAIN_BAGGAGE_MAX 8192
#define RUNMAIN_BAGGAGE_MEMBERS_MAX 512 /* the standard asks for 64 */

/* All zero: empty. `text` is the header's value without optional white space. A key is in it once. */
struct runmain_baggage {
  uint16_t size;
  uint16_t members;
  char text[RUNMAIN_BAGGAGE_MAX];
};

/* A member as it is in the header; the texts point into what was read. Values are percent-encoded. */
struct runmain_baggage_member {
  struct runmain_text key;
  struct runmain_text value;
  struct runmain_text properties; /* "p1;p2=v2", or empty */
};

/* Combines the header's values in their order. A member that is not valid is left out, and so are those that
 * find no room; of two with one key the later counts. Returns how many members there are; with 0 `out` is as
 * before. */
RUNMAIN_API size_t runmain_baggage_parse(const struct runmain_text* values, size_t count,
                                         struct runmain_baggage* out);

/* Goes through all members: begin with *position = 0. 1 and the member, or 0 at the end. */
RUNMAIN_API int runmain_baggage_next(const struct runmain_baggage* baggage, size_t* position,
                                     struct runmain_baggage_member* out);

/* 1 and the member, or 0: no such key. Keys differ by case. */
RUNMAIN_API int runmain_baggage_get(const struct runmain_baggage* baggage, struct runmain_text key,
                                    struct runmain_baggage_member* out);

/* Sets a member; an older one with this key goes. `value` is any text: it is percent-encoded here.
 * `properties` are as in the header. -EINVAL: the key is no token (RFC 7230) or the properties are none.
 * -ENOSPC: no room. After both `baggage` is as before. The texts must not point into it. */
RUNMAIN_API int runmain_baggage_set(struct runmain_baggage* baggage, struct runmain_text key,
                                    struct runmain_text value, struct runmain_text properties);

/* 1: removed; 0: no such key. */
RUNMAIN_API int runmain_baggage_remove(struct runmain_baggage* baggage, struct runmain_text key);

/* A property: `value` is percent-encoded, its data NULL if there is no "=". */
struct runmain_baggage_property {
  struct runmain_text key;
  struct runmain_text value;
};

/* Goes through a member's properties, as runmain_baggage_next does. What is no property is passed over. */
RUNMAIN_API int runmain_baggage_next_property(struct runmain_text properties, size_t* position,
                                              struct runmain_baggage_property* out);

/* Percent-decodes into at most `size` bytes with a NUL, as snprintf(3): returns the whole length, for a
 * member's value never more than the encoded one's. What is not UTF-8 becomes U+FFFD, byte for byte; a "%"
 * without two digits stays. */
RUNMAIN_API size_t runmain_percent_decode(struct runmain_text text, char* out, size_t size);

/* Percent-encodes all but letters, digits and -._~/, as snprintf(3). */
RUNMAIN_API size_t runmain_percent_encode(struct runmain_text text, char* out, size_t size);

/* ---- propagators ---- */

#define RUNMAIN_PROPAGATE_TRACECONTEXT 0x1U
#define RUNMAIN_PROPAGATE_BAGGAGE 0x2U
#define RUNMAIN_PROPAGATE_B3 0x4U
#define RUNMAIN_PROPAGATE_B3MULTI 0x8U

/* The formats that this process speaks: what was set, else OTEL_PROPAGATORS, read once, else tracecontext and
 * baggage. Of an unknown name there one line on stderr warns. */
RUNMAIN_API uint32_t runmain_propagators(void);
RUNMAIN_API void runmain_set_propagators(uint32_t formats);

/* Reads a list such as "tracecontext,baggage", whatever its case; "none" in it means none. Unknown names are
 * passed over, and the first one's text put into `unknown` (may be NULL; size 0: all are known). A list that
 * names nothing we know is as an empty one: the default. */
RUNMAIN_API uint32_t runmain_propagators_parse(struct runmain_text list, struct runmain_text* unknown);

/* The headers that these formats use, in lower case. Fills at most `max` and returns how many there are. */
#define RUNMAIN_FIELDS_MAX 8
RUNMAIN_API size_t runmain_propagator_fields(uint32_t formats, const char** out, size_t max);

/* Headers, or whatever else carries them. */
struct runmain_carrier {
  void* data;
  /* 1 and the index-th value of the header `name` (in lower case; headers of HTTP are found whatever their
   * case), or 0 if it has no more. The bytes stay until the extraction that asks has returned. NULL in a
   * carrier to write to. */
  int (*get)(void* data, const char* name, size_t index, struct runmain_text* value);
  /* Puts this header in the place of all of its name. 0, or a negative errno. NULL in a carrier to read. */
  int (*set)(void* data, const char* name, struct runmain_text value);
};

#define RUNMAIN_EXTRACTED_SPAN 0x1
#define RUNMAIN_EXTRACTED_BAGGAGE 0x2

/* Reads what there is in these formats (runmain_propagators(), usually) and returns what was found, 0 for
 * nothing. A span is found by a valid traceparent (or B3, which counts where there is none); `state` then
 * becomes its tracestate, empty if that is not valid. What was not found is as before. Each of the three may
 * be NULL. Never fails. */
RUNMAIN_API int runmain_extract(uint32_t formats, const struct runmain_carrier* carrier,
                                struct runmain_span_context* span, struct runmain_trace_state* state,
                                struct runmain_baggage* baggage);

/* Writes what there is: no span's headers without a valid span, no baggage without members. Each may be NULL.
 * 0, or the first error of the carrier; the rest is written all the same. */
RUNMAIN_API int runmain_inject(uint32_t formats, const struct runmain_carrier* carrier,
                               const struct runmain_span_context* span,
                               const struct runmain_trace_state* state,
                               const struct runmain_baggage* baggage);

/* ---- the environment as a carrier (OpenTelemetry, context/env-carriers) ---- */

/* A name as the environment has it, with a NUL, as snprintf(3): upper case, "_" for what is no letter or
 * digit, "_" in front of a leading digit, "_" for an empty one. "traceparent" is TRACEPARENT. */
RUNMAIN_API size_t runmain_environment_name(struct runmain_text name, char* out, size_t size);

/* 1 and the value of the variable of that normalised name, or 0. Of several the first counts, as for
 * getenv(3). */
RUNMAIN_API int runmain_environment_get(char* const* environment, struct runmain_text name,
                                        struct runmain_text* value);

/* The names that are normalised ones; others are passed over. As runmain_propagator_fields. */
RUNMAIN_API size_t runmain_environment_keys(char* const* environment, struct runmain_text* out, size_t max);

/* An environment in the making, for a child: a copy, so that ours is never changed. The caller owns both
 * arrays; the strings that were copied stay their owner's and must live as long. `entries` always ends with a
 * NULL. */
struct runmain_child_environment {
  char** entries;
  size_t capacity; /* of entries, the NULL included */
  size_t count;
  char* text; /* of what is set */
  size_t text_capacity;
  size_t text_used;
};

/* Room in `text` for what runmain_inject_environment sets. */
#define RUNMAIN_CHILD_ENVIRONMENT_TEXT 9216

/* Takes `environment` over. -ENOSPC: it has more entries; as many as fit are there. */
RUNMAIN_API int runmain_environment_copy(struct runmain_child_environment* out, char* const* environment,
                                         char** entries, size_t capacity, char* text, size_t text_capacity);

/* Sets the variable of that normalised name, in the place of an older one. -EINVAL: a NUL in the value.
 * -ENOSPC: no room; nothing has changed. */
RUNMAIN_API int runmain_environment_set(struct runmain_child_environment* environment,
                                        struct runmain_text name, struct runmain_text value);

/* 1: removed; 0: there was none. */
RUNMAIN_API int runmain_environment_remove(struct runmain_child_environment* environment,
                                           struct runmain_text name);

/* Removes all that `formats` know, then injects: a child never gets its parent's TRACEPARENT by accident. */
RUNMAIN_API int runmain_inject_environment(uint32_t formats, struct runmain_child_environment* environment,
                                           const struct runmain_span_context* span,
                                           const struct runmain_trace_state* state,
                                           const struct runmain_baggage* baggage);

/* Extracts from an environment such as environ(7). */
RUNMAIN_API int runmain_extract_environment(uint32_t formats, char* const* environment,
                                            struct runmain_span_context* span,
                                            struct runmain_trace_state* state,
                                            struct runmain_baggage* baggage);

/* What this process was started with: read once, at the first call, in the formats of that moment, and the
 * same ever after. As runmain_extract. */
RUNMAIN_API int runmain_inherited_context(struct runmain_span_context* span,
                                          struct runmain_trace_state* state, struct runmain_baggage* baggage);

#ifdef __cplusplus
}
#endif

#endif

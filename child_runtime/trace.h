/* Spans: what this process did, when, and under which parent, in OpenTelemetry's terms (tracing API and
 * SDK 1.x).
 *
 * A span that has ended is in the mailbox (mailbox.h) before runmain_span_end returns, and outlives the
 * process. Nothing here starts a thread, opens a socket or waits for anybody; a mailbox that is full drops
 * and counts. The first span claims the role, as taking a listener does; a process that does not serve,
 * or has no mailbox, gets spans that record nothing and still carry their parent's context.
 *
 * Invariants: no function returns NULL for a span; all of them take a span that has ended and ignore it; the
 * times are ns since 1970, end >= start. A forked child finds its parent's open spans disowned: they say
 * nothing any more, and are still parents. Non-goals: exporting (runmain's), headers (propagation.h).
 *
 * Threads: every function from every thread. A span is fastest on the thread that started it, its owner:
 * there it takes no lock and no atomic read-modify-write; what other threads tell it is kept aside, and put
 * behind the owner's at the end: of values that two threads give to one key either may win. What comes at the
 * same time as the end counts as before or after it, as a whole. Memory goes with the last handle. Signals:
 * starting and ending a span in a handler is safe on a thread that had one before, and counted as lost if it
 * hits another one's start or end; a handler must not touch a span that it may have interrupted. */
#ifndef RUNMAIN_CHILD_TRACE_H
#define RUNMAIN_CHILD_TRACE_H

#include <string.h>

#include "child_runtime.h"
#include "current.h"
#include "span_context.h"
#include "span_inline.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values ---- */

#define RUNMAIN_VALUE_NONE 0 /* such an attribute is left out */
#define RUNMAIN_VALUE_STRING 1
#define RUNMAIN_VALUE_BOOL 2
#define RUNMAIN_VALUE_INT 3
#define RUNMAIN_VALUE_DOUBLE 4
#define RUNMAIN_VALUE_BYTES 5
#define RUNMAIN_VALUE_STRINGS 6
#define RUNMAIN_VALUE_BOOLS 7
#define RUNMAIN_VALUE_INTS 8
#define RUNMAIN_VALUE_DOUBLES 9

struct runmain_value {
  uint32_t type;
  uint32_t reserved;
  size_t size; /* bytes of a string or of bytes, elements of an array, else unused */
  union {
    const char* string; /* UTF-8 */
    const uint8_t* bytes;
    int64_t integer;
    int64_t boolean;
    double real;
    const struct runmain_text* strings;
    const uint8_t* booleans;
    const int64_t* integers;
    const double* reals;
  } of;
};

struct runmain_attribute {
  struct runmain_text key; /* not empty */
  struct runmain_value value;
};

/* ---- the provider: one a process, and only where it serves ---- */

/* Initialises now instead of with the first span, and claims if nobody has. 0; -EALREADY: it was initialised
 * before by this call, and runmain_telemetry_reason names where; -EPERM: this process does not serve;
 * -ENOTCONN: it has no mailbox; -ECANCELED: OTEL_SDK_DISABLED, or shut down. After the last three spans
 * record nothing. */
RUNMAIN_API int runmain_telemetry_init(const char* file, int line);
#define RUNMAIN_TELEMETRY_INIT() runmain_telemetry_init(__FILE__, __LINE__)

/* Why the last runmain_telemetry_init failed, as runmain_reason. */
RUNMAIN_API size_t runmain_telemetry_reason(char* buffer, size_t size);

/* 1 if spans are recorded, as far as is decided. Never claims. */
RUNMAIN_API int runmain_telemetry_on(void);

/* 0: everything that has ended is in the mailbox, or counted as lost. Both take microseconds. */
RUNMAIN_API int runmain_force_flush(void);
/* From now on spans record nothing in this process. 0; -EALREADY: a second one. */
RUNMAIN_API int runmain_telemetry_shutdown(void);

/* ---- samplers, ids and limits: OTEL_TRACES_SAMPLER(_ARG), OTEL_SPAN_*, OTEL_ATTRIBUTE_* ---- */

/* What is set by a call goes before the environment, in this process; a forked child begins with its
 * environment. */

#define RUNMAIN_SAMPLER_ALWAYS_ON 1
#define RUNMAIN_SAMPLER_ALWAYS_OFF 2
#define RUNMAIN_SAMPLER_RATIO 3 /* TraceIdRatioBased; told once on stderr where it decides for a child */
/* ProbabilitySampler (OpenTelemetry, trace/sdk.md): decides by the trace id's last 7 bytes, or by `rv` of
 * tracestate's member `ot`, and leaves the threshold as `th` there if the span is sampled. Nothing else of
 * `ot` changes; members that find no room are lost as in runmain_trace_state_set, and counted as cut. */
#define RUNMAIN_SAMPLER_PROBABILITY 4

struct runmain_sampling {
  const struct runmain_context* parent; /* NULL: a root */
  uint8_t trace_id[16];
  struct runmain_text name;
  uint32_t kind;
  uint32_t attribute_count;
  const struct runmain_attribute* attributes; /* those given with the start */
};

/* What samples a span without a parent, and with `ignore_parent` every one. */
struct runmain_sampler {
  uint32_t kind;
  uint32_t ignore_parent; /* 0: a parent's decision is its child's */
  double ratio;           /* of RUNMAIN_SAMPLER_RATIO, 0 to 1; of _PROBABILITY, 2^-56 to 1, or 0: never */
  /* NULL, or decides instead of `kind`: 1 sampled, 0 not. From every thread; must not throw or start spans.
   */
  int (*decide)(void* data, const struct runmain_sampling* span);
  void* data;
  const char* description; /* of `decide` */
};
/* For spans that begin from now on. -EINVAL. `sampler` itself must stay as long as the process if it decides.
 */
RUNMAIN_API int runmain_set_sampler(const struct runmain_sampler* sampler);
/* "ParentBased{root:AlwaysOnSampler,…}", as snprintf(3). */
RUNMAIN_API size_t runmain_sampler_description(char* buffer, size_t size);

/* ---- the id generator ---- */

/* What makes ids instead of the library's own random numbers (OpenTelemetry, trace/sdk.md, "Id Generators").
 * Asked once for the trace id of each root, and for the span id of each span, sampled or not; not where
 * `ids` of runmain_start are given. Each may be NULL: the library's own. From every thread, also in a signal
 * handler that starts spans; must not throw or start spans. An answer of only zeros is no id: a random one
 * takes its place, which is told once on stderr. */
struct runmain_id_generator {
  void (*trace_id)(void* data, uint8_t out[16]); /* `out` is all zeros before */
  void (*span_id)(void* data, uint8_t out[8]);
  void* data;
  /* 1: the last 7 bytes of its trace ids are random (W3C Trace Context, level 2, "Random Trace ID Flag"), so
   * roots have RUNMAIN_FLAG_RANDOM. 0: they have it only with the library's own trace ids. */
  uint32_t is_random;
  uint32_t reserved;
};
/* For spans that begin from now on, of all tracers. NULL: the library's own again. `generator` itself must
 * stay as long as the process; a forked child begins without it. 0; -EINVAL: it has neither function. */
RUNMAIN_API int runmain_set_id_generator(const struct runmain_id_generator* generator);

/* ---- limits ---- */

#define RUNMAIN_NO_LIMIT 0xffffffffU
struct runmain_span_limits {
  uint32_t attributes; /* 128 each, if nothing else is said */
  uint32_t events;
  uint32_t links;
  uint32_t attributes_of_event;
  uint32_t attributes_of_link;
  uint32_t value_length; /* characters of a string, bytes of bytes; RUNMAIN_NO_LIMIT */
};
RUNMAIN_API void runmain_get_span_limits(struct runmain_span_limits* limits);
RUNMAIN_API void runmain_set_span_limits(const struct runmain_span_limits* limits);

/* ---- tracers ---- */

struct runmain_tracer;
#define RUNMAIN_TRACERS_MAX 255

/* The tracer of an instrumentation scope. The library's, valid as long as the process and in its forks; asked
 * for the same it is the same. Only `name` is needed. Beyond RUNMAIN_TRACERS_MAX: one without a scope. */
RUNMAIN_API const struct runmain_tracer* runmain_get_tracer(struct runmain_text name,
                                                            struct runmain_text version,
                                                            struct runmain_text schema_url,
                                                            const struct runmain_attribute* attributes,
                                                            size_t attribute_count);

/* ---- spans ---- */

#define RUNMAIN_KIND_INTERNAL 1
#define RUNMAIN_KIND_SERVER 2
#define RUNMAIN_KIND_CLIENT 3
#define RUNMAIN_KIND_PRODUCER 4
#define RUNMAIN_KIND_CONSUMER 5

struct runmain_link {
  struct runmain_span_context context;
  struct runmain_text trace_state;
  const struct runmain_attribute* attributes;
  size_t attribute_count;
};

#define RUNMAIN_START_ROOT 0x1U /* no parent */

/* All zero, but `size`, is the default. */
struct runmain_start {
  size_t size; /* sizeof(struct runmain_start) */
  uint32_t kind;
  uint32_t flags;
  const struct runmain_context* parent; /* NULL: the current one */
  uint64_t start_unix_nano;             /* 0: now */
  const struct runmain_attribute* attributes;
  size_t attribute_count;
  const struct runmain_link* links;
  size_t link_count;
  /* NULL: new ones. Else the span has these ids, and RUNMAIN_FLAG_SAMPLED of its flags decides instead of the
   * sampler: for spans that another SDK has begun. What is not valid counts as NULL. */
  const struct runmain_span_context* ids;
};

/* Starts a span; `tracer` and `start` may be NULL. The handle is the caller's to release. It is not current:
 * what begins next is no child of it. */
RUNMAIN_API struct runmain_span* runmain_span_start(const struct runmain_tracer* tracer, const char* name,
                                                    size_t name_size, const struct runmain_start* start);
/* The same, and makes it current on this thread until runmain_span_release or runmain_span_leave. */
RUNMAIN_API struct runmain_span* runmain_span_start_current(const struct runmain_tracer* tracer,
                                                            const char* name, size_t name_size,
                                                            const struct runmain_start* start);
/* Puts back what was current before runmain_span_start_current. A second call does nothing. */
RUNMAIN_API void runmain_span_leave(struct runmain_span* span);

/* Ends it, now (0) or at that time. The first call counts. */
RUNMAIN_API void runmain_span_end(struct runmain_span* span, uint64_t end_unix_nano);
/* One more handle to the same span. */
RUNMAIN_API struct runmain_span* runmain_span_retain(struct runmain_span* span);
/* Gives the handle back. With the last one it is left and ended, if that was not done. */
RUNMAIN_API void runmain_span_release(struct runmain_span* span);

/* Leaves, ends and gives the handle back: what the end of a scope does. */
RUNMAIN_API void runmain_span_finish(struct runmain_span* span);

/* The calling thread becomes the owner: what it does is fast from here on. Requires that no other thread is
 * in a call on it, and that what the owner did happened before. */
RUNMAIN_API void runmain_span_adopt(struct runmain_span* span);

/* The one that records nothing and has no context. Need not be released. */
RUNMAIN_API struct runmain_span* runmain_span_none(void);
RUNMAIN_API int runmain_span_is_recording(const struct runmain_span* span);
/* Borrowed from the span. Never NULL. */
RUNMAIN_API const struct runmain_context* runmain_span_get_context(const struct runmain_span* span);

/* Of two values of one key the last counts. runmain_span_set (span_inline.h) is the first of these, inlined.
 */
RUNMAIN_API void runmain_span_set_bool(struct runmain_span* span, const char* key, size_t key_size,
                                       int value);
RUNMAIN_API void runmain_span_set_int(struct runmain_span* span, const char* key, size_t key_size,
                                      int64_t value);
RUNMAIN_API void runmain_span_set_double(struct runmain_span* span, const char* key, size_t key_size,
                                         double value);
RUNMAIN_API void runmain_span_set_value(struct runmain_span* span, const char* key, size_t key_size,
                                        const struct runmain_value* value);

/* At `unix_nano`, 0: now. */
RUNMAIN_API void runmain_span_add_event(struct runmain_span* span, const char* name, size_t name_size,
                                        uint64_t unix_nano, const struct runmain_attribute* attributes,
                                        size_t count);
RUNMAIN_API void runmain_span_add_link(struct runmain_span* span, const struct runmain_link* link);
/* An event "exception" with exception.type, .message and .stacktrace, each left out if empty, and the
 * attributes. */
RUNMAIN_API void runmain_span_record_exception(struct runmain_span* span, struct runmain_text type,
                                               struct runmain_text message, struct runmain_text stacktrace,
                                               const struct runmain_attribute* attributes, size_t count);

#define RUNMAIN_STATUS_UNSET 0
#define RUNMAIN_STATUS_OK 1
#define RUNMAIN_STATUS_ERROR 2
/* Ok stays, Error stays before Unset. The description counts with Error only. */
RUNMAIN_API void runmain_span_set_status(struct runmain_span* span, int code, const char* description,
                                         size_t size);
RUNMAIN_API void runmain_span_update_name(struct runmain_span* span, const char* name, size_t size);

/* ---- for runtimes: what a granted claim brings ---- */

/* From now on spans go to this mailbox; `wake_fd`: an eventfd, or -1. Both are duplicated. A forked child has
 * none until it gets one by itself. 0; -EALREADY: there is one; -EPROTO: it is none that this library
 * understands; or another negative errno. */
RUNMAIN_API int runmain_mailbox_attach(int memfd, int wake_fd);

#ifdef __cplusplus
}
#endif

#endif

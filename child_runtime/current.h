/* The context that is current on this thread: which span is the parent of what begins now.
 *
 * A context is a value that does not change once it is made; whoever holds one has a reference to it.
 * Invariant: the current one is borrowed, never owned: who makes a context current keeps a reference until it
 * has put back what was there before. Works where nothing serves, too. Non-goal: carrying it from thread to
 * thread; whoever hands work over takes a reference along (runmain::bind, coroutines' helpers). Threads:
 * current is each thread's own; references may be taken and dropped anywhere. */
#ifndef RUNMAIN_CHILD_CURRENT_H
#define RUNMAIN_CHILD_CURRENT_H

#include "child_runtime.h"
#include "span_context.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

struct runmain_context;
struct runmain_span;

/* Bytes that do not change, with holders: a tracestate, a baggage. */
struct runmain_shared {
  uint32_t holders; /* by retain and release only */
  uint32_t size;    /* of what follows this struct */
};
#define RUNMAIN_SHARED_MAX (64U << 10)

/* A copy of `bytes` with one holder, or NULL: no memory, or more than RUNMAIN_SHARED_MAX. */
RUNMAIN_API struct runmain_shared* runmain_shared_make(const void* bytes, size_t size);
/* The same without contents, to be written before anybody else sees it. */
RUNMAIN_API struct runmain_shared* runmain_shared_reserve(size_t size);
RUNMAIN_API struct runmain_shared* runmain_shared_retain(struct runmain_shared* shared);
RUNMAIN_API void runmain_shared_release(struct runmain_shared* shared);
static inline void* runmain_shared_bytes(struct runmain_shared* shared) { return shared + 1; }

/* The calling thread's context, NULL if it has none. Borrowed. */
RUNMAIN_API const struct runmain_context* runmain_current(void);

/* Makes `context` (NULL: none) the calling thread's, and returns which was. */
RUNMAIN_API const struct runmain_context* runmain_swap_current(const struct runmain_context* context);

/* One more, or one less, that holds it. NULL is allowed and does nothing. */
RUNMAIN_API const struct runmain_context* runmain_context_retain(const struct runmain_context* context);
RUNMAIN_API void runmain_context_release(const struct runmain_context* context);

/* A context with one holder, or NULL if there is no memory. Each may be NULL: no span; no tracestate (its
 * text as in the header); no baggage, whose bytes nothing here looks into. Children keep tracestate and
 * baggage. */
RUNMAIN_API struct runmain_context* runmain_context_make(const struct runmain_span_context* span,
                                                         struct runmain_shared* trace_state,
                                                         struct runmain_shared* baggage);
/* As `context` (NULL: the empty one), but with this baggage. */
RUNMAIN_API struct runmain_context* runmain_context_with_baggage(const struct runmain_context* context,
                                                                 struct runmain_shared* baggage);

/* What is in it; the answers are borrowed from it. Of NULL: a zero span context, and NULL. */
RUNMAIN_API struct runmain_span_context runmain_context_span_context(const struct runmain_context* context);
RUNMAIN_API struct runmain_shared* runmain_context_trace_state(const struct runmain_context* context);
RUNMAIN_API struct runmain_shared* runmain_context_baggage(const struct runmain_context* context);
/* The span of this process whose context it is, else NULL. */
RUNMAIN_API struct runmain_span* runmain_context_span(const struct runmain_context* context);

#ifdef __cplusplus
}
#endif

#endif

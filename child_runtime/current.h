/* The context that is current on this thread: which span is the parent of what begins now.
 *
 * A context is a value that does not change once it is made; whoever holds one has a reference to it.
 * Invariant: the current one is borrowed, never owned: who makes a context current keeps a reference until it
 * has put back what was there before. Non-goal: carrying it from thread to thread; whoever hands work over
 * takes a reference along (coroutine.hpp has helpers). Threads: current is each thread's own; references may
 * be taken and dropped anywhere. */
#ifndef RUNMAIN_CHILD_CURRENT_H
#define RUNMAIN_CHILD_CURRENT_H

#include "child_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

struct runmain_context;

/* The calling thread's context, NULL if it has none. */
RUNMAIN_API const struct runmain_context* runmain_current(void);

/* Makes `context` (NULL: none) the calling thread's, and returns which was. */
RUNMAIN_API const struct runmain_context* runmain_swap_current(const struct runmain_context* context);

/* One more, or one less, that holds it. NULL is allowed and does nothing. */
RUNMAIN_API const struct runmain_context* runmain_context_retain(const struct runmain_context* context);
RUNMAIN_API void runmain_context_release(const struct runmain_context* context);

#ifdef __cplusplus
}
#endif

#endif

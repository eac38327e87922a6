/* Which span: the part of a span that goes from process to process. Follows the W3C Trace Context, level 2.
 * Plain value, copied freely. Invariant: valid means that neither id is all zeros. */
#ifndef RUNMAIN_CHILD_SPAN_CONTEXT_H
#define RUNMAIN_CHILD_SPAN_CONTEXT_H

#include <stdint.h>

#define RUNMAIN_FLAG_SAMPLED 0x01
#define RUNMAIN_FLAG_RANDOM 0x02 /* the trace id's last 7 bytes are random */

#define RUNMAIN_TRACE_STATE_MAX 512 /* bytes that are kept; what is more loses members from its end */

struct runmain_span_context {
  uint8_t trace_id[16];
  uint8_t span_id[8];
  uint8_t flags;
  uint8_t is_remote; /* 1: came from another process */
  uint8_t reserved[6];
};

#endif

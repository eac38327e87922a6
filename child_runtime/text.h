/* Bytes of somebody else. Plain value; no NUL ends them. */
#ifndef RUNMAIN_CHILD_TEXT_H
#define RUNMAIN_CHILD_TEXT_H

#include <stddef.h>

struct runmain_text {
  const char* data; /* may be NULL where `size` is 0 */
  size_t size;
};

#endif

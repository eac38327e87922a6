/* The functions that come after ours. A file of its own, for RTLD_NEXT needs _GNU_SOURCE, with which the
 * prototype of bind(2) is another one. */
#define _GNU_SOURCE
#include "next.h"

#include <dlfcn.h>

/* Weak and of its oldest version: before glibc 2.34 it is in a library that a program need not have, and a
 * program that brings an older libc would end at its start if we asked for a newer one. */
#pragma weak dlsym
#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
#elif defined(__GLIBC__) && defined(__aarch64__)
__asm__(".symver dlsym,dlsym@GLIBC_2.17");
#endif

void (*adopt_next(const char* name))(void) {
  void (*function)(void) = 0;
  void* address = dlsym != 0 ? dlsym(RTLD_NEXT, name) : 0;
  __builtin_memcpy(&function, &address, sizeof function);
  return function;
}

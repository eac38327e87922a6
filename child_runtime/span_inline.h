/* Setting a short string attribute without a call: encodes OTLP into the span's own buffer.
 *
 * Frozen ABI: the first fields of a span below, who is an owner (runmain_thread_self) and the filter of keys
 * (runmain_key_bit). Programs compiled with an older header run with a newer library: another layout would
 * need other names. Invariant: only the owner writes these fields, but `owner`, which goes to 0 once, when
 * the span ends; what is before `write` is there for others once they have loaded `write` with acquire. */
#ifndef RUNMAIN_CHILD_SPAN_INLINE_H
#define RUNMAIN_CHILD_SPAN_INLINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "child_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

struct runmain_span;

#define RUNMAIN_KEY_WORDS 8

struct runmain_span_head {
  uint8_t* write;  /* where the next field goes */
  uint8_t* limit;  /* write <= limit: there is room for a short attribute */
  uintptr_t owner; /* 0: records nothing (any more) */
  uint32_t quick;  /* so many attributes may be set here; 0: by the library */
  uint32_t none;   /* 1: the span that is none, whose end needs no call */
  uint64_t reserved1[4];
  uint64_t keys[RUNMAIN_KEY_WORDS]; /* bits of the keys so far: one that is not set was not there */
};

/* runmain_span_finish, without a call where there is nothing to end: in a process that does not serve. */
#define RUNMAIN_SPAN_IS_NONE(span) (((const struct runmain_span_head*)(span))->none != 0)

#define RUNMAIN_SHORT_ATTRIBUTE 121 /* bytes of key and value: every length in it is one byte */

RUNMAIN_API void runmain_span_set_string(struct runmain_span* span, const char* key, size_t key_size,
                                         const char* value, size_t value_size);

#if defined(__GNUC__) && ((defined(__x86_64__) && defined(__LP64__)) || defined(__aarch64__))
#define RUNMAIN_SPAN_INLINE 1
#define RUNMAIN_INLINE static inline __attribute__((always_inline))
#define RUNMAIN_LIKELY(x) __builtin_expect(!!(x), 1)

/* The calling thread, as a number that no other living one has: the thread pointer, where it is one
 * instruction. volatile: a coroutine may go on on another thread within a function. */
RUNMAIN_INLINE uintptr_t runmain_thread_self(void) {
  uintptr_t self;
#if defined(__x86_64__)
  __asm__ volatile("movq %%fs:0, %0" : "=r"(self));
#else
  __asm__ volatile("mrs %0, tpidr_el0" : "=r"(self));
#endif
  return self;
}

RUNMAIN_INLINE uint64_t runmain_load8(const char* from) {
  uint64_t value;
  memcpy(&value, from, 8);
  return value;
}
RUNMAIN_INLINE uint64_t runmain_load4(const char* from) {
  uint32_t value;
  memcpy(&value, from, 4);
  return value;
}

/* A key's number from 0 to 511: of its length, its first and its last bytes. */
RUNMAIN_INLINE uint32_t runmain_key_bit(const char* key, size_t size) {
  uint64_t first = 0;
  uint64_t last = 0;
  if (size >= 8) {
    first = runmain_load8(key);
    last = runmain_load8(key + size - 8);
  } else if (size >= 4) {
    first = runmain_load4(key);
    last = runmain_load4(key + size - 4);
  } else if (size > 0) {
    first = (uint8_t)key[0];
    last = (uint64_t)(uint8_t)key[size - 1] << 8 | (uint8_t)key[size / 2];
  }
  return (uint32_t)(((first ^ (last << 29 | last >> 35) ^ size) * 0x9e3779b97f4a7c15ULL) >> 55);
}

RUNMAIN_INLINE void runmain_store4(uint8_t* to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint32_t all = a | b << 8 | c << 16 | d << 24; /* little-endian, as all of a mailbox */
  memcpy(to, &all, 4);
}

/* memcpy(3) of what is short: pieces that may overlap. */
RUNMAIN_INLINE void runmain_copy_short(uint8_t* to, const char* from, size_t size) {
  if (__builtin_constant_p(size)) {
    memcpy(to, from, size);
  } else if (RUNMAIN_LIKELY(size >= 16)) {
    memcpy(to, from, 16);
    if (size > 32) {
      size_t at;
      for (at = 16; at + 16 < size; at += 16) memcpy(to + at, from + at, 16);
    }
    memcpy(to + size - 16, from + size - 16, 16);
  } else if (size >= 8) {
    memcpy(to, from, 8);
    memcpy(to + size - 8, from + size - 8, 8);
  } else if (size >= 4) {
    memcpy(to, from, 4);
    memcpy(to + size - 4, from + size - 4, 4);
  } else if (size > 0) {
    to[0] = (uint8_t)from[0];
    to[size / 2] = (uint8_t)from[size / 2];
    to[size - 1] = (uint8_t)from[size - 1];
  }
}

/* 1: set; 0: it takes more than this. */
RUNMAIN_INLINE int runmain_span_try_set(struct runmain_span* span, const char* key, size_t key_size,
                                        const char* value, size_t value_size) {
  struct runmain_span_head* head = (struct runmain_span_head*)span;
  uint8_t* at;
  uint32_t number;
  uint64_t* word;
  uint64_t bit;
  if (__atomic_load_n(&head->owner, __ATOMIC_RELAXED) != runmain_thread_self() || head->quick == 0 ||
      key_size == 0 || key_size + value_size > RUNMAIN_SHORT_ATTRIBUTE || head->write > head->limit)
    return 0;
  at = head->write;
  number = runmain_key_bit(key, key_size);
  word = &head->keys[number >> 6];
  bit = 1ULL << (number & 63);
  if ((*word & bit) != 0) return 0; /* perhaps there already */
  *word |= bit;
  --head->quick;
  /* Span.attributes: a KeyValue; its key; its value: an AnyValue, string_value. */
  runmain_store4(at, 0x4a, (uint32_t)(key_size + value_size + 6), 0x0a, (uint32_t)key_size);
  runmain_copy_short(at + 4, key, key_size);
  at += 4 + key_size;
  runmain_store4(at, 0x12, (uint32_t)(value_size + 2), 0x0a, (uint32_t)value_size);
  runmain_copy_short(at + 4, value, value_size);
  __atomic_store_n(&head->write, at + 4 + value_size, __ATOMIC_RELEASE);
  return 1;
}

/* runmain_span_set_string, inlined where it is short and the caller the owner. */
RUNMAIN_INLINE void runmain_span_set(struct runmain_span* span, const char* key, size_t key_size,
                                     const char* value, size_t value_size) {
  if (RUNMAIN_LIKELY(runmain_span_try_set(span, key, key_size, value, value_size) != 0)) return;
  if (__atomic_load_n(&((struct runmain_span_head*)span)->owner, __ATOMIC_RELAXED) != 0)
    runmain_span_set_string(span, key, key_size, value, value_size);
}
#else /* the library then takes pthread_self(3) */
#define RUNMAIN_SPAN_INLINE 0
#define runmain_span_set runmain_span_set_string
#endif

#ifdef __cplusplus
}
#endif

#endif

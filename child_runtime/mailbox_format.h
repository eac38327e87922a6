/* Making a mailbox: a fresh memfd becomes one that mailbox.h describes. For runmain and for tests; who writes
 * into a mailbox goes by its header. */
#ifndef RUNMAIN_CHILD_MAILBOX_FORMAT_H
#define RUNMAIN_CHILD_MAILBOX_FORMAT_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "mailbox.h"

#ifdef __cplusplus
extern "C" {
#endif

/* F_ADD_SEALS; F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW: which libraries hide where _GNU_SOURCE is not
 * defined. */
#define RUNMAIN_F_ADD_SEALS 1033
#define RUNMAIN_SEALS (1 | 2 | 4)

static inline uint64_t runmain_mailbox_round_up(uint64_t size) { return (size + 4095) & ~(uint64_t)4095; }

/* Where the open slots of a lane begin, and its ring, from the lane's beginning. */
static inline uint64_t runmain_mailbox_slots_offset(const struct runmain_mailbox* m) {
  return RUNMAIN_LANE_DICTIONARY + runmain_mailbox_round_up(m->dictionary_size);
}
static inline uint64_t runmain_mailbox_ring_offset(const struct runmain_mailbox* m) {
  return runmain_mailbox_slots_offset(m) +
         runmain_mailbox_round_up((uint64_t)m->open_slots * sizeof(struct runmain_open_slot));
}
static inline uint64_t runmain_mailbox_size(const struct runmain_mailbox* m) {
  return m->header_size + m->lane_count * m->lane_stride;
}

/* The header of what runmain makes. Another size of it: change counts and sizes, then runmain_mailbox_fit. */
static inline void runmain_mailbox_fit(struct runmain_mailbox* m) {
  m->lane_stride = runmain_mailbox_ring_offset(m) + runmain_mailbox_round_up(m->ring_size);
}
static inline void runmain_mailbox_layout(struct runmain_mailbox* m, const char* instance_id) {
  size_t i;
  memset(m, 0, sizeof *m);
  m->magic = RUNMAIN_MAILBOX_MAGIC;
  m->major = RUNMAIN_MAILBOX_MAJOR;
  m->minor = RUNMAIN_MAILBOX_MINOR;
  m->header_size = RUNMAIN_MAILBOX_HEADER_SIZE;
  m->lane_count = RUNMAIN_MAILBOX_LANES;
  m->lanes_shared = RUNMAIN_MAILBOX_LANES_SHARED;
  m->dictionary_size = RUNMAIN_MAILBOX_DICTIONARY_SIZE;
  m->open_slots = RUNMAIN_MAILBOX_OPEN_SLOTS;
  m->ring_size = RUNMAIN_MAILBOX_RING_SIZE;
  for (i = 0; i + 1 < RUNMAIN_MAILBOX_INSTANCE_MAX && instance_id[i] != '\0'; ++i) {
    m->instance_id[i] = instance_id[i];
  }
  runmain_mailbox_fit(m);
}

/* Sizes a fresh memfd (made with MFD_ALLOW_SEALING) for `m`, writes it there and seals the size. 0 or a
 * negative errno. */
static inline int runmain_mailbox_format(int memfd, const struct runmain_mailbox* m) {
  if (ftruncate(memfd, (off_t)runmain_mailbox_size(m)) != 0) return -errno;
  if (pwrite(memfd, m, sizeof *m, 0) != (ssize_t)sizeof *m) return -EIO;
  if (fcntl(memfd, RUNMAIN_F_ADD_SEALS, RUNMAIN_SEALS) != 0) return -errno;
  return 0;
}

#ifdef __cplusplus
}
#endif

#endif

/* The mailbox: shared memory in which what a program has finished telling outlives the program.
 *
 * runmain makes one for each worker, as a sealed memfd that cannot shrink or grow, and gives it with the
 * claim. Each writing thread has a lane of its own: a ring of records behind a position that only this thread
 * moves. A record is there when the position says so, whatever happens to the process in the next instant.
 * The reader takes every byte as hostile; its own positions are not in here. C, so that every part of
 * child_runtime and the observer can use it; it is the only description of the format.
 *
 * All integers are little-endian and naturally aligned. Positions count bytes since the lane was made and
 * never wrap; offset in the ring = position % ring size. Lines are 64 bytes: who writes what never shares
 * one. Invariant: a writer waits for nobody; no room means drop and count. Additions only: what is new takes
 * reserved (zero) bytes and a higher minor; a reader refuses an unknown major. */
#ifndef RUNMAIN_CHILD_MAILBOX_H
#define RUNMAIN_CHILD_MAILBOX_H

#include <stdint.h>

#define RUNMAIN_MAILBOX_MAGIC 0x584f424c49414d52ULL /* "RMAILBOX" */
#define RUNMAIN_MAILBOX_MAJOR 1
#define RUNMAIN_MAILBOX_MINOR 2          /* 1: `processes`; 2: `by_path` */
#define RUNMAIN_MAILBOX_HEADER_SIZE 4096 /* lane 0 begins here; a lane's parts begin at multiples of this */
#define RUNMAIN_MAILBOX_INSTANCE_MAX 64

/* What runmain makes. A reader goes by the header. The memory is sparse: untouched lanes cost nothing. */
#define RUNMAIN_MAILBOX_LANES 96
#define RUNMAIN_MAILBOX_LANES_SHARED 16
#define RUNMAIN_MAILBOX_DICTIONARY_SIZE 16384
#define RUNMAIN_MAILBOX_OPEN_SLOTS 256
#define RUNMAIN_MAILBOX_RING_SIZE (4U << 20)

/* At offset 0. The first two lines are written by runmain before anybody has it. */
struct runmain_mailbox {
  uint64_t magic;
  uint16_t major;
  uint16_t minor;
  uint32_t header_size;
  uint32_t lane_count;
  uint32_t
      lanes_shared; /* the last so many: each for the threads of a process that found no lane of their own */
  uint64_t lane_stride; /* bytes from one lane to the next */
  uint32_t dictionary_size;
  uint32_t open_slots;
  uint64_t ring_size; /* a power of two */
  uint64_t reserved0;

  char instance_id[RUNMAIN_MAILBOX_INSTANCE_MAX]; /* of the worker; a NUL ends it */

  /* Written by the reader. 1: it waits for the wake fd; who has written takes it to 0 and writes 8 bytes
   * there. No writer has a full barrier for this: a reader that has set it calls membarrier(2),
   * GLOBAL_EXPEDITED, before it looks for the last time (C writers are registered for that), or looks again
   * after a while. */
  uint32_t asleep;
  uint32_t reserved1[15];

  /* written by everybody, atomically */
  uint64_t no_lane; /* records lost because there was no lane */
  uint32_t
      processes;    /* that have taken it up; the first one has the worker's instance id, others their own */
  uint32_t by_path; /* by runmain only. 1: a process was given it by its path, which cannot wake the reader */
  uint64_t reserved3[6];
};

/* ---- a lane ---- */

/* Of runmain_lane.state. FREE -> TAKEN by compare-and-swap of who will write; TAKEN -> CLOSED by its thread's
 * end; CLOSED -> FREE by the reader, when all is read; TAKEN -> FREE by the reader, when the process is gone
 * and all is read. Who takes writes `pid` at once and pid_started last: one that dies in between leaves a
 * lane that can be freed. Before FREE the reader takes both and the slots' states to 0. A thread that ends
 * with spans open does not close its lane: another one of its process goes on with it. */
#define RUNMAIN_LANE_FREE 0
#define RUNMAIN_LANE_TAKEN 1
#define RUNMAIN_LANE_CLOSED 2

/* Of runmain_lane.mode. */
#define RUNMAIN_LANE_BY_POSITION 0 /* a record is there when `write` is behind it */
#define RUNMAIN_LANE_BY_CHECKSUM \
  1 /* … when its length and checksum are right: for pwrite(2), `write` is unused */

/* Of runmain_lane.lost: why a record was not written. */
enum runmain_lost {
  RUNMAIN_LOST_FULL = 0,      /* the ring had no room */
  RUNMAIN_LOST_TOO_BIG = 1,   /* longer than RUNMAIN_RECORD_MAX */
  RUNMAIN_LOST_REENTRANT = 2, /* a signal handler ended one inside of another's end */
  RUNMAIN_LOST_NOT_SERVING =
      3, /* what had waited for a claim that was not granted, or found no room meanwhile */
  RUNMAIN_LOST_NO_MEMORY = 4, /* no buffer for a span */
  RUNMAIN_LOST_KINDS = 8
};

/* At the lane's offset. Positions go on when a lane is taken again; counters, dictionary and slots are 0 by
 * then, as the reader has left them. `lost` and `ended` are of spans only. */
struct runmain_lane {
  /* line 0: written by the lane's thread. A release store of `write` publishes what is before it. */
  uint64_t write;
  uint64_t started; /* spans, sampled ones only; one may end in another lane */
  uint64_t ended; /* of these; ended = records of spans + lost. Counted last: a kill may leave it 1 behind */
  uint64_t not_sampled;
  uint64_t cut;             /* attributes, events and links dropped or shortened by a limit */
  uint64_t dictionary_used; /* bytes; a release store publishes an entry */
  uint64_t dictionary_full; /* entries that found no room */
  uint64_t open_full;       /* spans that found no slot */
  /* line 1: written by the lane's thread */
  uint64_t lost[RUNMAIN_LOST_KINDS];
  /* line 2: written by who takes and who closes */
  uint32_t state;
  uint32_t mode;
  uint32_t pid; /* in runmain's pid namespace where it is the same; else only a name */
  uint32_t tid;
  uint64_t pid_started; /* /proc/PID/stat, field 22; 0 while it is being taken */
  uint32_t round;       /* how often it was taken */
  uint32_t reserved0;
  uint64_t reserved1[4];
  /* line 3: written by the reader, advisory: what a writer may overwrite */
  uint64_t read;
  uint64_t reserved2[7];
};

/* The lane's parts, as offsets from its beginning. */
#define RUNMAIN_LANE_DICTIONARY 4096
/* then open_slots * sizeof(struct runmain_open_slot), then the ring; each rounded up to 4096 */

/* ---- records ---- */

#define RUNMAIN_RECORD_ALIGN 16         /* so that a pad record's header always has room */
#define RUNMAIN_RECORD_MAX (256U << 10) /* bytes, header included */

struct runmain_record {
  uint32_t length; /* of the payload, without padding */
  uint16_t kind;
  uint16_t version;  /* 0 */
  uint32_t checksum; /* BY_CHECKSUM: crc32c of position (8 bytes), length, kind, version, payload; else 0 */
  uint32_t reserved;
};

#define RUNMAIN_RECORD_PAD 1 /* fills the end of the ring: a record never wraps */
#define RUNMAIN_RECORD_SPAN                                                                \
  2 /* u32 index of its scope in the dictionary, u32 0, OTLP Span: of a name that is in it \
       twice the last counts, as protobuf says */
#define RUNMAIN_RECORD_REQUEST \
  3 /* u32 signal (0 traces, 1 metrics, 2 logs), u32 0, OTLP Export…ServiceRequest */
#define RUNMAIN_RECORD_LOG 4    /* scope as above, OTLP LogRecord */
#define RUNMAIN_RECORD_METRIC 5 /* scope as above, OTLP Metric */

/* ---- the dictionary: entries that records refer to, never overwritten while the lane is taken ---- */

/* Entries follow each other, padded to 8 bytes; index 0 is the first one, the lane's resource. */
struct runmain_entry {
  uint32_t length; /* of the payload, without padding */
  uint16_t kind;
  uint16_t version; /* 0 */
};

#define RUNMAIN_ENTRY_RESOURCE 1 /* OTLP Resource */
#define RUNMAIN_ENTRY_SCOPE \
  2 /* u32 length of the schema's address, u32 0, that address, OTLP InstrumentationScope */
#define RUNMAIN_SCOPE_LOST 0xffffffffU /* of a record whose scope found no room in the dictionary */

/* ---- open spans: what a dead process had not finished ---- */

#define RUNMAIN_OPEN_NAME_MAX 64

/* `state`: 0 free (and may be being written); odd: being changed; else of a span, and another number than
 * ever before in this lane. What was read counts if `state` is the same before and after. */
struct runmain_open_slot {
  uint64_t state;
  uint64_t start_unix_nano;
  uint8_t trace_id[16];
  uint8_t span_id[8];
  uint8_t parent_span_id[8]; /* zero: a root */
  uint32_t scope;
  uint32_t flags; /* of OTLP Span.flags */
  uint32_t kind;
  uint32_t name_length;
  char name[RUNMAIN_OPEN_NAME_MAX];
};

#endif

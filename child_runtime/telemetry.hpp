// The provider of spans in this process, and what a thread has of its own for them.
//
// Telemetry is a part of Process: a forked child finds zeros, no mailbox, nothing decided. Of a thread's two
// parts the hot one, Live, is wiped by a fork too: a lane that is not there says that the process is another
// one, and that there are no random numbers yet. Invariant: `mode` goes undecided -> off or on, off -> on
// when a mailbox comes, and to shut for good. Non-goal: spans themselves (span.hpp).
#pragma once

#include <pthread.h>
#include <time.h>

#include <atomic>
#include <cstdint>

#include "mailbox_writer.hpp"
#include "pool.hpp"
#include "trace.h"

namespace runmain::child {

enum class Mode : std::uint8_t { undecided, off, on, shut };

inline constexpr std::size_t kResourceMax = 8192;  // bytes of the encoded resource

// Read at each start of a span; changed as a whole by storing the pointer, or word by word.
struct SamplerState {
  std::atomic<std::uint32_t> kind;  // 0: nothing was said
  std::atomic<std::uint32_t> ignore_parent;
  std::atomic<std::uint64_t> bound;      // of a ratio: sampled below
  std::atomic<std::uint64_t> threshold;  // of a probability: sampled from here on
  std::atomic<double> ratio;
  std::atomic<const runmain_sampler*> custom;
};

struct Limits {
  std::atomic<std::uint32_t> attributes;
  std::atomic<std::uint32_t> events;
  std::atomic<std::uint32_t> links;
  std::atomic<std::uint32_t> attributes_of_event;
  std::atomic<std::uint32_t> attributes_of_link;
  std::atomic<std::uint32_t> value_length;
};

struct Thread;

// All zero is a process in which nothing was decided.
struct Telemetry {
  std::atomic<Mode> mode;
  SamplerState sampler;
  std::atomic<const runmain_id_generator*> id_generator;  // nullptr: our own; beside the sampler, in its line
  Limits limits;
  Mailbox mailbox;

  pthread_mutex_t lane_lock;  // guards the lane for threads that have none of their own
  Lane shared_lane;
  std::uint64_t shared_retry_ns;  // CLOCK_MONOTONIC

  pthread_mutex_t threads_lock;
  Thread* idle;  // of ended threads

  pthread_mutex_t lock;  // guards what follows
  bool configured;       // the environment was read
  bool disabled;         // OTEL_SDK_DISABLED
  bool limits_set;       // by the program
  bool was_shut;
  char init_file[256];  // of the explicit initialisation
  int init_line;
  int init_pid;
  char reason[384];
  std::size_t resource_size;
  std::uint8_t resource[kResourceMax];
};

// What is wiped in a forked child.
struct Live {
  Lane lane;                 // its own; none: it uses the shared one, or has not begun
  bool begun;                // the numbers below are there
  std::uint32_t era;         // of the process
  std::uint64_t random[4];   // xoshiro256++
  std::int64_t wall_offset;  // CLOCK_REALTIME - CLOCK_MONOTONIC, ns
  std::uint64_t wall_until;  // … found anew then
  std::uint64_t lane_retry_ns;
};

struct Thread {
  Live* live;
  Pool pool;
  Thread* next;
};

// One symbol, so that the thread pointer is asked once.
struct ThreadLocal {
  Live* live;  // nullptr: nothing here yet
  Thread* thread;
  const runmain_context* current;
  std::uint32_t busy;  // 1: in the middle of something that a signal handler must not begin again
};

// Such a middle, for a scope.
class Busy {
 public:
  explicit Busy(ThreadLocal& local) : local_(local) {
    local_.busy = 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~Busy() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    local_.busy = 0;
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  ThreadLocal& local_;
};
extern __thread ThreadLocal t_local __attribute__((tls_model("initial-exec"), visibility("hidden")));

// This process's; nullptr before anything was asked.
extern std::atomic<Telemetry*> g_telemetry;

// Claims and initialises if that was not done. Does not keep a lock.
Telemetry& telemetry();

// Memory for the calling thread, whether it serves or not. False: none.
bool ensure_thread();
// Makes the calling thread's part ready: memory, random numbers, a lane if there is one. False: no memory.
bool begin_thread(Telemetry& telemetry, std::uint64_t now_ns);
// Once a second: the wall clock may have been set, a lane may have become free.
void refresh_thread(Telemetry& telemetry, Live& live, std::uint64_t now_ns);

inline std::uint64_t monotonic_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

inline std::uintptr_t thread_self() {
#if RUNMAIN_SPAN_INLINE
  return runmain_thread_self();
#else
  return (std::uintptr_t)pthread_self();  // a number of that size or a pointer, as the libc has it
#endif
}

// xoshiro256++ (Blackman, Vigna).
inline std::uint64_t random_number(Live& live) {
  const auto rotate = [](std::uint64_t x, unsigned n) { return (x << n) | (x >> (64U - n)); };
  std::uint64_t* s = live.random;
  const std::uint64_t result = rotate(s[0] + s[3], 23) + s[0];
  const std::uint64_t t = s[1] << 17U;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

// A lane for the calling thread, for the length of a scope: its own, or the shared one under its lock.
class LaneHold {
 public:
  LaneHold(Telemetry& telemetry, Live& live) : lane_(&live.lane) {
    if (live.lane.lines == nullptr) [[unlikely]]
      take_shared(telemetry);
  }
  ~LaneHold() {
    if (lock_ != nullptr) [[unlikely]]
      pthread_mutex_unlock(lock_);
  }
  LaneHold(const LaneHold&) = delete;
  LaneHold& operator=(const LaneHold&) = delete;

  Lane* get() const { return lane_; }  // nullptr: there is none

 private:
  void take_shared(Telemetry& telemetry);

  Lane* lane_;
  pthread_mutex_t* lock_ = nullptr;
};

// Adds to Lane.cut of the calling thread.
void count_cut(std::uint64_t n = 1);
// A span or record was lost for want of a lane.
void count_no_lane(Telemetry& telemetry);

}  // namespace runmain::child

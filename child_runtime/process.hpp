// What this process knows of its role: one block of memory that the kernel wipes in a forked child.
//
// The block is mapped with MADV_WIPEONFORK (madvise(2)), so a child finds zeros: no claim, no channel, no
// request in flight, an unlocked mutex, whatever another thread of its parent was doing. All bytes zero is
// therefore a fresh Process, and every field must be made so. What a child must still know of its parent is
// in Heritage. Invariant: process() of a forked child never shows the parent's role. Non-goal: children that
// share memory (vfork(2)); they must not call us. Allocates once, by mmap(2).
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "child_runtime.h"
#include "message.hpp"
#include "telemetry.hpp"

namespace runmain::child {

inline constexpr std::size_t kOutMax = 8192;  // bytes of our lines that the supervisor has not taken yet

// The environment as this process found it at its first call.
struct Environment {
  bool supervised;  // RUNMAIN_TOKEN is there
  bool void_token;  // its nonce was wiped by a process that had claimed
  bool executed;  // … by this very one, in the program that it was before execve(2): the nonce is here again
  char nonce[128];  // empty: the token is none that we understand
  char channel[112];
  char notify[112];
};

struct Socket {
  int fd;
  ListenerText text;
};

enum class ClaimState : std::uint8_t { undecided, granted, unsupervised, refused, unreachable };

struct Process {
  std::atomic<std::uint32_t> era;  // 0: nobody called yet in this process; else differs from every ancestor's
  std::atomic<std::uint32_t> entering;  // 1: somebody is at the first call
  std::atomic<std::uint64_t> started;   // see process_start(); 0: not read yet
  Environment environment;

  alignas(64) std::atomic<std::uint64_t> in_flight;
  std::atomic<std::uint64_t> done;
  std::atomic<std::uint64_t> reported_ms;  // when the counts were last told, CLOCK_MONOTONIC

  alignas(64) std::atomic<ClaimState> claim;
  std::atomic<int> channel_number;  // fd + 1; 0: none
  std::atomic<bool> draining;       // a drain was asked for
  std::atomic<bool> drain_settled;  // … and the callback has returned, if there is one
  std::atomic<std::uint32_t>
      drained_due;  // 1: "drained" is to be said by whoever can lock; read and written as one
  std::atomic<std::uint64_t> ignored_lines;
  std::atomic<std::uint64_t> dropped_lines;

  pthread_mutex_t
      claim_lock;  // held by who claims, until the mailbox that came with it is there; before `lock`

  pthread_mutex_t lock;  // zeros are PTHREAD_MUTEX_INITIALIZER; guards everything below
  bool ready_said;
  bool stopping_said;
  bool drained_said;
  bool drain_called;
  bool thread_started;
  runmain_drain_callback drain_callback;
  void* drain_data;
  std::uint32_t drain_budget_ms;
  std::size_t in_size;
  std::size_t out_size;
  unsigned socket_count;
  char reason[256];
  char in[RUNMAIN_CHANNEL_LINE_MAX];
  char out[kOutMax];
  Role role;
  Message message;  // the line that is being read
  Socket sockets[kListenersMax];

  Telemetry telemetry;

  int channel() const { return channel_number.load(std::memory_order_acquire) - 1; }
};

// This process's block. Two loads, after the first call in a process.
Process& process();

// /proc/self/stat, field 22: with the pid, which process this is, whatever program it runs. 1: not known.
// Reads once.
std::uint64_t process_start(Process& p);

// Remembers the channel `fd` (-1: none any more) for a forked child, which closes it. Needs the lock.
void remember_channel(int fd);

// Sets what runmain_reason tells; `format` as printf(3). Needs the lock.
void set_reason(Process& p, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Claims if nobody has, and waits for the answer as runmain_serve does; not asked for by the program itself.
// Without locks.
void claim_by_the_way(Process& p);

// See runmain_scrub_environment.
void scrub(Process& p);

// The lock of a Process, for a scope. When it is let go, a "drained" that became due meanwhile is said.
class Held {
 public:
  explicit Held(Process& p) : process_(p) { pthread_mutex_lock(&p.lock); }
  ~Held();
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  Process& process_;
};

}  // namespace runmain::child

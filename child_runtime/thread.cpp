// What a thread has for its spans: from its first one to its end, and in a forked child.
#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "context.hpp"
#include "process.hpp"
#include "telemetry.hpp"

namespace runmain::child {

__thread ThreadLocal t_local __attribute__((tls_model("initial-exec"), visibility("hidden")));

namespace {

constexpr std::uint64_t kRefreshNs = 1'000'000'000;
constexpr std::uint64_t kLaneRetryNs = 100'000'000;

constinit std::atomic<std::uint64_t> g_key{0};  // the key + 1; 0: none yet
constinit std::atomic<bool> g_wipes_by_hand{false};

std::uint64_t wall_ns() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

// Only where the kernel cannot wipe.
void wipe_in_child() {
  if (t_local.live != nullptr) std::memset(static_cast<void*>(t_local.live), 0, sizeof(Live));
}

// Live in pages of its own, which a fork wipes; then the rest.
Thread* make_thread() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t hot = (sizeof(Live) + page - 1) / page * page;
  void* memory =
      mmap(nullptr, hot + sizeof(Thread), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (madvise(memory, hot, MADV_WIPEONFORK) != 0 && !g_wipes_by_hand.exchange(true))
    pthread_atfork(nullptr, nullptr, wipe_in_child);
  auto* thread = reinterpret_cast<Thread*>(static_cast<char*>(memory) + hot);
  thread->live = static_cast<Live*>(memory);
  return thread;
}

// The thread ends: its lane is closed, and its memory waits for another one.
void end_thread(void*) {
  ThreadLocal& local = t_local;
  leave_all();
  Thread* thread = local.thread;
  if (thread == nullptr) return;
  Telemetry& t = process().telemetry;
  // A lane with open spans stays taken: the next thread goes on with it.
  if (close_lane(thread->live->lane)) std::memset(static_cast<void*>(thread->live), 0, sizeof(Live));
  local.live = nullptr;
  local.thread = nullptr;
  pthread_mutex_lock(&t.threads_lock);
  thread->next = t.idle;
  t.idle = thread;
  pthread_mutex_unlock(&t.threads_lock);
}

// So that end_thread runs. Without a key (PTHREAD_KEYS_MAX) lanes stay taken as long as the process.
void watch_end() {
  std::uint64_t number = g_key.load(std::memory_order_acquire);
  if (number == 0) {
    pthread_key_t key{};
    if (pthread_key_create(&key, end_thread) != 0) return;
    if (g_key.compare_exchange_strong(number, std::uint64_t{key} + 1)) {
      number = std::uint64_t{key} + 1;
    } else {
      pthread_key_delete(key);
    }
  }
  pthread_setspecific(static_cast<pthread_key_t>(number - 1), &t_local);
}

Thread* take_idle(Telemetry& t) {
  pthread_mutex_lock(&t.threads_lock);
  Thread* thread = t.idle;
  if (thread != nullptr) t.idle = thread->next;
  pthread_mutex_unlock(&t.threads_lock);
  return thread;
}

void seed(Live& live) {
  auto* at = reinterpret_cast<char*>(live.random);
  std::size_t done = 0;
  while (done < sizeof live.random) {
    const ssize_t n = getrandom(at + done, sizeof live.random - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);
    if (n < 0 && errno != EINTR) break;
  }
  if (done < sizeof live.random) {  // no kernel that we know
    live.random[0] ^= wall_ns();
    live.random[1] ^= static_cast<std::uint64_t>(getpid());
    live.random[2] ^= static_cast<std::uint64_t>(thread_self());
  }
  live.random[3] |= 1;  // all zero would stay so
}

void try_lane(Telemetry& t, Live& live, std::uint64_t now_ns) {
  if (now_ns < live.lane_retry_ns) return;
  live.lane_retry_ns = now_ns + kLaneRetryNs;
  take_lane(t.mailbox, live.lane, false, t.resource, t.resource_size);
}

}  // namespace

bool ensure_thread() {
  ThreadLocal& local = t_local;
  if (local.thread != nullptr) return true;
  Thread* thread = take_idle(process().telemetry);
  if (thread == nullptr) thread = make_thread();
  if (thread == nullptr) return false;
  local.thread = thread;
  local.live = thread->live;
  watch_end();
  return true;
}

bool begin_thread(Telemetry& t, std::uint64_t now_ns) {
  if (!ensure_thread()) return false;
  Live& live = *t_local.live;
  if (!live.begun) {
    seed(live);
    live.era = process().era.load(std::memory_order_relaxed);
    live.begun = true;
    refresh_thread(t, live, now_ns);
  }
  if (live.lane.lines != nullptr) {
    rename_lane(live.lane);
  } else {
    try_lane(t, live, now_ns);
  }
  return true;
}

void refresh_thread(Telemetry& t, Live& live, std::uint64_t now_ns) {
  live.wall_offset = static_cast<std::int64_t>(wall_ns() - monotonic_ns());
  live.wall_until = now_ns + kRefreshNs;
  if (live.lane.lines == nullptr) try_lane(t, live, now_ns);
}

void LaneHold::take_shared(Telemetry& t) {
  pthread_mutex_lock(&t.lane_lock);
  lock_ = &t.lane_lock;
  lane_ = nullptr;
  if (t.shared_lane.lines == nullptr) {
    const std::uint64_t now = monotonic_ns();
    if (now < t.shared_retry_ns) return;
    t.shared_retry_ns = now + kLaneRetryNs;
    if (!take_lane(t.mailbox, t.shared_lane, true, t.resource, t.resource_size)) return;
  }
  lane_ = &t.shared_lane;
}

void count_cut(std::uint64_t n) {
  ThreadLocal& local = t_local;
  Telemetry* t = g_telemetry.load(std::memory_order_acquire);
  if (local.busy != 0 || t == nullptr || t->mailbox.header.load(std::memory_order_acquire) == nullptr) return;
  const Busy busy(local);
  if ((local.live == nullptr || !local.live->begun) && !begin_thread(*t, monotonic_ns())) return;
  const LaneHold hold(*t, *local.live);
  if (Lane* lane = hold.get()) count(*lane, lane->lines->cut, n);
}

void count_no_lane(Telemetry& t) {
  runmain_mailbox* header = t.mailbox.header.load(std::memory_order_acquire);
  if (header != nullptr) __atomic_fetch_add(&header->no_lane, 1, __ATOMIC_RELAXED);
}

}  // namespace runmain::child

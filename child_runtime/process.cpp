#include "process.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace runmain::child {
namespace {

// What outlives a fork: the child must close the channel that it inherited, and can still claim by itself
// after the parent has scrubbed the environment.
struct Heritage {
  std::atomic<std::uint32_t> last_era;
  std::atomic<int> channel_number;  // as in Process
  dev_t channel_device;
  ino_t channel_inode;
  bool scrubbed;
  Environment environment;
};

constexpr std::size_t kHeldMax = 192;  // bytes of RUNMAIN_HELD

constinit Heritage g_heritage{};
constinit std::atomic<Process*> g_process{nullptr};
constinit Process g_unmapped{};  // used where mmap(2) fails

// Only where the kernel cannot wipe: the child is alone with its memory when this runs.
void wipe_in_child() { std::memset(static_cast<void*>(g_process.load()), 0, sizeof(Process)); }

Process* make_process() {
  void* memory = mmap(nullptr, sizeof(Process), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* made = memory == MAP_FAILED ? &g_unmapped : static_cast<Process*>(memory);
  const bool wiped = memory != MAP_FAILED && madvise(memory, sizeof(Process), MADV_WIPEONFORK) == 0;
  Process* expected = nullptr;
  if (!g_process.compare_exchange_strong(expected, made)) {
    if (memory != MAP_FAILED) munmap(memory, sizeof(Process));
    return expected;
  }
  if (!wiped) pthread_atfork(nullptr, nullptr, wipe_in_child);
  return made;
}

// The number may belong to another file by now; only the socket that was the channel is closed.
void close_inherited_channel() {
  const int fd = g_heritage.channel_number.exchange(0) - 1;
  struct stat status {};
  if (fd < 0 || fstat(fd, &status) != 0) return;
  if (status.st_dev == g_heritage.channel_device && status.st_ino == g_heritage.channel_inode) close(fd);
}

// 1:SERVICE:SLOT:GENERATION:NONCE:PID. Finds the nonce from the end, so that no name of a service can move
// it.
bool find_nonce(const char* token, const char*& begin, const char*& end) {
  end = std::strrchr(token, ':');
  if (std::strncmp(token, "1:", 2) != 0 || end == nullptr) return false;
  begin = end;
  while (begin > token && begin[-1] != ':') --begin;
  return begin > token + 2 && begin < end;
}

// The fields after the name, which may hold anything, are counted from its ")".
std::uint64_t read_process_start() {
  char text[1024];
  const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 1;
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return 1;
  text[n] = '\0';
  const char* at = std::strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
  const std::uint64_t started = at == nullptr ? 0 : std::strtoull(at, nullptr, 10);
  return started == 0 ? 1 : started;
}

// RUNMAIN_HELD: of this process as it is, whatever program it runs. Returns its length, as snprintf(3).
std::size_t write_held(Process& p, char* out, std::size_t size, const char* nonce) {
  const int n = std::snprintf(out, size, "%d:%llu:%s", static_cast<int>(getpid()),
                              static_cast<unsigned long long>(process_start(p)), nonce);
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

// Of a wiped nonce from `begin` to `end` in the environment: puts it back there if this process has wiped it,
// so that what it starts may serve. In place, as scrub().
bool restore_nonce(Process& p, const char* token, const char* begin, const char* end) {
  const char* held = std::getenv(RUNMAIN_ENV_HELD);
  const char* nonce = held != nullptr ? std::strrchr(held, ':') : nullptr;
  if (nonce == nullptr) return false;
  ++nonce;
  const auto length = static_cast<std::size_t>(end - begin);
  char ours[kHeldMax];
  if (length == 0 || std::strlen(nonce) != length || write_held(p, ours, sizeof ours, nonce) >= sizeof ours ||
      std::strcmp(held, ours) != 0)
    return false;
  std::memcpy(const_cast<char*>(token) + (begin - token), nonce, length);
  return true;
}

void read_environment(Process& p, Environment& out) {
  const auto copy = [](char* to, std::size_t size, const char* name) {
    const char* value = std::getenv(name);
    if (value != nullptr && std::strlen(value) < size) std::strcpy(to, value);
  };
  std::memset(&out, 0, sizeof out);
  copy(out.notify, sizeof out.notify, "NOTIFY_SOCKET");
  const char* token = std::getenv(RUNMAIN_ENV_TOKEN);
  if (token == nullptr || *token == '\0') return;
  out.supervised = true;
  copy(out.channel, sizeof out.channel, RUNMAIN_ENV_CHANNEL);
  const char* begin = nullptr;
  const char* end = nullptr;
  if (!find_nonce(token, begin, end)) return;
  const auto length = static_cast<std::size_t>(end - begin);
  out.void_token = std::strspn(begin, "-") == length;
  if (out.void_token && restore_nonce(p, token, begin, end)) {
    out.void_token = false;
    out.executed = true;
  }
  if (length < sizeof out.nonce) std::memcpy(out.nonce, begin, length);
}

// Takes the library of adopt/ out of LD_PRELOAD, as the launch put it in; what the user has there stays. In
// place, as scrub(): the parts are separated by colons or blanks, ld.so(8).
void restore_preload() {
  constexpr char kLibrary[] = "librunmain_adopt.so";
  constexpr std::size_t kLength = sizeof kLibrary - 1;
  char* value = std::getenv("LD_PRELOAD");
  char* found = value != nullptr ? std::strstr(value, kLibrary) : nullptr;
  if (found == nullptr || std::strchr(": \t", found[kLength]) == nullptr) return;  // '\0' is found, too
  char* begin = found;
  while (begin > value && std::strchr(": \t", begin[-1]) == nullptr) --begin;
  if (begin != found && found[-1] != '/') return;
  const char* rest = found + kLength;
  if (begin > value) {
    --begin;
  } else if (*rest != '\0') {
    ++rest;
  }
  std::memmove(begin, rest, std::strlen(rest) + 1);
  if (*value == '\0') unsetenv("LD_PRELOAD");
}

void enter(Process& p) {
  std::uint32_t nobody = 0;
  if (!p.entering.compare_exchange_strong(nobody, 1)) {
    while (p.era.load(std::memory_order_acquire) == 0) sched_yield();
    return;
  }
  close_inherited_channel();
  if (g_heritage.scrubbed) {
    p.environment = g_heritage.environment;
  } else {
    read_environment(p, p.environment);
  }
  std::uint32_t era = ++g_heritage.last_era;
  if (era == 0) era = ++g_heritage.last_era;
  p.era.store(era, std::memory_order_release);
}

}  // namespace

Process& process() {
  Process* p = g_process.load(std::memory_order_acquire);
  if (p == nullptr) p = make_process();
  if (p->era.load(std::memory_order_acquire) == 0) enter(*p);
  return *p;
}

std::uint64_t process_start(Process& p) {
  std::uint64_t started = p.started.load(std::memory_order_relaxed);
  if (started == 0) {
    started = read_process_start();
    p.started.store(started, std::memory_order_relaxed);
  }
  return started;
}

void remember_channel(int fd) {
  struct stat status {};
  if (fd >= 0 && fstat(fd, &status) == 0) {
    g_heritage.channel_device = status.st_dev;
    g_heritage.channel_inode = status.st_ino;
  }
  g_heritage.channel_number.store(fd + 1);
}

void set_reason(Process& p, const char* format, ...) {
  char text[sizeof p.reason + 64];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  copy_text(p.reason, sizeof p.reason, text);
}

void scrub(Process& p) {
  g_heritage.environment = p.environment;
  g_heritage.scrubbed = true;
  // The nonce is wiped in place, so that /proc/PID/environ forgets it too.
  if (char* token = std::getenv(RUNMAIN_ENV_TOKEN)) {
    const char* begin = nullptr;
    const char* end = nullptr;
    if (find_nonce(token, begin, end)) {
      std::memset(token + (begin - token), '-', static_cast<std::size_t>(end - begin));
    }
  }
  // For this process alone, should it execute a program: it finds the channel where it was.
  char held[kHeldMax];
  if (p.environment.nonce[0] != '\0' && write_held(p, held, sizeof held, p.environment.nonce) < sizeof held)
    setenv(RUNMAIN_ENV_HELD, held, 1);
  restore_preload();
  for (const char* name : {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
}

}  // namespace runmain::child

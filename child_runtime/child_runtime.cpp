// The functions of child_runtime.h: who holds the role, what the supervisor is told, and the drain.
#include "child_runtime.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "channel.hpp"
#include "notify.hpp"
#include "process.hpp"
#include "sockets.hpp"

namespace runmain::child {
namespace {

constexpr std::size_t kStatusMax = 512;  // bytes of a status text

// ---- drain

// Needs the lock.
int send_requests(Process& p) {
  LineWriter line;
  line.raw("{\"v\":1,\"requests\":{\"done\":").number(p.done.load());
  line.raw(",\"in_flight\":").number(p.in_flight.load()).raw("}}");
  return send_line(p, line);
}

// Tells the counts if that is due and nobody has the lock. Never waits. One of the threads that see it due
// wins; what waits for a supervisor that does not read is not made longer.
void report_if_due(Process& p) {
  if (p.channel() < 0) return;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const std::uint64_t ms =
      static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
  std::uint64_t last = 0;
  if (p.reported_ms.compare_exchange_strong(last, ms) || ms < last + RUNMAIN_REPORT_MS ||
      !p.reported_ms.compare_exchange_strong(last, ms))
    return;
  if (pthread_mutex_trylock(&p.lock) != 0) return;
  if (p.out_size == 0 && !p.drained_said) (void)send_requests(p);
  pthread_mutex_unlock(&p.lock);
}

// Says it once, after the counts. Needs the lock.
int say_drained(Process& p) {
  p.drained_due.exchange(0);
  if (p.drained_said) return 0;
  p.drained_said = true;
  (void)send_requests(p);
  LineWriter line;
  line.raw("{\"v\":1,\"drained\":true}");
  return send_line(p, line);
}

// Says a due "drained" if the lock is free; if not, its holder does when it lets go. Never waits. All
// exchange the one word: who comes later in its order sees either that it is due or that the lock is free.
void say_if_due(Process& p) {
  while (p.drained_due.fetch_or(0) != 0 && pthread_mutex_trylock(&p.lock) == 0) {
    say_drained(p);
    pthread_mutex_unlock(&p.lock);
  }
}

// The callback has returned: from now on the last request to end says "drained". With none in flight that is
// now, if the program counts requests at all.
void settle_drain(Process& p) {
  p.drain_settled.store(true);
  if (p.in_flight.load() == 0 && p.done.load() > 0) p.drained_due.exchange(1);
  say_if_due(p);
}

// A drain was asked for. Calls the callback, without the lock, if it has not been called yet.
void begin_drain(Process& p) {
  runmain_drain_callback callback = nullptr;
  void* data = nullptr;
  std::uint32_t budget_ms = 0;
  {
    const Held held(p);
    p.draining.store(true);
    if (p.drain_called) return;
    callback = p.drain_callback;
    data = p.drain_data;
    budget_ms = p.drain_budget_ms;
    p.drain_called = callback != nullptr;
  }
  if (callback != nullptr) callback(data, budget_ms);
  settle_drain(p);
}

// ---- claim

ClaimState decide(Process& p, bool explicit_call, MailboxFds& mailbox) {
  const Environment& e = p.environment;
  if (!e.supervised) return ClaimState::unsupervised;
  if (e.void_token) {
    set_reason(p, "the token was claimed by the process that started this one");
    return ClaimState::refused;
  }
  if (e.nonce[0] == '\0' || e.channel[0] == '\0') {
    set_reason(p, e.nonce[0] == '\0' ? "RUNMAIN_TOKEN is none that this library understands"
                                     : "RUNMAIN_CHANNEL is missing or too long");
    return ClaimState::unreachable;
  }
  return claim_role(p, explicit_call, mailbox);
}

int result_of(ClaimState state) {
  switch (state) {
    case ClaimState::granted: return RUNMAIN_GRANTED;
    case ClaimState::unsupervised: return RUNMAIN_UNSUPERVISED;
    case ClaimState::refused: return RUNMAIN_REFUSED;
    default: return RUNMAIN_UNREACHABLE;
  }
}

struct Outcome {
  ClaimState state = ClaimState::undecided;
  bool drain_asked = false;
  MailboxFds mailbox;
};

// Claims if nobody has, or if the last claim was not granted and the program asks by itself.
Outcome claim(Process& p, bool explicit_call) {
  Outcome out;
  const Held held(p);
  out.state = p.claim.load();
  const bool unanswered = out.state == ClaimState::refused || out.state == ClaimState::unreachable;
  if (out.state != ClaimState::undecided && !(explicit_call && unanswered)) return out;
  p.reason[0] = '\0';
  out.state = decide(p, explicit_call, out.mailbox);
  if (out.state == ClaimState::unsupervised || out.state == ClaimState::unreachable) take_listen_fds(p);
  if (out.state == ClaimState::granted) (void)handle_lines(p, out.drain_asked);
  p.claim.store(out.state);
  return out;
}

// Without it spans record nothing: no reason not to serve.
void take_mailbox(const MailboxFds& fds) {
  if (fds.memory < 0) return;
  (void)runmain_mailbox_attach(fds.memory, fds.wake);
  close(fds.memory);
  close(fds.wake);
}

// Nobody's claim is settled before its mailbox is there: another thread's first span would record nothing.
int settle_claim(Process& p, bool explicit_call) {
  pthread_mutex_lock(&p.claim_lock);
  const Outcome out = claim(p, explicit_call);
  take_mailbox(out.mailbox);
  pthread_mutex_unlock(&p.claim_lock);
  if (out.drain_asked) begin_drain(p);
  return result_of(out.state);
}

// ---- telling

// Needs the lock. The answer when there is nobody to tell.
int nobody(const Process& p) { return p.environment.supervised ? -ENOTCONN : 0; }

int tell_by_notify(const Process& p, const char* text, bool wait) {
  return p.environment.notify[0] == '\0' ? nobody(p) : notify(p.environment.notify, text, wait);
}

// Over the channel, or by NOTIFY_SOCKET if there is none (any more).
int tell(Process& p, LineWriter& line, const char* text, bool wait) {
  const int sent = send_line(p, line);
  return sent == -ENOTCONN || sent == -EPIPE ? tell_by_notify(p, text, wait) : sent;
}

void* listen_on_channel(void*) {
  for (;;) {
    pollfd channel{runmain_channel_fd(), POLLIN, 0};
    if (channel.fd < 0) return nullptr;
    poll(&channel, 1, -1);
    if (runmain_dispatch() < 0) return nullptr;
  }
}

}  // namespace

void claim_by_the_way(Process& p) { settle_claim(p, false); }

Held::~Held() {
  pthread_mutex_unlock(&process_.lock);
  say_if_due(process_);
}

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

int runmain_serve(void) { return settle_claim(process(), true); }

int runmain_serving(void) {
  const Process& p = process();
  return p.claim.load(std::memory_order_acquire) == ClaimState::granted || !p.environment.supervised ? 1 : 0;
}

size_t runmain_reason(char* buffer, size_t size) {
  Process& p = process();
  const Held held(p);
  if (size > 0) copy_text(buffer, size, p.reason);
  return std::strlen(p.reason);
}

int runmain_get_role(struct runmain_role* role) {
  Process& p = process();
  const Held held(p);
  if (p.claim.load() != ClaimState::granted) return -ENOENT;
  *role = runmain_role{p.role.service, p.role.instance_id, p.role.slot, p.role.generation};
  return 0;
}

int runmain_scrub_environment(void) {
  Process& p = process();
  const Held held(p);
  if (p.claim.load() != ClaimState::granted) return -EPERM;
  scrub(p);
  return 0;
}

size_t runmain_listeners(struct runmain_socket* out, size_t max) {
  Process& p = process();
  settle_claim(p, false);
  const Held held(p);
  for (unsigned i = 0; i < p.socket_count && i < max; ++i) {
    const Socket& s = p.sockets[i];
    out[i] = runmain_socket{s.fd, s.text.name, s.text.address, s.text.kind};
  }
  return p.socket_count;
}

int runmain_listener(const char* name) {
  Process& p = process();
  settle_claim(p, false);
  const Held held(p);
  for (unsigned i = 0; i < p.socket_count; ++i) {
    if (name == nullptr || std::strcmp(name, p.sockets[i].text.name) == 0) return p.sockets[i].fd;
  }
  return -1;
}

int runmain_ready(void) {
  Process& p = process();
  const Held held(p);
  if (p.claim.load() == ClaimState::refused) return -EPERM;
  if (p.ready_said) return 0;
  LineWriter line;
  line.raw("{\"v\":1,\"ready\":true}");
  const int result = tell(p, line, "READY=1", true);
  p.ready_said = result == 0;
  return result;
}

int runmain_stopping(void) {
  Process& p = process();
  const Held held(p);
  if (p.stopping_said) return 0;
  LineWriter line;
  line.raw("{\"v\":1,\"stopping\":true}");
  const int result = tell(p, line, "STOPPING=1", true);
  p.stopping_said = result == 0;
  return result;
}

int runmain_status(const char* text) {
  Process& p = process();
  char datagram[kStatusMax + 16] = "STATUS=";
  char* status = datagram + std::strlen(datagram);
  copy_text(status, kStatusMax + 1, text);
  for (char* c = status; *c != '\0'; ++c) {
    if (*c == '\n') *c = ' ';  // a line ends a variable in sd_notify(3)
  }
  const Held held(p);
  LineWriter line;
  line.raw("{\"v\":1,\"status\":").string(text, kStatusMax).raw("}");
  return tell(p, line, datagram, false);
}

int runmain_extend_timeout(uint64_t usec) {
  char text[64];
  std::snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%llu", static_cast<unsigned long long>(usec));
  return tell_by_notify(process(), text, true);
}

int runmain_heartbeat(void) { return tell_by_notify(process(), "WATCHDOG=1", false); }

int runmain_report_requests(void) {
  Process& p = process();
  const Held held(p);
  const int sent = send_requests(p);
  return sent == -ENOTCONN ? nobody(p) : sent;
}

int runmain_channel_fd(void) { return process().channel(); }

int runmain_dispatch(void) {
  Process& p = process();
  bool drain_asked = false;
  int result = 0;
  {
    const Held held(p);
    result = read_channel(p, drain_asked);
  }
  if (drain_asked) begin_drain(p);
  return result;
}

int runmain_start_listener_thread(void) {
  Process& p = process();
  const Held held(p);
  if (p.channel() < 0) return -ENOTCONN;
  if (p.thread_started) return 0;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  const int error = pthread_create(&thread, nullptr, listen_on_channel, nullptr);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return -error;
  pthread_detach(thread);
  p.thread_started = true;
  return 0;
}

int runmain_on_drain(runmain_drain_callback callback, void* data) {
  Process& p = process();
  bool asked = false;
  {
    const Held held(p);
    p.drain_callback = callback;
    p.drain_data = data;
    asked = p.draining.load();
  }
  if (asked) begin_drain(p);
  return 0;
}

void runmain_drain_requested_by_signal(void) { begin_drain(process()); }

int runmain_draining(void) { return process().draining.load(std::memory_order_acquire) ? 1 : 0; }

int runmain_drained(void) {
  Process& p = process();
  const Held held(p);
  const int said = say_drained(p);
  return said == -ENOTCONN ? nobody(p) : said;
}

uint32_t runmain_request_begin(void) {
  Process& p = process();
  p.in_flight.fetch_add(1);
  return p.era.load(std::memory_order_relaxed);
}

void runmain_request_end(uint32_t ticket) {
  Process& p = process();
  if (ticket != p.era.load(std::memory_order_relaxed)) return;
  std::uint64_t before = p.in_flight.load();
  do {
    if (before == 0) return;  // an end without its begin
  } while (!p.in_flight.compare_exchange_weak(before, before - 1));
  p.done.fetch_add(1);
  if (before == 1 && p.drain_settled.load()) p.drained_due.exchange(1);
  report_if_due(p);
  say_if_due(p);
}

void runmain_get_counters(struct runmain_counters* counters) {
  const Process& p = process();
  *counters =
      runmain_counters{p.in_flight.load(), p.done.load(), p.ignored_lines.load(), p.dropped_lines.load()};
}

const char* runmain_version(void) { return RUNMAIN_VERSION; }

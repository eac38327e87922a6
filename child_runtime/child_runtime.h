/* What a program links to be served by runmain: does this process serve, the sockets it was given, ready,
 * drain.
 *
 * Loading this library decides nothing and starts nothing: no thread, no socket, no signal handler, no
 * output. Serving begins with a claim (runmain_serve, taking a listener, or the first span). Without
 * RUNMAIN_TOKEN in the environment the program is unsupervised: it serves, and every call below is harmless.
 *
 * Invariants: a forked child does not serve until it claims by itself; no call raises SIGPIPE; only
 * runmain_serve, the first taking of listeners and the first span wait for an answer,
 * RUNMAIN_SERVE_TIMEOUT_MS at most, and other threads' calls with them; runmain_request_begin,
 * runmain_request_end, runmain_serving, runmain_draining and runmain_channel_fd never wait. The structs below
 * never change; what is new gets a new name. The environment is read once, at a process's first call.
 * Non-goal: telemetry (trace.h).
 *
 * Threads: every function may be called from every thread, none from a signal handler or between vfork and
 * exec. Results: 0 or a count on success, a negative errno on failure, unless said otherwise. The contract
 * behind this file is docs/contract.md. */
#ifndef RUNMAIN_CHILD_RUNTIME_H
#define RUNMAIN_CHILD_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RUNMAIN_API __attribute__((visibility("default")))
#else
#define RUNMAIN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RUNMAIN_SERVE_TIMEOUT_MS 5000

/* ---- the claim ---- */

#define RUNMAIN_GRANTED 0      /* this process serves, and holds the role */
#define RUNMAIN_UNSUPERVISED 1 /* no RUNMAIN_TOKEN: this process serves, nobody supervises it */
#define RUNMAIN_REFUSED 2      /* the supervisor says no: this process does not serve */
#define RUNMAIN_UNREACHABLE 3  /* there is a token, but no answer: not serving, sockets from LISTEN_FDS */

/* Claims the role for this process and waits for the answer. One of the four above; what is behind 2 and 3 is
 * told by runmain_reason. After a grant it answers at once; after 2 or 3 another call asks again. A drain
 * that the supervisor asked for together with the grant is told (runmain_on_drain) before this returns. */
RUNMAIN_API int runmain_serve(void);

/* 1 after a granted claim and when unsupervised, else 0. Never waits, never claims. */
RUNMAIN_API int runmain_serving(void);

/* Copies why the last claim was not granted, or why a given socket was left out, as text for a person, with a
 * NUL. Empty if there is nothing to tell. Returns the length of the whole text, as snprintf(3). */
RUNMAIN_API size_t runmain_reason(char* buffer, size_t size);

struct runmain_role {
  const char* service; /* never NULL; the library's, valid while this process lives */
  const char* instance_id;
  uint32_t slot;
  uint32_t generation;
};

/* Fills `role` as granted. -ENOENT if no claim was granted. */
RUNMAIN_API int runmain_get_role(struct runmain_role* role);

/* Makes the token in the environment useless for programs that this one starts (they are then refused, not
 * unsupervised), and removes NOTIFY_SOCKET and LISTEN_*. This library goes on with its own copy, and so does
 * this very process if it executes another program, or itself: RUNMAIN_HELD is left for it
 * (docs/contract.md), and it may claim again; only runmain_extend_timeout and runmain_heartbeat do nothing
 * there. For hygiene only: the supervisor checks who claims. -EPERM unless a claim was granted. Like
 * setenv(3) it must not run beside another thread that uses the environment. */
RUNMAIN_API int runmain_scrub_environment(void);

/* ---- inherited sockets ---- */

struct runmain_socket {
  int fd;              /* the program's to close; close-on-exec */
  const char* name;    /* "http"; the library's, valid while this process lives */
  const char* address; /* "127.0.0.1:8000", "unix:/run/web.sock", "unix:@name" */
  const char* kind;    /* "tcp", "udp", "unix" */
};

/* Fills at most `max` entries and returns how many there are in all; 0 means: bind by yourself. The first
 * call claims, if nobody has yet. Sockets come with a granted claim, else by LISTEN_FDS as sd_listen_fds(3)
 * says (LISTEN_PID must be this process). What is no socket is left out and told by runmain_reason. The
 * supervisor holds these sockets too, so closing one does not take it out of an epoll set: use EPOLL_CTL_DEL
 * first. */
RUNMAIN_API size_t runmain_listeners(struct runmain_socket* out, size_t max);

/* The fd of the first socket with this name (NULL: of the first), or -1. Claims as runmain_listeners does. */
RUNMAIN_API int runmain_listener(const char* name);

/* ---- telling the supervisor ---- */

/* Each goes over the channel if a claim was granted, else by sd_notify(3) to NOTIFY_SOCKET, else nowhere: 0
 * when unsupervised, -ENOTCONN when not. -ENOBUFS: the supervisor does not read and the line was dropped.
 * Nothing here waits for the channel; ready, stopping and extend_timeout wait for room in a full
 * NOTIFY_SOCKET, 2 s at most. */

RUNMAIN_API int runmain_ready(void);                   /* told once; -EPERM after a refused claim */
RUNMAIN_API int runmain_stopping(void);                /* told once */
RUNMAIN_API int runmain_status(const char* text);      /* UTF-8; cut at 512 bytes */
RUNMAIN_API int runmain_extend_timeout(uint64_t usec); /* always by NOTIFY_SOCKET */
RUNMAIN_API int runmain_heartbeat(void);               /* always by NOTIFY_SOCKET */
RUNMAIN_API int runmain_report_requests(void);         /* the two counts of runmain_get_counters, now */

/* ---- drain ---- */

/* The channel's fd to poll for POLLIN (EPOLLIN), or -1 if there is none (any more). The library's; never read
 * or close it. If it closes the role is kept. A program that forks without exec deletes it from its epoll set
 * when runmain_dispatch has closed it, or adds it with EPOLLET. */
RUNMAIN_API int runmain_channel_fd(void);

/* Reads what has come, never waits. Returns how many messages it has handled, -ENOTCONN if there is no
 * channel. Calls the drain callback. */
RUNMAIN_API int runmain_dispatch(void);

/* For programs without an event loop: a thread of the library that calls runmain_dispatch, with all signals
 * blocked. The drain callback then runs there. A second call changes nothing. -ENOTCONN without a channel. */
RUNMAIN_API int runmain_start_listener_thread(void);

/* `callback` is called once, when the supervisor asks to drain or the program says that it was asked to by a
 * signal: by the thread that calls runmain_dispatch, runmain_drain_requested_by_signal or runmain_serve, or
 * at once by this call if that has been. budget_ms: how long the supervisor will wait, 0 if unknown. It must
 * not throw. It may call everything in this file. */
typedef void (*runmain_drain_callback)(void* data, uint32_t budget_ms);
RUNMAIN_API int runmain_on_drain(runmain_drain_callback callback, void* data);

/* The program got its stop signal. Not for a signal handler: call it where signalfd(2) or a pipe told you. */
RUNMAIN_API void runmain_drain_requested_by_signal(void);

/* 1 once a drain was asked for. */
RUNMAIN_API int runmain_draining(void);

/* Says that everything accepted is answered. It is said without this call when a drain was asked for, the
 * callback has returned and the requests in flight reach 0 (at once if there were some before and none now).
 * Told once, with the counts. */
RUNMAIN_API int runmain_drained(void);

/* Counts a request in flight: give begin's ticket to end, on any thread. They never wait, allocate or fail;
 * an end with a ticket from before a fork, or without a begin, counts nothing. After a granted claim an end
 * reports the counts over the channel, once in RUNMAIN_REPORT_MS at most (the supervisor may recycle by
 * them); a report that finds no room is left out, the next one says more. */
#define RUNMAIN_REPORT_MS 1000
RUNMAIN_API uint32_t runmain_request_begin(void);
RUNMAIN_API void runmain_request_end(uint32_t ticket);

struct runmain_counters {
  uint64_t in_flight;     /* requests begun and not ended */
  uint64_t done;          /* requests ended */
  uint64_t ignored_lines; /* lines of the channel that said nothing we know */
  uint64_t dropped_lines; /* our lines that found no room (-ENOBUFS) */
};
RUNMAIN_API void runmain_get_counters(struct runmain_counters* counters);

/* "0.1.0" */
RUNMAIN_API const char* runmain_version(void);

#ifdef __cplusplus
}
#endif

#endif

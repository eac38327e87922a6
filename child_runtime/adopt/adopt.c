/* bind(2), listen(2) and shutdown(2) as a program calls them. */
#include "adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child_runtime/protocol.h"
#include "next.h"

#define EXPORT __attribute__((visibility("default")))
#define FIRST_FD RUNMAIN_LISTEN_FDS_START

extern char** environ;

enum { UNREAD, READING, READ };

/* Written once, before `state` says READ. */
static struct {
  struct adopt_config config;
  int on;
  int (*bind)(int, const struct sockaddr*, socklen_t);
  int (*listen)(int, int);
  int (*shutdown)(int, int);
} g_world;
static int g_state = UNREAD;

/* A sanitizer's library must be the first of all, and is in charge of these calls: its program is left alone.
 */
static int has_sanitizer(void) {
  static const char* const names[] = {"libasan", "libtsan", "libubsan", "liblsan", "libmsan", "libclang_rt."};
  const char* preloaded = adopt_variable(environ, "LD_PRELOAD");
  for (size_t i = 0; preloaded != NULL && i < sizeof names / sizeof *names; ++i) {
    if (strstr(preloaded, names[i]) != NULL) return 1;
  }
  return 0;
}

/* Before main(), or where a constructor of another library is faster with its first call. */
__attribute__((constructor)) static void read_world(void) {
  int unread = UNREAD;
  const int error = errno;
  if (!__atomic_compare_exchange_n(&g_state, &unread, READING, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
  g_world.bind = (int (*)(int, const struct sockaddr*, socklen_t))adopt_next("bind");
  g_world.listen = (int (*)(int, int))adopt_next("listen");
  g_world.shutdown = (int (*)(int, int))adopt_next("shutdown");
  /* getauxval(3): one that has another user's rights does not do what an environment says. */
  g_world.on =
      getauxval(AT_SECURE) == 0 && !has_sanitizer() && adopt_read_config(environ, &g_world.config) != 0;
  errno = error;
  __atomic_store_n(&g_state, READ, __ATOMIC_RELEASE);
}

static int is_read(void) {
  if (__atomic_load_n(&g_state, __ATOMIC_ACQUIRE) == UNREAD) read_world();
  return __atomic_load_n(&g_state, __ATOMIC_ACQUIRE) == READ;
}

static int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

static int is_ours(int fd) {
  const uint64_t cookie = adopt_cookie(fd);
  for (unsigned i = 0; cookie != 0 && i < g_world.config.count; ++i) {
    if (g_world.config.listeners[i].cookie == cookie) return 1;
  }
  return 0;
}

/* A socket of IPv4 or IPv6 that has no address yet. */
static int is_unbound(int fd) {
  struct sockaddr_storage name;
  struct adopt_address address;
  socklen_t size = sizeof name;
  return getsockname(fd, (struct sockaddr*)&name, &size) == 0 &&
         adopt_read_address((struct sockaddr*)&name, size, &address) && address.port == 0;
}

/* What connections inherit from their listener is as the program has asked for it; tcp(7), socket(7). It sets
 * no more than what is on. */
static void carry_option(int from, int to, int level, int name) {
  const int on = 1;
  if (option(from, level, name) > 0 && option(to, level, name) == 0)
    setsockopt(to, level, name, &on, sizeof on);
}

/* Puts `listener` in the place of the program's socket. O_NONBLOCK belongs to all who share the listener: it
 * is set for a program that asks for it and never taken away, for an older generation may be about to accept.
 */
static int put_in_place(int listener, int fd) {
  const int descriptor = fcntl(fd, F_GETFD);
  const int status = fcntl(fd, F_GETFL);
  const int shared = fcntl(listener, F_GETFL);
  if (descriptor < 0 || status < 0 || shared < 0) return 0;
  carry_option(fd, listener, SOL_SOCKET, SO_KEEPALIVE);
  if (option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM) carry_option(fd, listener, IPPROTO_TCP, TCP_NODELAY);
  if ((status & O_NONBLOCK) != 0 && (shared & O_NONBLOCK) == 0) fcntl(listener, F_SETFL, shared | O_NONBLOCK);
  return syscall(SYS_dup3, listener, fd, (descriptor & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0) == fd;
}

/* 1: the program's fd is our listener now. */
static int adopt(int fd, const struct sockaddr* address, socklen_t size) {
  struct adopt_address wanted;
  int found;
  int listener;
  int taken = 0;
  int is_inherited;
  uint64_t cookie;
  if (!adopt_read_address(address, size, &wanted)) return 0;
  found = adopt_match(&g_world.config, &wanted, option(fd, SOL_SOCKET, SO_TYPE));
  if (found < 0 || !is_unbound(fd) || option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 0) return 0;
  cookie = g_world.config.listeners[found].cookie;
  listener = FIRST_FD + found;
  is_inherited = adopt_cookie(listener) == cookie;
  if (!is_inherited) listener = adopt_fetch(&g_world.config, cookie);
  if (listener < 0) return 0;
  if (!adopt_is_unreachable(listener, &wanted)) taken = put_in_place(listener, fd);
  if (!is_inherited) syscall(SYS_close, listener);
  return taken;
}

EXPORT int bind(int fd, const struct sockaddr* address, socklen_t size) {
  if (is_read()) {
    const int error = errno;
    const int taken = g_world.on && adopt(fd, address, size);
    errno = error;
    if (taken) return 0;
    if (g_world.bind != NULL) return g_world.bind(fd, address, size);
  }
  return (int)syscall(SYS_bind, fd, address, size);
}

/* The backlog is ours: a smaller one would refuse connections that wait for the next generation. */
EXPORT int listen(int fd, int backlog) {
  if (is_read()) {
    const int error = errno;
    const int swallowed = g_world.on && is_ours(fd);
    errno = error;
    if (swallowed) return 0;
    if (g_world.listen != NULL) return g_world.listen(fd, backlog);
  }
  return (int)syscall(SYS_listen, fd, backlog);
}

/* It would be shut down for every process that has it. */
EXPORT int shutdown(int fd, int how) {
  if (is_read()) {
    const int error = errno;
    const int swallowed = g_world.on && is_ours(fd);
    errno = error;
    if (swallowed) return 0;
    if (g_world.shutdown != NULL) return g_world.shutdown(fd, how);
  }
  return (int)syscall(SYS_shutdown, fd, how);
}

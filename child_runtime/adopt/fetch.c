/* The listeners over the channel, for processes that did not inherit them (docs/contract.md, "Sockets without
 * the role"). By syscall(2): these are no cancellation points, and whatever else is interposed is not asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "adopt.h"
#include "child_runtime/protocol.h"

#define FDS_MAX 64 /* of one message */

static long long now_ms(void) {
  struct timespec t = {0, 0};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void close_fd(int fd) { syscall(SYS_close, fd); }

uint64_t adopt_cookie(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* The calls on it end by themselves when `left` is over; SO_RCVTIMEO, socket(7). */
static int limit(int fd, long long deadline) {
  const long long left = deadline - now_ms();
  struct timeval t;
  if (left <= 0) return 0;
  t.tv_sec = (time_t)(left / 1000);
  t.tv_usec = (suseconds_t)(left % 1000 * 1000);
  return syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0 &&
         syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) == 0;
}

static int connect_to(const char* name, long long deadline) {
  struct sockaddr_un address;
  const size_t length = strlen(name);
  const int is_abstract = name[0] == '@';
  const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (is_abstract ? 0 : 1));
  int fd;
  if (length < 2 || length >= sizeof address.sun_path || (name[0] != '/' && !is_abstract)) return -1;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, name, length);
  if (is_abstract) address.sun_path[0] = '\0';
  fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  while (limit(fd, deadline)) {
    if (syscall(SYS_connect, fd, &address, size) == 0) return fd;
    if (errno != EINTR) break;
  }
  close_fd(fd);
  return -1;
}

/* An abstract name can be taken by anybody once its owner is gone: our nonce is for root and our own user. */
static int is_trusted(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
  return peer.uid == 0 || peer.uid == (uid_t)syscall(SYS_geteuid) || peer.uid == (uid_t)syscall(SYS_getuid);
}

static size_t append(char* line, size_t at, size_t size, const char* text) {
  const size_t length = strlen(text);
  if (at + length >= size) return at;
  memcpy(line + at, text, length + 1);
  return at + length;
}

static int ask(int fd, const char* nonce) {
  char line[ADOPT_NONCE_MAX + 128];
  char digits[24];
  char* digit = digits + sizeof digits;
  size_t length = 0;
  *--digit = '\0';
  for (long pid = syscall(SYS_getpid); pid > 0; pid /= 10) *--digit = (char)('0' + pid % 10);
  length = append(line, length, sizeof line, "{\"v\":1,\"sockets\":{\"nonce\":\"");
  length = append(line, length, sizeof line, nonce);
  length = append(line, length, sizeof line, "\",\"pid\":");
  length = append(line, length, sizeof line, digit);
  length = append(line, length, sizeof line, "}}\n");
  return syscall(SYS_sendto, fd, line, length, MSG_NOSIGNAL, NULL, 0) == (long)length;
}

/* The one with this cookie among the fds of a message; the others are closed. */
static int pick(struct msghdr* message, uint64_t cookie) {
  int found = -1;
  for (struct cmsghdr* c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      if (found < 0 && adopt_cookie(fd) == cookie) {
        found = fd;
      } else {
        close_fd(fd);
      }
    }
  }
  return found;
}

/* They come with the first byte of the answer; what it says is of no use to us. */
static int receive(int fd, uint64_t cookie, long long deadline) {
  char line[RUNMAIN_CHANNEL_LINE_MAX];
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
  } control;
  struct iovec part = {line, sizeof line};
  struct msghdr message;
  long n;
  do {
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    if (!limit(fd, deadline)) return -1;
    n = syscall(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  return n > 0 ? pick(&message, cookie) : -1;
}

int adopt_fetch(const struct adopt_config* config, uint64_t cookie) {
  const long long deadline = now_ms() + ADOPT_TIMEOUT_MS;
  int found = -1;
  int fd;
  if (config->channel[0] == '\0' || config->nonce[0] == '\0') return -1;
  fd = connect_to(config->channel, deadline);
  if (fd < 0) return -1;
  if (is_trusted(fd) && ask(fd, config->nonce)) found = receive(fd, cookie, deadline);
  close_fd(fd);
  return found;
}

/* t_bind: a server that binds by itself and knows nothing of runmain, for the tests of adoption.
 *
 *   t_bind WORD...
 *
 * It does what the words say, one after the other, and prints a line for what there is to see. Plain C
 * without a sanitizer in every build: a sanitizer's program is not adopted.
 *
 * tcp4 tcp6 udp4      a new socket                       cloexec nonblock    of the socket
 * v6only reuseport nodelay keepalive  options of the socket
 * bind HOST PORT      prints "bind 0", or the errno's name and number: "bind Address already in use 98"
 * listen N            prints "listen 0" or as bind       shutdown            the same
 * errno               prints what errno is; it was set to 4711 before each of these three calls
 * cookie              prints SO_COOKIE: "cookie 1a"      flags               prints "flags cloexec=1
 * nonblock=0" inherits            prints "inherits nodelay=1 keepalive=0", of the socket dup goes on with a
 * duplicate           fork                the child goes on, the parent waits close3              closes all
 * fds from 3 to 63, as npm does clear               clears the environment             again WORD... executes
 * itself with these words serve               answers every connection with its pid, until SIGTERM: then it
 * finishes and exits with 0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int g_fd = -1;
static int g_errno;
static volatile sig_atomic_t g_stopping;

static void on_term(int signal_number) {
  (void)signal_number;
  g_stopping = 1;
}

static void tell(const char* what, int result) {
  g_errno = errno;
  if (result == 0) {
    printf("%s 0\n", what);
  } else {
    printf("%s %s %d\n", what, strerror(g_errno), g_errno);
  }
}

static void make(int family, int type) {
  const int on = 1;
  g_fd = socket(family, type, 0);
  if (g_fd >= 0) setsockopt(g_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

static void turn_on(int level, int name) {
  const int on = 1;
  if (setsockopt(g_fd, level, name, &on, sizeof on) != 0) perror("setsockopt");
}

static int get(int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  getsockopt(g_fd, level, name, &value, &size);
  return value;
}

static void bind_to(const char* host, const char* port) {
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  int result;
  memset(&v4, 0, sizeof v4);
  memset(&v6, 0, sizeof v6);
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons((uint16_t)atoi(port));
  errno = 4711;
  if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
    result = bind(g_fd, (struct sockaddr*)&v4, sizeof v4);
  } else {
    inet_pton(AF_INET6, host, &v6.sin6_addr);
    result = bind(g_fd, (struct sockaddr*)&v6, sizeof v6);
  }
  tell("bind", result);
}

static void answer(int fd) {
  char request[4096];
  char text[256];
  const int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
  char head[512];
  int length;
  const struct timeval limit = {5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (recv(fd, request, sizeof request, 0) > 0) {
    length = snprintf(head, sizeof head,
                      "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", n, text);
    if (send(fd, head, (size_t)length, MSG_NOSIGNAL) != length) perror("send");
    shutdown(fd, SHUT_WR); /* of a connection: the client sees it end */
    while (recv(fd, request, sizeof request, 0) > 0) {
    }
  }
  close(fd);
}

static void serve(void) {
  sigset_t none;
  sigset_t term;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_term;
  sigemptyset(&none);
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, NULL);
  sigaction(SIGTERM, &action, NULL);
  fcntl(g_fd, F_SETFL, fcntl(g_fd, F_GETFL) | O_NONBLOCK);
  while (!g_stopping) {
    struct pollfd p = {g_fd, POLLIN, 0};
    if (ppoll(&p, 1, NULL, &none) <= 0) continue;
    const int fd = accept(g_fd, NULL, NULL);
    if (fd >= 0) answer(fd);
  }
  shutdown(g_fd, SHUT_RDWR); /* as some servers do with their listener */
}

static void wait_for_child(void) {
  int status = 0;
  const pid_t pid = fork();
  if (pid == 0) return;
  waitpid(pid, &status, 0);
  exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static void set_flag(int get_command, int set_command, int flag) {
  fcntl(g_fd, set_command, fcntl(g_fd, get_command) | flag);
}

static int is(const char* word, const char* name) { return strcmp(word, name) == 0; }

static int do_simple(const char* word) {
  if (is(word, "tcp4"))
    make(AF_INET, SOCK_STREAM);
  else if (is(word, "tcp6"))
    make(AF_INET6, SOCK_STREAM);
  else if (is(word, "udp4"))
    make(AF_INET, SOCK_DGRAM);
  else if (is(word, "cloexec"))
    set_flag(F_GETFD, F_SETFD, FD_CLOEXEC);
  else if (is(word, "nonblock"))
    set_flag(F_GETFL, F_SETFL, O_NONBLOCK);
  else if (is(word, "v6only"))
    turn_on(IPPROTO_IPV6, IPV6_V6ONLY);
  else if (is(word, "reuseport"))
    turn_on(SOL_SOCKET, SO_REUSEPORT);
  else if (is(word, "nodelay"))
    turn_on(IPPROTO_TCP, TCP_NODELAY);
  else if (is(word, "keepalive"))
    turn_on(SOL_SOCKET, SO_KEEPALIVE);
  else if (is(word, "dup"))
    g_fd = dup(g_fd);
  else if (is(word, "fork"))
    wait_for_child();
  else if (is(word, "clear"))
    clearenv();
  else if (is(word, "errno"))
    printf("errno %d\n", g_errno);
  else if (is(word, "serve"))
    serve();
  else
    return 0;
  return 1;
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 1; i < argc; ++i) {
    const char* word = argv[i];
    if (do_simple(word)) continue;
    errno = 4711;
    if (is(word, "bind") && i + 2 < argc) {
      bind_to(argv[i + 1], argv[i + 2]);
      i += 2;
    } else if (is(word, "listen") && i + 1 < argc) {
      tell("listen", listen(g_fd, atoi(argv[++i])));
    } else if (is(word, "shutdown")) {
      tell("shutdown", shutdown(g_fd, SHUT_RDWR));
    } else if (is(word, "cookie")) {
      uint64_t cookie = 0;
      socklen_t size = sizeof cookie;
      getsockopt(g_fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
      printf("cookie %" PRIx64 "\n", cookie);
    } else if (is(word, "flags")) {
      printf("flags cloexec=%d nonblock=%d\n", (fcntl(g_fd, F_GETFD) & FD_CLOEXEC) != 0,
             (fcntl(g_fd, F_GETFL) & O_NONBLOCK) != 0);
    } else if (is(word, "inherits")) {
      printf("inherits nodelay=%d keepalive=%d\n", get(IPPROTO_TCP, TCP_NODELAY) > 0,
             get(SOL_SOCKET, SO_KEEPALIVE) > 0);
    } else if (is(word, "close3")) {
      for (int fd = 3; fd < 64; ++fd) close(fd);
    } else if (is(word, "again")) {
      argv[i] = argv[0];
      execv("/proc/self/exe", argv + i);
      return 1;
    } else {
      fprintf(stderr, "t_bind: what is %s?\n", word);
      return 2;
    }
  }
  return 0;
}

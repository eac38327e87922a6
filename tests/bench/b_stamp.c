/* A child whose main() says when it began: appends CLOCK_MONOTONIC in ns to the file in argv[1] in one write,
 * then waits for signals. Static and small, so that what is measured is who starts it. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char** argv) {
  struct timespec t;
  char text[64];
  int fd;
  clock_gettime(CLOCK_MONOTONIC, &t);
  fd = argc > 1 ? open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : 1;
  const int n =
      snprintf(text, sizeof text, "%lld %d\n", (long long)t.tv_sec * 1000000000LL + t.tv_nsec, (int)getpid());
  if (write(fd, text, (size_t)n) != n) return 1;
  for (;;) pause();
}

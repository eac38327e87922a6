// t_child: does what its arguments say, in order, and then exits with 0. For integration tests.
//
//   print TEXT                 writes TEXT and a newline to stdout
//   env NAME                   prints NAME=VALUE, or "NAME unset"
//   fds                        prints "fds: 0 1 2 …": the open fds
//   ready                      sends READY=1 to NOTIFY_SOCKET
//   flood BYTES                writes so many bytes as lines of 100, as fast as stdout takes them
//   columns N                  waits until its terminal is so wide
//   count N                    prints "count 1" to "count N", one every millisecond
//   ignore-term                ignores SIGTERM from now on (what it starts does too)
//   setsid-grandchild          starts a child in a session of its own
//   double-fork-grandchild     the same, orphaned: its parent is gone
//   same-group-ignorer         starts a child in our group that ignores SIGTERM
//   fork-chain                 starts an orphan in a session of its own that forks its successor and exits,
//                              over and over for kChainSeconds: no group signal reaches it, no pid lasts
//   pause                      waits for signals; the rest is not reached unless one is handled
//   exit N, signal-self N      ends it
//   prompt TEXT                writes TEXT without a newline
//   tty                        prints "tty: in out leads COLUMNSxROWS": which of stdin and stdout are a
//   terminal,
//                              and whether it leads the terminal's session and foreground
//   read-tty, thread-read-tty, poll-tty, select-tty, epoll-tty, secret-tty
//                              waits for a line (in a thread; by that call; without echo), prints "read:
//                              LINE"
//   serve-tty                  an event loop that also listens to its terminal, and prints "read: LINE"
//   lines-tty                  reads lines up to "the end", prints "lines: COUNT, bytes: COUNT"
//   shut FD                    calls shutdown(2) on its listener
//   listen FD                  calls listen(2) on it with a backlog of 5
//   eat MIB                    takes so much memory, as the first whom the kernel ends for it
//   gate PATH                  makes this FIFO, prints "at the gate", waits until somebody opens it
//   raw-tty                    prints "key HEX" for each byte up to a Q
//
// A grandchild prints "grandchild PID" before the next argument is looked at, and ends by itself after
// kLifeSeconds at the latest, so that a test that fails leaves nothing for long.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "t_child_tty.hpp"

namespace {

constexpr unsigned kLifeSeconds = 60;
constexpr unsigned kChainSeconds = 20;  // it takes a whole core

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "t_child: %s: %s\n", what, std::strerror(errno));
  _exit(2);
}

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write");
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void print(const std::string& text) { write_all(text + "\n"); }

void count(unsigned long long last) {
  const timespec pause{0, 1'000'000};
  for (unsigned long long n = 1; n <= last; ++n) {
    print("count " + std::to_string(n));
    nanosleep(&pause, nullptr);
  }
}

void print_variable(const char* name) {
  const char* value = std::getenv(name);
  print(value != nullptr ? std::string(name) + "=" + value : std::string(name) + " unset");
}

void print_fds() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) fail("/proc/self/fd");
  std::vector<int> fds;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != dirfd(folder)) fds.push_back(fd);
  }
  closedir(folder);
  std::sort(fds.begin(), fds.end());
  std::string line = "fds:";
  for (const int fd : fds) line += " " + std::to_string(fd);
  print(line);
}

void say_ready() {
  const char* name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (name == nullptr || std::strlen(name) >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, name);
  if (name[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(name));
  if (sendto(fd, "READY=1", 7, MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size) != 7) {
    fail("NOTIFY_SOCKET");
  }
  close(fd);
}

// Lines of 100 bytes; the last one is shorter if the number does not divide.
void flood(unsigned long long bytes) {
  std::string block;
  for (int i = 0; i < 640; ++i) block += std::string(99, static_cast<char>('a' + i % 26)) + "\n";
  for (; bytes >= block.size(); bytes -= block.size()) write_all(block);
  block.resize(bytes);
  if (bytes > 0) block.back() = '\n';
  write_all(block);
}

// In a grandchild: says who it is, tells its starter over `told`, and lives.
[[noreturn]] void live(int told) {
  alarm(kLifeSeconds);
  print("grandchild " + std::to_string(getpid()));
  close(told);
  for (;;) pause();
}

[[noreturn]] void chain(int told) {
  const time_t end = time(nullptr) + kChainSeconds;
  setsid();
  print("grandchild " + std::to_string(getpid()));
  close(told);
  while (time(nullptr) < end) {
    const pid_t next = fork();
    if (next > 0) _exit(0);
    // 0: we are the successor. Below 0: no process to be had just now, so try again.
  }
  _exit(0);
}

// Runs `body` in a child, or in an orphan (a child's child whose parent has exited), and waits until it has
// closed the pipe that it is given.
template <class F>
void start(bool orphan, F&& body) {
  int told[2];
  if (pipe(told) != 0) fail("pipe");
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    close(told[0]);
    if (orphan) {
      const pid_t second = fork();
      if (second < 0) fail("fork");
      if (second > 0) _exit(0);
    }
    body(told[1]);
  }
  close(told[1]);
  if (orphan && waitpid(child, nullptr, 0) != child) fail("waitpid");
  char byte = 0;
  while (read(told[0], &byte, 1) < 0 && errno == EINTR) {
  }
  close(told[0]);
}

void eat(unsigned long long mib) {
  constexpr std::size_t kMiB = 1U << 20U;
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score < 0 || write(score, "1000", 4) != 4) fail("oom_score_adj");
  close(score);
  for (; mib > 0; --mib) {
    void* piece = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED) fail("mmap");
    std::memset(piece, 1, kMiB);
  }
}

void end_by(int signal) {
  std::signal(signal, SIG_DFL);
  raise(signal);
}

// Does one action that takes no value. False if there is none of this name.
bool act(std::string_view name) {
  if (name == "fds") {
    print_fds();
  } else if (name == "ready") {
    say_ready();
  } else if (name == "ignore-term") {
    std::signal(SIGTERM, SIG_IGN);
  } else if (name == "setsid-grandchild") {
    start(false, [](int told) {
      setsid();
      live(told);
    });
  } else if (name == "double-fork-grandchild") {
    start(true, [](int told) {
      setsid();
      live(told);
    });
  } else if (name == "same-group-ignorer") {
    start(false, [](int told) {
      std::signal(SIGTERM, SIG_IGN);
      live(told);
    });
  } else if (name == "fork-chain") {
    start(true, [](int told) { chain(told); });
  } else if (name == "pause") {
    pause();
  } else {
    return t_child::act(name, print);
  }
  return true;
}

// Does one action with a value. False if there is none of this name.
bool act(std::string_view name, const char* value) {
  if (name == "print") {
    print(value);
  } else if (name == "prompt") {
    write_all(value);
  } else if (name == "env") {
    print_variable(value);
  } else if (name == "flood") {
    flood(std::strtoull(value, nullptr, 10));
  } else if (name == "columns") {
    t_child::wait_for_columns(static_cast<unsigned short>(std::atoi(value)));
  } else if (name == "gate") {
    t_child::wait_at_gate(value, print);
  } else if (name == "count") {
    count(std::strtoull(value, nullptr, 10));
  } else if (name == "shut") {
    if (shutdown(std::atoi(value), SHUT_RDWR) != 0) fail("shutdown");
  } else if (name == "listen") {
    if (listen(std::atoi(value), 5) != 0) fail("listen");
  } else if (name == "eat") {
    eat(std::strtoull(value, nullptr, 10));
  } else if (name == "exit") {
    std::exit(std::atoi(value));
  } else if (name == "signal-self") {
    end_by(std::atoi(value));
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (act(argv[i])) continue;
    if (i + 1 < argc && act(argv[i], argv[i + 1])) {
      ++i;
      continue;
    }
    std::fprintf(stderr, "t_child: cannot: %s\n", argv[i]);
    return 2;
  }
  return 0;
}

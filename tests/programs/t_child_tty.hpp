// What t_child does at its terminal: waiting for a line in every way in which programs wait, and telling what
// it is like.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>

namespace t_child {

using Print = std::function<void(const std::string&)>;

// One read(2), which gives a line of a cooked terminal.
inline std::string line_of(int fd) {
  char text[4096];
  const ssize_t n = read(fd, text, sizeof text);
  if (n <= 0) return "end";
  std::string line(text, static_cast<std::size_t>(n));
  if (line.back() == '\n') line.pop_back();
  return line;
}

inline void wait_by_poll(int fd) {
  pollfd p{fd, POLLIN, 0};
  (void)poll(&p, 1, -1);
}
inline void wait_by_select(int fd) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  (void)select(fd + 1, &set, nullptr, nullptr, nullptr);
}
inline void wait_by_epoll(int fd) {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
  (void)epoll_wait(set, &event, 1, -1);
  close(set);
}

// An event loop that also listens to its terminal: it lives until the terminal is closed.
inline void serve_and_listen(const Print& print) {
  int others[2];
  if (pipe(others) != 0) return;
  const int set = epoll_create1(EPOLL_CLOEXEC);
  for (const int fd : {0, others[0]}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
  }
  print("serving");
  for (epoll_event event{}; epoll_wait(set, &event, 1, -1) != 1 || event.data.fd == 0;) {
    const std::string line = line_of(0);
    print("read: " + line);
    if (line == "end") return;
  }
}

inline void wait_for_columns(unsigned short columns) {
  sigset_t winch;
  sigemptyset(&winch);
  sigaddset(&winch, SIGWINCH);
  sigprocmask(SIG_BLOCK, &winch, nullptr);
  for (winsize size{}; ioctl(0, TIOCGWINSZ, &size) == 0 && size.ws_col != columns;) {
    int signal = 0;
    sigwait(&winch, &signal);
  }
  sigprocmask(SIG_UNBLOCK, &winch, nullptr);
}

inline void tell(const Print& print) {
  winsize size{};
  ioctl(0, TIOCGWINSZ, &size);
  const bool leads = tcgetpgrp(0) == getpgrp() && tcgetsid(0) == getpid();
  print(std::string("tty: ") + (isatty(0) != 0 ? "in " : "") + (isatty(1) != 0 ? "out " : "") +
        (leads ? "leads " : "") + std::to_string(size.ws_col) + "x" + std::to_string(size.ws_row));
}

// With these bits of c_lflag off, until `body` is done.
inline void with_modes_off(tcflag_t off, const std::function<void()>& body) {
  termios before{};
  tcgetattr(0, &before);
  termios modes = before;
  modes.c_lflag &= ~off;
  tcsetattr(0, TCSANOW, &modes);
  body();
  tcsetattr(0, TCSANOW, &before);
}

// Tells each byte, up to a Q.
inline void keys(const Print& print) {
  print("keys");
  for (unsigned char byte = 0; byte != 'Q' && read(0, &byte, 1) == 1;) {
    char text[16];
    std::snprintf(text, sizeof text, "key %02x", byte);
    print(text);
  }
}

// Reads lines up to "the end".
inline void lines(const Print& print) {
  std::size_t count = 0;
  std::size_t bytes = 0;
  for (std::string line; (line = line_of(0)) != "end" && line != "the end"; ++count) bytes += line.size();
  print("lines: " + std::to_string(count) + ", bytes: " + std::to_string(bytes));
}

// Waits until somebody opens this FIFO, which it makes.
inline void wait_at_gate(const char* path, const Print& print) {
  if (mkfifo(path, 0600) == 0) print("at the gate");
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) close(fd);
}

// Does one action. False if there is none of this name.
inline bool act(std::string_view name, const Print& print) {
  const auto line = [&print] { print("read: " + line_of(0)); };
  const std::map<std::string_view, std::function<void()>> all{
      {"tty", [&] { tell(print); }},
      {"read-tty", line},
      {"thread-read-tty", [&] { std::thread(line).join(); }},
      {"poll-tty", [&] { wait_by_poll(0), line(); }},
      {"select-tty", [&] { wait_by_select(0), line(); }},
      {"epoll-tty", [&] { wait_by_epoll(0), line(); }},
      {"secret-tty", [&] { with_modes_off(ECHO, line); }},
      {"serve-tty", [&] { serve_and_listen(print); }},
      {"lines-tty", [&] { lines(print); }},
      {"raw-tty", [&] { with_modes_off(ICANON | ECHO | ISIG | IEXTEN, [&] { keys(print); }); }},
  };
  const auto found = all.find(name);
  if (found == all.end()) return false;
  found->second();
  return true;
}

}  // namespace t_child

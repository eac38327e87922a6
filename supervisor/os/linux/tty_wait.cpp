#include "os/linux/tty_wait.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "os/linux/proc.hpp"
#include "os/linux/pty.hpp"

namespace runmain::os {
namespace {

constexpr std::size_t kEpollTextMax = 64U << 10U;

#ifdef SYS_epoll_pwait2
constexpr long kEpollPwait2 = SYS_epoll_pwait2;
#else
constexpr long kEpollPwait2 = 441;  // the same number on every architecture
#endif

struct Terminal {
  std::uint64_t device = 0;
  pid_t group = 0;
};

// A blocked call: its number and first arguments.
struct Call {
  long number = -1;
  std::array<std::uint64_t, 3> arguments{};
};

struct Process {
  pid_t pid = 0;
  pid_t group = 0;
  std::uint64_t terminal = 0;  // its controlling terminal's device
};

std::string path_of(pid_t pid, const std::string& rest) { return "/proc/" + std::to_string(pid) + rest; }

// proc(5): after the name come state, ppid, pgrp, session and tty_nr.
std::optional<Process> process_of(pid_t pid) {
  const std::string text = proc_text(path_of(pid, "/stat").c_str(), 512);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  int group = 0;
  int tty = 0;
  if (std::sscanf(text.c_str() + name_end + 1, " %*c %*d %d %*d %d", &group, &tty) != 2) return std::nullopt;
  const auto number = static_cast<unsigned>(tty);
  const unsigned minor_number = (number & 0xffU) | ((number >> 12U) & 0xfff00U);
  return Process{pid, group, makedev((number >> 8U) & 0xfffU, minor_number)};
}

std::vector<pid_t> threads_of(pid_t pid, std::size_t most) {
  std::vector<pid_t> all;
  DIR* folder = opendir(path_of(pid, "/task").c_str());
  if (folder == nullptr) return all;
  while (const dirent* entry = readdir(folder)) {
    if (all.size() >= most) break;
    if (const auto tid = parse_number(entry->d_name)) all.push_back(static_cast<pid_t>(*tid));
  }
  closedir(folder);
  return all;
}

bool is_terminal(const Process& process, int fd, const Terminal& terminal) {
  struct stat st {};
  if (stat(path_of(process.pid, "/fd/" + std::to_string(fd)).c_str(), &st) != 0 || !S_ISCHR(st.st_mode))
    return false;
  if (st.st_rdev == terminal.device) return true;
  return st.st_rdev == makedev(5, 0) && process.terminal == terminal.device;  // /dev/tty
}

// False when it cannot be read.
bool read_memory(pid_t pid, std::uint64_t at, void* to, std::size_t size) {
  iovec local{to, size};
  iovec remote{reinterpret_cast<void*>(at), size};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

TtyWait of_two(bool terminal, bool others) {
  return !terminal ? TtyWait::none : others ? TtyWait::also : TtyWait::only;
}

TtyWait wait_in_poll(const Process& process, const Call& call, const Terminal& terminal) {
  std::array<pollfd, kTtyFds> fds{};
  const std::size_t count = std::min<std::uint64_t>(call.arguments[1], fds.size());
  if (count == 0 || !read_memory(process.pid, call.arguments[0], fds.data(), count * sizeof(pollfd)))
    return TtyWait::none;
  bool found = false;
  bool others = call.arguments[1] > count;
  for (std::size_t i = 0; i < count; ++i) {
    if (fds[i].fd < 0 || (fds[i].events & (POLLIN | POLLRDNORM)) == 0) continue;
    (is_terminal(process, fds[i].fd, terminal) ? found : others) = true;
  }
  return of_two(found, others);
}

TtyWait wait_in_select(const Process& process, const Call& call, const Terminal& terminal) {
  std::array<unsigned char, 1024> bits{};
  const std::size_t count = std::min<std::uint64_t>(call.arguments[0], 8 * bits.size());
  const std::size_t bytes = (count + 63) / 64 * 8;  // the kernel's are words
  if (count == 0 || call.arguments[1] == 0 ||
      !read_memory(process.pid, call.arguments[1], bits.data(), bytes))
    return TtyWait::none;
  bool found = false;
  bool others = false;
  std::size_t looked = 0;
  for (std::size_t fd = 0; fd < count && looked < kTtyFds; ++fd) {
    if ((bits[fd / 8] >> (fd % 8) & 1U) == 0) continue;
    ++looked;
    (is_terminal(process, static_cast<int>(fd), terminal) ? found : others) = true;
  }
  return of_two(found, others || looked == kTtyFds);
}

// fdinfo of an epoll set: a line "tfd: N events: HEX …" for each fd in it.
TtyWait wait_in_epoll(const Process& process, const Call& call, const Terminal& terminal) {
  const std::string text = proc_text(
      path_of(process.pid, "/fdinfo/" + std::to_string(static_cast<int>(call.arguments[0]))).c_str(),
      kEpollTextMax);
  bool found = false;
  bool others = false;
  std::size_t looked = 0;
  for (std::size_t at = text.find("tfd:"); at != std::string::npos && looked < kTtyFds;
       at = text.find("tfd:", at + 1), ++looked) {
    int fd = -1;
    unsigned events = 0;
    if (std::sscanf(text.c_str() + at, "tfd: %d events: %x", &fd, &events) != 2) continue;
    if ((events & (EPOLLIN | EPOLLRDNORM)) == 0) continue;
    (is_terminal(process, fd, terminal) ? found : others) = true;
  }
  return of_two(found, others);
}

TtyWait wait_in(const Process& process, const Call& call, const Terminal& terminal) {
  switch (call.number) {
    case SYS_read:
    case SYS_readv: return of_two(is_terminal(process, static_cast<int>(call.arguments[0]), terminal), false);
#ifdef SYS_poll
    case SYS_poll:
#endif
    case SYS_restart_syscall:  // of a poll that was stopped and continued: its arguments are still there
    case SYS_ppoll: return wait_in_poll(process, call, terminal);
#ifdef SYS_select
    case SYS_select:
#endif
    case SYS_pselect6: return wait_in_select(process, call, terminal);
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait:
    case kEpollPwait2: return wait_in_epoll(process, call, terminal);
    default: return TtyWait::none;
  }
}

// "running", or the number and the arguments in hex. Empty when it may not be read.
std::optional<Call> call_of(pid_t pid, pid_t tid, bool& forbidden) {
  const int fd =
      open(path_of(pid, "/task/" + std::to_string(tid) + "/syscall").c_str(), O_RDONLY | O_CLOEXEC);
  char text[256] = {};
  const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (n < 0 && (errno == EPERM || errno == EACCES)) forbidden = true;
  if (fd >= 0) close(fd);
  Call call;
  char* at = text;
  if (n <= 0 || text[0] < '0' || text[0] > '9') return std::nullopt;
  call.number = std::strtol(at, &at, 10);
  for (std::uint64_t& argument : call.arguments) argument = std::strtoull(at, &at, 16);
  return call;
}

void add_children(pid_t pid, pid_t tid, std::vector<pid_t>& to) {
  const std::string text =
      proc_text(path_of(pid, "/task/" + std::to_string(tid) + "/children").c_str(), 4096);
  const char* at = text.c_str();
  for (char* end = nullptr; to.size() < kTtyProcesses; at = end) {
    const long child = std::strtol(at, &end, 10);
    if (end == at || child <= 0) return;
    to.push_back(static_cast<pid_t>(child));
  }
}

}  // namespace

TtyLook look_at_tty(int master, const std::vector<pid_t>& roots) {
  TtyLook look;
  const auto modes = terminal_modes(master);
  const Terminal terminal{slave_device(master), foreground_group(master)};
  if (!modes || terminal.device == 0) return look;
  look.lines = (modes->c_lflag & ICANON) != 0;
  look.echo = (modes->c_lflag & ECHO) != 0;
  look.signals = (modes->c_lflag & ISIG) != 0;
  std::vector<pid_t> todo = roots;
  std::size_t threads = 0;
  bool forbidden = false;
  for (std::size_t i = 0; i < todo.size() && threads < kTtyThreads; ++i) {
    const auto process = process_of(todo[i]);
    if (!process) continue;
    for (const pid_t tid : threads_of(process->pid, kTtyThreads - threads)) {
      ++threads;
      add_children(process->pid, tid, todo);
      if (process->group != terminal.group) continue;
      if (const auto call = call_of(process->pid, tid, forbidden))
        look.wait = std::max(look.wait, wait_in(*process, *call, terminal));
    }
  }
  if (look.wait == TtyWait::none && forbidden) look.wait = TtyWait::unknown;
  return look;
}

}  // namespace runmain::os

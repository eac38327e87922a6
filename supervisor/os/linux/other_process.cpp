#include "os/linux/other_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/linux/proc.hpp"
#include "os/linux/sockets.hpp"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace runmain::os {
namespace {

constexpr std::size_t kBootIdMax = 64;
constexpr std::size_t kFdInfoMax = 1024;
constexpr std::size_t kStatusMax = 4096;
constexpr std::size_t kEnvironmentMax = 4U << 20U;  // as much as execve(2) lets through by default, and more

// ENOENT where its fds can be seen, and what is wanted is none of them. The folder and what stands in it take
// rights of two kinds (proc(5)): who may list all files may still not look at this process.
int fault_of_none(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  if (access((folder + "/fd").c_str(), R_OK | X_OK) != 0 && errno != ENOENT) return EACCES;
  char link[1];
  const bool hidden =
      readlink((folder + "/cwd").c_str(), link, sizeof link) < 0 && (errno == EACCES || errno == EPERM);
  return hidden ? EACCES : ENOENT;
}

bool has_ended(int pidfd) {
  pollfd p{pidfd, POLLIN, 0};
  return poll(&p, 1, 0) > 0;
}

std::string fd_path(pid_t pid, int fd) {
  return "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
}

}  // namespace

ProcessName name_of_process(pid_t pid) {
  const auto state = pid > 0 ? process_state(pid) : std::nullopt;
  return state ? ProcessName{pid, state->started} : ProcessName{};
}

UniqueFd open_process(const ProcessName& name) {
  if (name.pid <= 0) return {};
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, name.pid, 0)));
  if (!pidfd) return {};
  const auto state = process_state(name.pid);
  if (!state || !state->living() || state->started == 0 || state->started != name.started) return {};
  // What was read was of this process, if it has not ended since.
  return has_ended(pidfd.get()) ? UniqueFd() : std::move(pidfd);
}

bool wait_process_end(int pidfd, Duration at_most) {
  pollfd p{pidfd, POLLIN, 0};
  int n = 0;
  do {
    n = poll(&p, 1, static_cast<int>(to_ms(at_most)));
  } while (n < 0 && errno == EINTR);
  return n > 0;
}

std::string boot_identity() {
  std::string id = proc_text("/proc/sys/kernel/random/boot_id", kBootIdMax);
  while (!id.empty() && id.back() == '\n') id.pop_back();
  struct stat st {};
  if (id.empty() || stat("/proc/self/ns/pid", &st) != 0) return {};
  return id + "/" + std::to_string(st.st_ino);
}

std::uint64_t socket_cookie(int fd) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

Result<UniqueFd> copy_socket(pid_t pid, int pidfd, std::uint64_t inode, std::uint64_t cookie) {
  const std::string wanted = "socket:[" + std::to_string(inode) + "]";
  UniqueFd found;
  int fault = fault_of_none(pid);
  any_fd_of(pid, [&](int fd, std::string_view link) {
    if (link != wanted) return false;
    UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, fd, 0)));
    if (!copy) {
      fault = errno == EBADF ? ENOENT : errno;  // closed meanwhile
      return false;
    }
    // An inode number of a socket may come again, a cookie does not.
    if (inode_of(copy.get()) != inode || socket_cookie(copy.get()) != cookie) return false;
    found = std::move(copy);
    return true;
  });
  if (found) return found;
  return Error::from_errno("pidfd_getfd", fault);
}

Result<UniqueFd> open_memfd_of(pid_t pid, std::uint64_t inode) {
  UniqueFd found;
  int fault = fault_of_none(pid);
  any_fd_of(pid, [&](int fd, std::string_view link) {
    if (!link.starts_with("/memfd:")) return false;
    UniqueFd opened(open(fd_path(pid, fd).c_str(), O_RDWR | O_CLOEXEC));
    if (!opened) {
      fault = errno;
      return false;
    }
    if (inode_of(opened.get()) != inode) return false;
    found = std::move(opened);
    return true;
  });
  if (found) return found;
  return Error::from_errno("open the memfd", fault);
}

std::uint64_t eventfd_id(pid_t pid, int fd) {
  constexpr std::string_view kLine = "eventfd-id:";
  const std::string text =
      proc_text(("/proc/" + std::to_string(pid) + "/fdinfo/" + std::to_string(fd)).c_str(), kFdInfoMax);
  const std::size_t at = text.find(kLine);
  return at == std::string::npos ? 0
                                 : parse_number(std::string_view(text).substr(at + kLine.size())).value_or(0);
}

Result<UniqueFd> copy_eventfd(pid_t pid, int pidfd, std::uint64_t id) {
  UniqueFd found;
  int fault = fault_of_none(pid);
  any_fd_of(pid, [&](int fd, std::string_view link) {
    if (id == 0 || link != "anon_inode:[eventfd]" || eventfd_id(pid, fd) != id) return false;
    UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, fd, 0)));
    if (!copy) fault = errno == EBADF ? ENOENT : errno;
    if (!copy || eventfd_id(getpid(), copy.get()) != id) return false;
    found = std::move(copy);
    return true;
  });
  if (found) return found;
  return Error::from_errno("pidfd_getfd", fault);
}

Result<UniqueFd> open_pipe_of(pid_t pid, std::uint64_t inode) {
  const std::string wanted = "pipe:[" + std::to_string(inode) + "]";
  UniqueFd found;
  int fault = fault_of_none(pid);
  any_fd_of(pid, [&](int fd, std::string_view link) {
    if (link != wanted) return false;
    UniqueFd end(open(fd_path(pid, fd).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!end) {
      fault = errno;
      return false;
    }
    if (inode_of(end.get()) != inode) return false;
    found = std::move(end);
    return true;
  });
  if (found) return found;
  return Error::from_errno("open the pipe", fault);
}

std::optional<uid_t> real_user_of(pid_t pid) {
  constexpr std::string_view kLine = "\nUid:";
  const std::string text = proc_text(("/proc/" + std::to_string(pid) + "/status").c_str(), kStatusMax);
  const std::size_t at = text.find(kLine);  // its name comes before, with every newline escaped
  if (at == std::string::npos) return std::nullopt;
  const auto uid = parse_number(std::string_view(text).substr(at + kLine.size()));
  return uid ? std::optional<uid_t>(static_cast<uid_t>(*uid)) : std::nullopt;
}

bool was_given(pid_t pid, std::string_view variable) {
  const std::string text = proc_text(("/proc/" + std::to_string(pid) + "/environ").c_str(), kEnvironmentMax);
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    if (rest.substr(0, end) == variable) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace runmain::os

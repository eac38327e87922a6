#include "control/instance.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace runmain::control {
namespace {

constexpr std::size_t kPidFileMax = 32;
// lock_holder() holds a shared lock for a moment; a start that meets it tries again.
constexpr int kLockTries = 4;
constexpr int kLockPauseMs = 10;

pid_t read_pid(int fd) {
  const auto bytes = os::pread_some(fd, kPidFileMax, 0);
  const long pid = bytes.ok() ? std::strtol(bytes->c_str(), nullptr, 10) : 0;
  return pid > 0 ? static_cast<pid_t>(pid) : -1;
}

}  // namespace

Result<os::UniqueFd> take_lock(const std::string& path) {
  os::UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::from_errno("open " + path, errno);
  for (int left = kLockTries; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; --left) {
    if (errno != EWOULDBLOCK && errno != EINTR) return Error::from_errno("lock " + path, errno);
    if (left > 1) {
      poll(nullptr, 0, kLockPauseMs);
      continue;
    }
    const pid_t holder = read_pid(fd.get());
    const std::string who = holder > 0 ? " (pid " + std::to_string(holder) + ")" : "";
    return Error{
        "already running" + who, {}, "see it with `runmain status`, end it with `runmain down`", EWOULDBLOCK};
  }
  return fd;
}

Result<void> write_holder(int lock_fd, pid_t pid) {
  if (ftruncate(lock_fd, 0) != 0) return Error::from_errno("write the lock file", errno);
  return os::pwrite_all(lock_fd, std::to_string(pid) + "\n", 0);
}

pid_t lock_holder(const std::string& path) {
  const os::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return 0;
  if (flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return 0;
  return read_pid(fd.get());
}

Result<os::UniqueFd> listen_at(const std::string& path, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{
        path + " is too long for a socket (" + std::to_string(sizeof address.sun_path - 1) + " bytes)",
        {},
        "name a shorter folder with --runtime-dir",
        ENAMETOOLONG};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  struct stat st {};
  if (lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return Error{path + " is there and is not a socket", {}, "remove it", EEXIST};
    if (unlink(path.c_str()) != 0) return Error::from_errno("unlink " + path, errno);
  }
  os::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  // The mode is right from the first moment: narrow at bind, widened after it.
  const mode_t old = umask(0177);
  const int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_errno = errno;
  umask(old);
  if (bound != 0) return Error::from_errno("bind " + path, bind_errno);
  if (chmod(path.c_str(), mode) != 0) return Error::from_errno("chmod " + path, errno);
  if (listen(fd.get(), SOMAXCONN) != 0) return Error::from_errno("listen " + path, errno);
  return fd;
}

}  // namespace runmain::control

#include "notify.hpp"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "sockets.hpp"

namespace runmain::child {

int notify(const char* socket_name, const char* text, bool wait) {
  sockaddr_un address{};
  const socklen_t size = unix_address(socket_name, address);
  if (size == 0) return -EINVAL;
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : -errno;
  if (result == 0) {
    pollfd room{fd, POLLOUT, 0};
    if (wait) poll(&room, 1, kNotifyWaitMs);
    if (send(fd, text, std::strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) result = -errno;
  }
  close(fd);
  return result;
}

}  // namespace runmain::child

#include "os/linux/fd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace runmain::os {

namespace {

constexpr std::size_t kMessageFdsMax = 253;  // SCM_MAX_FD of the kernel
constexpr std::size_t kReadChunk = 64U << 10U;

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

template <class Call>
auto retry(Call call) {
  for (;;) {
    const auto r = call();
    if (r >= 0 || errno != EINTR) return r;
  }
}

Error fault(const char* what) { return Error::from_errno(what, errno); }

// Takes fds and credentials out of a received message's control data. Every fd gets an owner at once.
void take_control(msghdr& message, Received& out) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_RIGHTS) {
      const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < n; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        out.fds.emplace_back(fd);
      }
    } else if (c->cmsg_type == SCM_CREDENTIALS) {
      ucred creds{};
      std::memcpy(&creds, CMSG_DATA(c), sizeof creds);
      out.pid = creds.pid;
      out.uid = creds.uid;
      out.has_creds = true;
    }
  }
}

}  // namespace

void UniqueFd::reset(int fd) {
  // close(2) is not retried on EINTR: on Linux the fd is gone then.
  const int old = std::exchange(fd_, fd);
  if (old >= 0) ::close(old);
}

Result<UniqueFd> make_memfd(const char* name, std::uint64_t size) {
  // Kernels before 6.3 do not know NOEXEC_SEAL; some newer ones refuse memfds without it (vm.memfd_noexec =
  // 2).
  int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return fault("memfd_create");
  UniqueFd owned(fd);
  if (retry([&] { return ::ftruncate(fd, static_cast<off_t>(size)); }) != 0)
    return fault("ftruncate of a memfd");
  return owned;
}

Result<std::pair<UniqueFd, UniqueFd>> make_socketpair(int type) {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds.data()) != 0) return fault("socketpair");
  return std::pair<UniqueFd, UniqueFd>(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Result<void> set_nonblocking(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fault("fcntl F_GETFL");
  const int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted != flags && ::fcntl(fd, F_SETFL, wanted) != 0) return fault("fcntl F_SETFL");
  return {};
}

Result<void> set_cloexec(int fd, bool on) {
  if (::fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) != 0) return fault("fcntl F_SETFD");
  return {};
}

void fill_stdio() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) (void)!::open("/dev/null", O_RDWR);
  }
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = retry([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (n < 0) return fault("write");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> pwrite_all(int fd, std::string_view bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n =
        retry([&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (n < 0) return fault("pwrite");
    bytes.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<std::string> read_all(int fd, std::size_t limit) {
  std::string out;
  for (;;) {
    const std::size_t had = out.size();
    // One byte above the limit tells "too long" from "exactly full".
    const std::size_t chunk = std::min(kReadChunk, limit - had + 1);
    out.resize(had + chunk);
    const ssize_t n = retry([&] { return ::read(fd, out.data() + had, chunk); });
    if (n < 0) return fault("read");
    out.resize(had + static_cast<std::size_t>(n));
    if (n == 0) return out;
    if (out.size() > limit) {
      return Error{"read: more than " + std::to_string(limit) + " bytes", {}, {}, EFBIG};
    }
  }
}

Result<std::string> pread_some(int fd, std::size_t size, std::uint64_t offset) {
  std::string out(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const auto at = static_cast<off_t>(offset + done);
    const ssize_t n = retry([&] { return ::pread(fd, out.data() + done, size - done, at); });
    if (n < 0) return fault("pread");
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  out.resize(done);
  return out;
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  const UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY); }));
  if (!fd) return Error::from_errno("open " + path, errno);
  auto bytes = read_all(fd.get(), limit);
  if (!bytes) return Error{path + ": " + bytes.error().message, {}, {}, bytes.error().code};
  return bytes;
}

Result<std::size_t> send_message(int socket, std::string_view bytes, const std::vector<int>& fds) {
  if (fds.size() > kMessageFdsMax) return Error::from_errno("sendmsg: too many fds", EINVAL);
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // sendmsg(2) only reads
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMessageFdsMax * sizeof(int))> control;
  if (!fds.empty()) {
    const std::size_t payload = fds.size() * sizeof(int);
    std::memset(control.data(), 0, CMSG_SPACE(payload));
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(payload);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(payload);
    std::memcpy(CMSG_DATA(c), fds.data(), payload);
  }
  const ssize_t n = retry([&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
  if (n < 0) return fault("sendmsg");
  return static_cast<std::size_t>(n);
}

Result<Received> receive_message(int socket, std::size_t max, std::string& buffer) {
  if (buffer.size() < max) buffer.resize(max);
  iovec part{buffer.data(), max};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMessageFdsMax * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
      control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t n = retry([&] { return ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
  if (n < 0) return fault("recvmsg");
  Received out;
  take_control(message, out);
  out.bytes.assign(buffer.data(), static_cast<std::size_t>(n));
  out.truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  return out;
}

Result<Peer> peer_of(int socket) {
  ucred creds{};
  socklen_t size = sizeof creds;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &creds, &size) != 0)
    return fault("getsockopt SO_PEERCRED");
  return Peer{creds.pid, creds.uid, creds.gid};
}

}  // namespace runmain::os

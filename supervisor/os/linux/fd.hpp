// File descriptors with an owner, memfds, and messages with fds over a unix socket. All calls retry EINTR;
// every fd that is made here is close-on-exec. Non-goal: buffering.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace runmain::os {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& o) noexcept : fd_(o.release()) {}
  UniqueFd& operator=(UniqueFd&& o) noexcept {
    if (this != &o) reset(o.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// A memfd of `size` bytes (sparse). On failure the errno (EMFILE, ENFILE, ENOSYS).
Result<UniqueFd> make_memfd(const char* name, std::uint64_t size);

// One socketpair(AF_UNIX, type | SOCK_CLOEXEC), type SOCK_SEQPACKET or SOCK_STREAM.
Result<std::pair<UniqueFd, UniqueFd>> make_socketpair(int type);

Result<void> set_nonblocking(int fd, bool on);
Result<void> set_cloexec(int fd, bool on);

// A process that was started without stdin, stdout or stderr would give those numbers to something else: they
// become /dev/null. To be called first.
void fill_stdio();

// write(2) until all is written; read until end of file, at most `limit` bytes (more is an error).
Result<void> write_all(int fd, std::string_view bytes);
Result<void> pwrite_all(int fd, std::string_view bytes, std::uint64_t offset);
Result<std::string> read_all(int fd, std::size_t limit);
// pread of exactly up to `size` bytes; shorter at the end of the file.
Result<std::string> pread_some(int fd, std::size_t size, std::uint64_t offset);
Result<std::string> read_file(const std::string& path, std::size_t limit);

// sendmsg(2) of one message with fds by SCM_RIGHTS (at most 253), MSG_NOSIGNAL | MSG_DONTWAIT. The fds stay
// the caller's. Error code EAGAIN: the peer is slow, nothing was sent. Returns the bytes sent (all, on
// SEQPACKET).
Result<std::size_t> send_message(int socket, std::string_view bytes, const std::vector<int>& fds = {});

struct Received {
  std::string bytes;  // empty: end of file
  std::vector<UniqueFd> fds;
  bool truncated = false;  // MSG_TRUNC or MSG_CTRUNC
  std::int32_t pid = 0;    // SCM_CREDENTIALS, when the socket has SO_PASSCRED
  std::uint32_t uid = 0;
  bool has_creds = false;
};
// recvmsg(2), MSG_DONTWAIT | MSG_CMSG_CLOEXEC, of at most `max` bytes. Error code EAGAIN: nothing there.
// `buffer` is the caller's scratch, grown once, so that a message costs one copy.
Result<Received> receive_message(int socket, std::size_t max, std::string& buffer);

// SO_PEERCRED of a connected unix socket.
struct Peer {
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};
Result<Peer> peer_of(int socket);

}  // namespace runmain::os

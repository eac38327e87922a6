#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "os/linux/fd.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

bool is_cloexec(int fd) { return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }

std::uint64_t inode_of_fd(int fd) {
  struct stat s {};
  return ::fstat(fd, &s) == 0 ? s.st_ino : 0;
}

}  // namespace

TEST_CASE("a UniqueFd closes its fd once, and not after a move or release") {
  Pipe pipe = make_pipe();
  const int number = pipe.read.get();
  UniqueFd moved = std::move(pipe.read);
  CHECK_FALSE(pipe.read);
  CHECK(::fcntl(number, F_GETFD) >= 0);
  const int released = moved.release();
  moved.reset();
  CHECK(::fcntl(released, F_GETFD) >= 0);
  { const UniqueFd owner(released); }
  CHECK(::fcntl(released, F_GETFD) < 0);
}

TEST_CASE("a memfd has its size, is close-on-exec and can be sealed") {
  auto fd = make_memfd("test", 1U << 20U);
  REQUIRE(fd.ok());
  struct stat s {};
  REQUIRE(::fstat(fd->get(), &s) == 0);
  CHECK(s.st_size == 1 << 20);
  CHECK(s.st_blocks == 0);
  CHECK(is_cloexec(fd->get()));
  CHECK(::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0);
  CHECK(::ftruncate(fd->get(), 0) != 0);
}

TEST_CASE("flags of an fd can be switched on and off") {
  const Pipe pipe = make_pipe();
  const int fd = pipe.read.get();
  REQUIRE(set_nonblocking(fd, true).ok());
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  REQUIRE(set_nonblocking(fd, false).ok());
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
  REQUIRE(set_cloexec(fd, false).ok());
  CHECK_FALSE(is_cloexec(fd));
  REQUIRE(set_cloexec(fd, true).ok());
  CHECK(is_cloexec(fd));
  CHECK(set_nonblocking(-1, true).error().code == EBADF);
}

TEST_CASE("reading stops at its limit with an error, and one byte less is no error") {
  const TempFolder folder;
  const std::string path = folder.file("ten", "0123456789", 0600);
  CHECK(*read_file(path, 10) == "0123456789");
  CHECK(read_file(path, 9).error().code == EFBIG);
  CHECK(read_file(folder.path("none"), 9).error().code == ENOENT);
}

TEST_CASE("bytes are written and read at an offset, shorter at the end of the file") {
  const auto fd = make_memfd("test", 0);
  REQUIRE(fd.ok());
  REQUIRE(pwrite_all(fd->get(), "hello", 3).ok());
  CHECK(*pread_some(fd->get(), 5, 3) == "hello");
  CHECK(*pread_some(fd->get(), 100, 6) == "lo");
  CHECK(pread_some(fd->get(), 100, 8)->empty());
}

TEST_CASE("a message carries 253 fds, which arrive close-on-exec and are the same files") {
  auto pair = make_socketpair(SOCK_SEQPACKET);
  REQUIRE(pair.ok());
  const Pipe pipe = make_pipe();
  const std::vector<int> many(253, pipe.read.get());
  REQUIRE(*send_message(pair->first.get(), "fds", many) == 3);
  std::string buffer;
  auto got = receive_message(pair->second.get(), 100, buffer);
  REQUIRE(got.ok());
  CHECK(got->bytes == "fds");
  CHECK_FALSE(got->truncated);
  REQUIRE(got->fds.size() == 253);
  std::set<int> numbers;
  for (const UniqueFd& fd : got->fds) {
    numbers.insert(fd.get());
    CHECK(is_cloexec(fd.get()));
    CHECK(inode_of_fd(fd.get()) == inode_of_fd(pipe.read.get()));
  }
  CHECK(numbers.size() == 253);
}

TEST_CASE("more than 253 fds in a message are refused before anything is sent") {
  auto pair = make_socketpair(SOCK_SEQPACKET);
  REQUIRE(pair.ok());
  CHECK(send_message(pair->first.get(), "x", std::vector<int>(254, 0)).error().code == EINVAL);
  std::string buffer;
  CHECK(receive_message(pair->second.get(), 10, buffer).error().code == EAGAIN);
}

TEST_CASE("a message longer than the receiver allows is marked as truncated") {
  auto pair = make_socketpair(SOCK_SEQPACKET);
  REQUIRE(pair.ok());
  REQUIRE(send_message(pair->first.get(), "0123456789").ok());
  std::string buffer;
  auto got = receive_message(pair->second.get(), 4, buffer);
  REQUIRE(got.ok());
  CHECK(got->bytes == "0123");
  CHECK(got->truncated);
}

TEST_CASE(
    "a slow peer makes a send say EAGAIN, a gone one EPIPE without a signal, and its reader end of file") {
  auto pair = make_socketpair(SOCK_SEQPACKET);
  REQUIRE(pair.ok());
  const std::string block(4096, 'x');
  int sent = 0;
  Result<std::size_t> last = send_message(pair->first.get(), block);
  for (; last.ok() && sent < 10'000; ++sent) last = send_message(pair->first.get(), block);
  REQUIRE_FALSE(last.ok());
  CHECK(last.error().code == EAGAIN);
  pair->second.reset();
  CHECK(send_message(pair->first.get(), block).error().code == ECONNRESET);  // what was unread is lost
  CHECK(send_message(pair->first.get(), block).error().code == EPIPE);

  auto other = make_socketpair(SOCK_SEQPACKET);
  REQUIRE(other.ok());
  other->first.reset();
  std::string buffer;
  const auto end = receive_message(other->second.get(), 10, buffer);
  REQUIRE(end.ok());
  CHECK(end->bytes.empty());
}

TEST_CASE("the sender of a message and the peer of a socket are known by pid and uid") {
  auto pair = make_socketpair(SOCK_DGRAM);
  REQUIRE(pair.ok());
  const int on = 1;
  REQUIRE(::setsockopt(pair->second.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
  Child child = fork_child([&] { return send_message(pair->first.get(), "me") ? 0 : 1; });
  REQUIRE(wait_readable(pair->second.get()));
  std::string buffer;
  const auto got = receive_message(pair->second.get(), 10, buffer);
  REQUIRE(got.ok());
  CHECK(got->has_creds);
  CHECK(got->pid == child.pid());
  CHECK(got->uid == ::getuid());
  CHECK(child.wait() == 0);

  const auto stream = make_socketpair(SOCK_STREAM);
  REQUIRE(stream.ok());
  CHECK(peer_of(stream->first.get())->pid == ::getpid());
}

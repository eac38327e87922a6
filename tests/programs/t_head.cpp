// t_head NAME: stands in for the supervisor in tests of the keeper. Gives fd 3, the keeper's socket, to
// whoever listens at the abstract unix socket NAME, and waits to be killed.
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstring>

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 2) return 2;
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(argv[1]);
  if (length + 1 >= sizeof address.sun_path) return 2;
  std::memcpy(address.sun_path + 1, argv[1], length);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) return 3;
  char byte = 'h';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int keeper = 3;
  std::memcpy(CMSG_DATA(header), &keeper, sizeof keeper);
  if (sendmsg(fd, &message, 0) != 1) return 4;
  close(keeper);
  for (;;) pause();
}

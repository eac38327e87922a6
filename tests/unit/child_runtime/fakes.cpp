#include "fakes.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace fakes {
namespace {

std::string next_name() {
  static int count = 0;
  return "@runmain-test-child-" + std::to_string(getpid()) + "-" + std::to_string(++count);
}

int bind_abstract(const std::string& name, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data() + 1, name.size() - 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) abort();
  return fd;
}

}  // namespace

Fd& Fd::operator=(Fd&& o) noexcept {
  if (this != &o) {
    reset();
    fd_ = o.release();
  }
  return *this;
}
int Fd::release() { return std::exchange(fd_, -1); }
void Fd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

bool wait_for(int fd, short events) {
  pollfd p{fd, events, 0};
  return poll(&p, 1, kGuardMs) > 0;
}

Child::Child(const std::function<std::string()>& body) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  std::fflush(stdout);  // else the child could write it a second time
  pid_ = fork();
  if (pid_ == 0) {
    close(ends[0]);
    const int out = fcntl(ends[1], F_DUPFD_CLOEXEC, 200);  // leaves 3 and up to the case
    close(ends[1]);
    signal(SIGPIPE, SIG_DFL);
    clear_environment();
    const std::string text = body();
    _exit(write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 99);
  }
  close(ends[1]);
  out_ = Fd(ends[0]);
}

Child::~Child() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::string Child::finish() {
  std::string text;
  for (;;) {
    if (!wait_for(out_.get(), POLLIN)) return "timeout";
    char buffer[4096];
    const ssize_t n = read(out_.get(), buffer, sizeof buffer);
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  if (status != 0) text += " (status " + std::to_string(status) + ")";
  return text;
}

std::string Peer::line() {
  for (;;) {
    const std::size_t end = in_.find('\n');
    if (end != std::string::npos) {
      std::string text = in_.substr(0, end);
      in_.erase(0, end + 1);
      return text;
    }
    if (!wait_for(fd_.get(), POLLIN)) return "timeout";
    char buffer[4096];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return "closed";
    in_.append(buffer, static_cast<std::size_t>(n));
  }
}

bool Peer::send(const std::string& text, const std::vector<int>& fds) {
  std::vector<char> control(fds.empty() ? 0 : CMSG_SPACE(fds.size() * sizeof(int)));
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  return sendmsg(fd_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

Channel::Channel() : name_(next_name()), fd_(bind_abstract(name_, SOCK_STREAM)) {
  if (listen(fd_.get(), 16) != 0) abort();
}

Peer Channel::accept() {
  if (!wait_for(fd_.get(), POLLIN)) return Peer(Fd());
  return Peer(Fd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
}

bool Channel::untouched() const {
  pollfd p{fd_.get(), POLLIN, 0};
  return poll(&p, 1, 0) == 0;
}

Notify::Notify() : name_(next_name()), fd_(bind_abstract(name_, SOCK_DGRAM)) {}

std::string Notify::message() {
  if (!wait_for(fd_.get(), POLLIN)) return "timeout";
  char buffer[4096];
  const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
  return n < 0 ? "error" : std::string(buffer, static_cast<std::size_t>(n));
}

bool Notify::empty() const {
  pollfd p{fd_.get(), POLLIN, 0};
  return poll(&p, 1, 0) == 0;
}

void clear_environment() {
  for (const char* name : {"RUNMAIN_TOKEN", "RUNMAIN_HELD", "RUNMAIN_CHANNEL", "NOTIFY_SOCKET", "LISTEN_PID",
                           "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    unsetenv(name);
  }
}

void supervise(const std::string& channel, const std::string& nonce) {
  const std::string token = "1:web:2:7:" + nonce + ":" + std::to_string(getpid());
  setenv("RUNMAIN_TOKEN", token.c_str(), 1);
  setenv("RUNMAIN_CHANNEL", channel.c_str(), 1);
}

std::string role_line(const std::string& listeners, const std::string& instance) {
  return R"({"v":1,"role":{"service":"web","slot":2,"generation":7,"instance_id":")" + instance +
         R"(","listeners":)" + listeners + "}}\n";
}

Fd listen_tcp() {
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) abort();
  if (listen(fd.get(), SOMAXCONN) != 0) abort();
  return fd;
}

int port_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

int open_fds() {
  DIR* folder = opendir("/proc/self/fd");
  int count = -1;  // the folder's own
  while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(folder);
  return count;
}

}  // namespace fakes

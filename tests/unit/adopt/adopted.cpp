#include "adopted.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "support/catch.hpp"

namespace adopted {
namespace {

constexpr int kGuardMs = 20'000;

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    pollfd p{fd, POLLIN, 0};
    if (poll(&p, 1, kGuardMs) <= 0) return text + "timeout";
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

std::string status_text(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return " (status " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)) + ")";
}

// One question, one answer, as the keeper gives it: the fds on its first byte, then the end.
void answer_one(int listener, const std::vector<int>& fds, int out) {
  const int peer = accept(listener, nullptr, nullptr);
  char line[4096];
  const ssize_t n = recv(peer, line, sizeof line, 0);
  if (n <= 0) _exit(1);
  (void)!write(out, line, static_cast<std::size_t>(n));
  char answer[] = "{\"v\":1,\"sockets\":[]}\n";
  iovec part{answer, sizeof answer - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  }
  sendmsg(peer, &message, MSG_NOSIGNAL);
  close(peer);
  _exit(0);
}

}  // namespace

Listener::Listener(const std::string& host, int type, bool v6only) : host_(host), type_(type) {
  const bool v6 = host.find(':') != std::string::npos;
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  auto* v4_name = reinterpret_cast<sockaddr_in*>(&name);
  auto* v6_name = reinterpret_cast<sockaddr_in6*>(&name);
  name.ss_family = v6 ? AF_INET6 : AF_INET;
  REQUIRE(inet_pton(name.ss_family, host.c_str(),
                    v6 ? static_cast<void*>(&v6_name->sin6_addr) : &v4_name->sin_addr) == 1);
  fd_ = socket(name.ss_family, type | SOCK_CLOEXEC, 0);
  const int only = v6only ? 1 : 0;
  if (v6) setsockopt(fd_, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&name), v6 ? sizeof *v6_name : sizeof *v4_name) == 0);
  if (type == SOCK_STREAM) REQUIRE(listen(fd_, 100) == 0);
  REQUIRE(getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size) == 0);
  port_ = ntohs(v6 ? v6_name->sin6_port : v4_name->sin_port);
}

Listener::Listener(Listener&& other) noexcept
    : host_(std::move(other.host_)),
      type_(other.type_),
      fd_(std::exchange(other.fd_, -1)),
      port_(other.port_) {}

Listener::~Listener() {
  if (fd_ >= 0) close(fd_);
}

std::string Listener::text() const {
  const bool v6 = host_.find(':') != std::string::npos;
  return (type_ == SOCK_DGRAM ? "udp:" : "") + (v6 ? "[" + host_ + "]" : host_) + ":" + port_text();
}

std::string Listener::cookie() const {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  REQUIRE(getsockopt(fd_, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0);
  char digits[17];
  std::snprintf(digits, sizeof digits, "%llx", static_cast<unsigned long long>(cookie));
  return digits;
}

bool Listener::is_listening() const {
  int on = 0;
  socklen_t size = sizeof on;
  return getsockopt(fd_, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) == 0 && on != 0;
}

bool Listener::is_nonblocking() const { return (fcntl(fd_, F_GETFL) & O_NONBLOCK) != 0; }

// tcp(7): of a listening socket tcpi_sacked is its backlog.
int Listener::backlog() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  return getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? static_cast<int>(info.tcpi_sacked) : -1;
}

Channel::Channel(std::vector<int> fds) {
  static int count = 0;
  const std::string name = "runmain-test-adopt/" + std::to_string(getpid()) + "/" + std::to_string(++count);
  name_ = "@" + name;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&address),
               static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())) == 0);
  REQUIRE(listen(fd_, 8) == 0);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  pid_ = fork();
  if (pid_ == 0) answer_one(fd_, fds, ends[1]);
  close(ends[1]);
  out_ = ends[0];
}

Channel::~Channel() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(out_);
  close(fd_);
}

// Who asks has its answer before this is called.
std::string Channel::asked() {
  pollfd p{out_, POLLIN, 0};
  return poll(&p, 1, 0) > 0 ? read_all(out_) : std::string();
}

std::string run(const World& world, const std::vector<std::string>& words) {
  std::string addresses = "RUNMAIN_ADOPT=";
  std::string cookies = "RUNMAIN_ADOPT_COOKIES=";
  for (const Listener* l : world.listeners) {
    addresses += (addresses.back() == '=' ? "" : ",") + l->text();
    cookies += (cookies.back() == '=' ? "" : ",") + l->cookie();
  }
  std::vector<std::string> environment{addresses, cookies,
                                       "RUNMAIN_TOKEN=1:web:0:1:00112233445566778899aabbccddeeff:1"};
  if (world.preloaded)
    environment.push_back(std::string("LD_PRELOAD=") + RUNMAIN_BIN_DIR + "/librunmain_adopt.so");
  if (!world.channel.empty()) environment.push_back("RUNMAIN_CHANNEL=" + world.channel);
  for (const std::string& line : world.environment) {
    const std::string name = line.substr(0, line.find('=') + 1);
    std::erase_if(environment, [&](const std::string& each) { return each.starts_with(name); });
    environment.push_back(line);
  }
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    constexpr int kAside = 200;  // above all that is placed
    dup2(ends[1], 1);
    std::vector<int> aside;
    for (const Listener* l : world.listeners) {
      aside.push_back(fcntl(l->fd(), F_DUPFD_CLOEXEC, kAside));
    }
    for (std::size_t i = 0; i < aside.size(); ++i) dup2(aside[i], 3 + static_cast<int>(i));
    std::vector<char*> argv{const_cast<char*>("t_bind")};
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> envp;
    for (std::string& line : environment) envp.push_back(line.data());
    envp.push_back(nullptr);
    execve(RUNMAIN_BIN_DIR "/t_bind", argv.data(), envp.data());
    _exit(127);
  }
  close(ends[1]);
  std::string text = read_all(ends[0]);
  close(ends[0]);
  return text + status_text(pid);
}

}  // namespace adopted

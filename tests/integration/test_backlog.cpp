// A queue that is full, as nobody accepts: what clients see of it, and what runmain tells.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "support/pools.hpp"

using namespace runmain::test;

namespace {

constexpr int kFits = 3;  // with a backlog of 2: the kernel counts one more

std::string pool_on(const std::string& address) {
  return "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\", "
         "\"--backlog\", \"2\"]\nlisten = \"" +
         address + "\"\nworkers = 2\non_keeper_death = \"stop\"\nhang = { stopped = \"0s\" }\n" + kNotify;
}

Json queue(const Json& status) {
  const Json& queues = status["services"][0]["queues"];
  return queues.size() == 1 ? queues[0] : Json();
}

// Ready, with a backlog of 2, and all of them stopped.
std::vector<pid_t> stop_all(Supervised& up) {
  up.start();
  REQUIRE(up.wait_ready());
  const auto pids = up.pids("web");
  REQUIRE(pids.size() == 2);
  // Who is ready has the backlog renewed. The keeper has done that before it answers what comes behind it.
  REQUIRE(up.request("apply").contains("ok"));
  CHECK(queue(up.status())["backlog"] > 2);
  CHECK(queue(up.status())["full"] == false);
  kill(pids[0], SIGUSR1);
  REQUIRE(up.wait_status([](const Json& s) { return queue(s)["backlog"] == 2; }).is_object());
  for (const pid_t pid : pids) REQUIRE(freeze(pid));
  return pids;
}

bool is_full(const Json& status) {
  const Json now = queue(status);
  return now["waiting"] == kFits && now["backlog"] == 2 && now["full"] == true;
}

void ask(int fd) {
  const std::string_view text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  CHECK(send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

// Whether there is an answer within 30 s, and it is a good one. Closes the connection.
bool is_answered(int fd) {
  pollfd p{fd, POLLIN, 0};
  char buffer[512];
  const ssize_t n = poll(&p, 1, 30'000) == 1 ? recv(fd, buffer, sizeof buffer, 0) : -1;
  close(fd);
  return n > 12 && std::string_view(buffer, 12) == "HTTP/1.1 200";
}

// A connection that is begun and not waited for; -1 and errno when it is refused.
int begin_connect(int family, const sockaddr* to, socklen_t size) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (connect(fd, to, size) == 0 || errno == EINPROGRESS) return fd;
  const int why = errno;
  close(fd);
  errno = why;
  return -1;
}

int begin_tcp(const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return begin_connect(AF_INET, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

int begin_unix(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, path.c_str(), sizeof to.sun_path - 1);
  return begin_connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

}  // namespace

TEST_CASE("nobody accepts and the backlog is full: TCP clients wait, which is told, and are answered later") {
  Supervised up(pool_on("127.0.0.1:0"));
  const auto pids = stop_all(up);
  const std::string address = up.address("web");
  std::vector<int> clients;
  for (int n = 0; n < kFits; ++n) clients.push_back(connect_to(address));
  for (const int fd : clients) ask(fd);
  REQUIRE(up.wait_status(is_full).is_object());
  const int late = begin_tcp(address);
  REQUIRE(late >= 0);
  pollfd p{late, POLLOUT, 0};
  CHECK(poll(&p, 1, 0) == 0);  // neither connected nor refused
  const std::string said = up.cli({"status"}).out;
  INFO(said);
  CHECK(said.find(address + ": 3 connections wait, the backlog (2) is full, further clients wait") !=
        std::string::npos);
  CHECK(up.cli({"status", "--json"}).out.find("\"waiting\": 3") != std::string::npos);
  for (const pid_t pid : pids) kill(pid, SIGCONT);
  for (const int fd : clients) CHECK(is_answered(fd));
  REQUIRE(poll(&p, 1, 30'000) == 1);
  ask(late);
  CHECK(is_answered(late));
  CHECK(up.cli({"status"}).out.find("wait") == std::string::npos);
  CHECK(up.stop() == 0);
}

TEST_CASE("the same with a unix socket: a client that does not block gets EAGAIN, and runmain says so") {
  Supervised up(pool_on("unix:@DIR@/s"));
  const auto pids = stop_all(up);
  const std::string path = up.folder().file("s");
  std::vector<int> clients;
  for (int n = 0; n < kFits; ++n) clients.push_back(begin_unix(path));
  for (const int fd : clients) ask(fd);
  CHECK(begin_unix(path) < 0);
  CHECK(errno == EAGAIN);
  REQUIRE(up.wait_status(is_full).is_object());
  const std::string said = up.cli({"status"}).out;
  INFO(said);
  CHECK(said.find("unix:" + path +
                  ": 3 connections wait, the backlog (2) is full, clients are refused (EAGAIN)") !=
        std::string::npos);
  for (const pid_t pid : pids) kill(pid, SIGCONT);
  for (const int fd : clients) CHECK(is_answered(fd));
  const int late = begin_unix(path);
  REQUIRE(late >= 0);
  ask(late);
  CHECK(is_answered(late));
  CHECK(up.stop() == 0);
}

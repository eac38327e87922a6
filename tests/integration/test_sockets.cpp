// Listening sockets and what reaches a child.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

TEST_CASE("a child has stdio, its listeners and no other fd, and knows them by name") {
  Supervised up(R"(
[service.a]
command = ["@BIN@/t_child", "fds", "env", "LISTEN_FDS", "env", "LISTEN_FDNAMES", "env", "RUNMAIN_WORKER", "pause"]
listen = [{ name = "one", address = "127.0.0.1:0" }, { name = "two", address = "unix:@DIR@/two.sock" }]
)");
  up.start();
  CHECK(up.wait_output("fds: 0 1 2 3 4\n"));
  CHECK(up.wait_output("LISTEN_FDS=2"));
  CHECK(up.wait_output("LISTEN_FDNAMES=one:two"));
  CHECK(up.wait_output("RUNMAIN_WORKER=0"));
}

TEST_CASE("every kind of address is bound and listened") {
  Supervised up(R"(
[service.a]
command = ["@BIN@/t_child", "pause"]
listen = ["127.0.0.1:0", "[::1]:0", ":0", "unix:@DIR@/a.sock", "unix:@runmain-test-@DIR@", "udp:127.0.0.1:0"]
ready = { after = "10ms" }
)");
  up.start();
  REQUIRE(up.wait_ready());
  const Json listen = up.service("a")["listen"];
  REQUIRE(listen.size() == 6);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, up.folder().file("a.sock").c_str(), sizeof address.sun_path - 1);
  CHECK(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  close(fd);
  const std::string path = up.folder().file("a.sock");
  CHECK(up.stop() == 0);
  CHECK(access(path.c_str(), F_OK) != 0);
}

TEST_CASE("port 0 keeps its port through restarts") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:0\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string before = up.address("a");
  CHECK(up.cli({"restart", "a"}).status == 0);
  CHECK(up.address("a") == before);
  CHECK(get(before, "/").ok);
}

TEST_CASE(
    "200 queued connections: one of 4 workers is killed, the others answer all that it had not accepted") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/t_http", "--fd", "{fd}"]
listen = ["127.0.0.1:0"]
workers = 4
)");
  up.start();
  REQUIRE(up.wait_ready());
  const auto pids = up.pids("web");
  REQUIRE(pids.size() == 4);
  for (const pid_t pid : pids) kill(pid, SIGSTOP);  // nobody accepts: all wait in the backlog
  const std::string address = up.address("web");
  const int port = std::stoi(address.substr(address.rfind(':') + 1));
  std::vector<int> clients;
  for (int i = 0; i < 200; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    REQUIRE(send(fd, request, sizeof request - 1, 0) == static_cast<ssize_t>(sizeof request - 1));
    clients.push_back(fd);
  }
  kill(pids[0], SIGKILL);
  for (std::size_t i = 1; i < pids.size(); ++i) kill(pids[i], SIGCONT);
  int answered = 0;
  for (const int fd : clients) {
    char buffer[512];
    const timeval limit{20, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (recv(fd, buffer, sizeof buffer, 0) > 0) ++answered;
    close(fd);
  }
  CHECK(answered == 200);
}

TEST_CASE("a program with its own port gets it, and restarts without overlap") {
  Supervised up(R"(
[service.own]
command = ["@BIN@/hello", "--listen", "127.0.0.1:{port}"]
port = "auto"
)");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("own");
  CHECK(up.cli({"reload", "own"}).status == 0);
  CHECK(up.pids("own") != before);
}

TEST_CASE("the socket of a dead runmain is replaced, that of a living one is refused") {
  const std::string toml =
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nlisten = [\"unix:@DIR@/a.sock\"]\n"
      "ready = { after = \"1ms\" }\n";
  Supervised first(toml);
  first.start();
  REQUIRE(first.wait_ready());
  Supervised second("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nlisten = [\"unix:" +
                    first.folder().file("a.sock") + "\"]\n");
  second.start();
  CHECK(second.wait_exit() == 2);
  const pid_t head = first.head_pid();
  first.signal(SIGKILL);
  first.wait_exit();
  REQUIRE(wait_gone(head));  // until then it answers at the old control socket
  first.start();
  CHECK(first.wait_ready());
}

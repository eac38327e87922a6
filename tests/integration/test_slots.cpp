// balance = "reuseport": each slot's own socket, in a real runmain.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iomanip>
#include <set>
#include <sstream>
#include <string>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/pools.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

const char* const kPool = R"(
[service.web]
command = ["@BIN@/t_http", "--fd", "{fd}", "--no-notify"]
listen = ["127.0.0.1:0"]
workers = 3
balance = "reuseport"
ready = { http = "/" }
)";

// A connection that has sent its request.
int ask(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{20, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  REQUIRE(send(fd, request.data(), request.size(), 0) == static_cast<ssize_t>(request.size()));
  return fd;
}

int port_of(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }

bool three_are_ready(const Json& status) {
  int ready = 0;
  for (const Json& worker : status["services"][0]["workers"]) ready += worker["state"] == "ready" ? 1 : 0;
  return ready == 3;
}

// Three sockets of one address, in which 200 connections wait.
bool each_slot_has_some_of_200(const Json& status) {
  int waiting = 0;
  std::set<int> slots;
  for (const Json& queue : status["services"][0]["queues"]) {
    waiting += queue["waiting"].get<int>();
    if (queue["waiting"] > 0 && queue["full"] == false) slots.insert(queue["slot"].get<int>());
  }
  return waiting == 200 && slots.size() == 3;
}

// Sockets that listen at this port, as the kernel tells.
int listeners_at(int port) {
  std::ifstream table("/proc/net/tcp");
  std::ostringstream want;
  want << "0100007F:" << std::hex << std::uppercase << std::setw(4) << std::setfill('0') << port
       << " 00000000:0000 0A";
  int count = 0;
  for (std::string line; std::getline(table, line);)
    count += line.find(want.str()) != std::string::npos ? 1 : 0;
  return count;
}

// How many of them got an answer before their connection ended.
int count_answers(const std::vector<int>& clients) {
  int answered = 0;
  for (const int fd : clients) {
    char bytes[512];
    answered += recv(fd, bytes, sizeof bytes, 0) > 0 ? 1 : 0;
    close(fd);
  }
  return answered;
}

std::string pool_of_two(const std::string& command) {
  return "[service.web]\ncommand = \"" + command +
         "\"\nshell = true\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\nbalance = \"reuseport\"\n"
         "ready = { http = \"/\" }\nhang = { stopped = \"0s\" }\n";
}

}  // namespace

TEST_CASE("with a socket for each slot, what waits for a worker that is killed is served by its successor") {
  Supervised up(kPool);
  up.start();
  REQUIRE(up.wait_ready());
  const int port = port_of(up.address("web"));
  const auto pids = up.pids("web");
  REQUIRE(pids.size() == 3);
  for (const pid_t pid : pids) kill(pid, SIGSTOP);  // nobody accepts
  std::vector<int> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(ask(port));
  CHECK(up.wait_status(each_slot_has_some_of_200) != Json());
  for (const pid_t pid : pids) kill(pid, SIGKILL);
  int answered = 0;
  std::set<std::string> by;
  for (const int fd : clients) {
    char bytes[512];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n > 0) {
      ++answered;
      by.insert(std::string(bytes, static_cast<std::size_t>(n)));
    }
    close(fd);
  }
  CHECK(answered == 200);
  CHECK(by.size() == 3);                             // each slot had some
  CHECK(up.wait_status(three_are_ready) != Json());  // a probe reaches a slot that gets no clients yet
}

TEST_CASE("a slot is scaled away: its worker answers what its queue has, however long that takes") {
  Supervised up(pool_of_two("exec @BIN@/t_http --fd {fd} --no-notify --slow-ms 250"));
  up.start();
  REQUIRE(up.wait_ready());
  const int port = port_of(up.address("web"));
  CHECK(listeners_at(port) == 2);
  std::vector<int> clients;
  for (int i = 0; i < 16; ++i) clients.push_back(ask(port));
  CHECK(up.cli({"scale", "web=1"}).status == 0);
  CHECK(count_answers(clients) == 16);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() == 1; }) != Json());
  CHECK(listeners_at(port) == 1);
}

TEST_CASE("scaled from three slots to one under new connections, again and again: none of them is reset") {
  Supervised up(kPool);
  up.start();
  REQUIRE(up.wait_ready());
  const int port = port_of(up.address("web"));
  HttpLoad load(up.address("web"), 8);
  for (int n = 0; n < 3; ++n) {
    load.wait_more(50);
    CHECK(up.cli({"scale", "web=1"}).status == 0);
    // Only now the sockets of the two that went are closed, with whoever would still wait there.
    REQUIRE(up.wait_status([port](const Json& s) {
                return s["services"][0]["workers"].size() == 1 && listeners_at(port) == 1;
              }).is_object());
    load.wait_more(50);
    CHECK(up.cli({"scale", "web=3"}).status == 0);
    REQUIRE(up.wait_status(three_are_ready).is_object());
  }
  no_request_lost(load);
  CHECK(up.stop() == 0);
}

TEST_CASE("a slot that nobody serves is scaled away: who waits there is told at once, and so is the person") {
  Supervised up(
      pool_of_two("if test $RUNMAIN_WORKER = 1 && ! mkdir once; then exec sleep 600; fi; exec "
                  " @BIN@/t_http --fd {fd} --no-notify"));
  up.start();
  REQUIRE(up.wait_ready());
  const int port = port_of(up.address("web"));
  const auto pids = up.pids("web");
  for (const pid_t pid : pids) kill(pid, SIGSTOP);
  std::vector<int> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(ask(port));
  kill(pids.at(1), SIGKILL);
  REQUIRE(up.wait_event([](const Json& e) { return e["type"] == "child.exited" && e["slot"] == 1; }) !=
          Json());
  kill(pids.at(0), SIGCONT);
  CHECK(up.cli({"scale", "web=1"}).status == 0);
  const Json closed = up.wait_event("slot.closed", "web");
  REQUIRE(closed != Json());
  CHECK(closed["slot"] == 1);
  CHECK(listeners_at(port) == 1);
  // At least: our own look at the slot may have waited there, too.
  CHECK(count_answers(clients) + closed["data"]["connections"].get<int>() >= 40);
  CHECK(up.wait_output("waiting and w"));
}

TEST_CASE("a head that is killed leaves the slots their sockets, and its successor knows them") {
  Supervised up(kPool);
  up.start();
  REQUIRE(up.wait_ready());
  const int port = port_of(up.address("web"));
  const auto pids = up.pids("web");
  const pid_t head = up.head_pid();
  kill(head, SIGKILL);
  REQUIRE(wait_gone(head));
  kill(pids.at(0), SIGKILL);
  CHECK(up.wait_status(
            [&](const Json& status) { return three_are_ready(status) && up.pids("web") != pids; }) != Json());
  for (int i = 0; i < 50; ++i) CHECK(get("127.0.0.1:" + std::to_string(port), "/").ok);
}

TEST_CASE("a listener that a worker shuts down is told with the slot, and serves on") {
  Supervised up(R"(
[service.web]
command = ["/bin/sh", "-c", "if [ $RUNMAIN_WORKER = 1 ]; then exec @BIN@/t_child shut 3 pause; fi; exec @BIN@/t_http --fd 3"]
listen = ["127.0.0.1:0"]
workers = 2
balance = "reuseport"
ready = { after = "10ms" }
)");
  up.start();
  const Json shut = up.wait_event("listener.shut", "web");
  CHECK(shut["slot"] == 1);
  CHECK(shut["data"]["errno"] == 0);
  REQUIRE(up.wait_ready());
  close(ask(port_of(up.address("web"))));
}

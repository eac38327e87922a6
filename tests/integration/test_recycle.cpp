// Workers that are replaced although nothing is wrong with them, under a load that may lose nothing: one that
// has grown too large, and one that says by itself that it ends. By their lifetime: test_rolls.cpp; after so
// many requests: test_pool.cpp.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "support/pools.hpp"

using namespace runmain::test;

namespace {

// A server that ends by itself at a GET /last: it accepts no more and says so by a datagram, as sd_notify(3)
// does, and then has that one request left, for as long as its client keeps it waiting.
const char* const kLeaver = R"PY(
import os, socket


def say(text):
    name = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text, "\0" + name[1:] if name[0] == "@" else name)


def answer(client):
    body = b"%d" % os.getpid()
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
    client.close()


listener = socket.socket(fileno=3)
listener.setblocking(True)
say(b"READY=1")
while True:
    client, _ = listener.accept()
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += client.recv(4096)
    if request.startswith(b"GET /last"):
        break
    answer(client)
listener.close()
say(b"STOPPING=1")
client.recv(1)
answer(client)
)PY";

pid_t pid_in_slot(const Json& status, int slot) {
  for (const Json& w : status["services"][0]["workers"]) {
    if (w["slot"] == slot) return w["pid"];
  }
  return -1;
}

// The pid in the answer of the server above.
pid_t who_answers(const std::string& address) { return std::atoi(get(address, "/").body.c_str()); }

bool sends(int fd, std::string_view text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// What comes until the end of the connection.
std::string receives(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;)
    all.append(buffer, static_cast<std::size_t>(n));
  return all;
}

}  // namespace

TEST_CASE("a worker that has grown above the limit is replaced, the others stay, and no request is lost") {
  // What grows when its gate is opened is a process that the first worker has started: its tree counts.
  Supervised up(
      pool(2, kNotify + "recycle = { memory = \"200MiB\", jitter = 0.0 }\n",
           "if test $RUNMAIN_WORKER = 0; then @BIN@/t_child gate gate eat 300 pause & fi; exec @BIN@/t_http "
           "--fd {fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(up.wait_output("at the gate"));
  const Json before = up.status();
  const pid_t large = pid_in_slot(before, 0);
  const pid_t small = pid_in_slot(before, 1);
  REQUIRE(large > 0);
  HttpLoad load(up.address("web"), 3);
  load.wait_more(20);
  std::ofstream(up.folder().file("gate"));
  const Json recycled = up.wait_event("child.recycled", "web");  // memory is looked at every 5 s
  REQUIRE(recycled.is_object());
  CHECK(recycled["pid"] == large);
  const std::string reason = recycled["data"]["reason"];
  INFO(reason);
  REQUIRE(reason.starts_with("memory "));
  CHECK(reason.ends_with(" MiB"));
  CHECK(std::atoi(reason.c_str() + std::string_view("memory ").size()) >= 200);
  REQUIRE(wait_gone(large));
  REQUIRE(up.wait_status([](const Json& s) {
              return all_ready(s, 2, 1) && s["services"][0]["workers"].size() == 2;
            }).is_object());
  CHECK(pid_in_slot(up.status(), 0) != large);
  CHECK(pid_in_slot(up.status(), 1) == small);
  load.wait_more(20);
  no_request_lost(load);
  CHECK(up.service("web")["restarts"] == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE(
    "who has served and says by itself that it ends has a successor that is ready before it has ended") {
  REQUIRE(run({"/bin/sh", "-c", "command -v python3"}).status == 0);
  Supervised up(pool(1, kNotify + "stop = { timeout = \"60s\" }\n", "exec python3 leaver.py"));
  up.folder().write("leaver.py", kLeaver);
  up.start();
  REQUIRE(up.wait_ready());
  const std::string address = up.address("web");
  const pid_t old = up.pids("web").at(0);
  HttpLoad load(address, 3);
  // Sooner than after a second its end would be awaited, as that of a loop.
  while (up.status()["services"][0]["workers"][0]["since_ms"].get<int>() < 1000) load.wait_more(5);
  const int last = connect_to(address);
  REQUIRE(last >= 0);
  REQUIRE(sends(last, "GET /last HTTP/1.1\r\nHost: x\r\n\r\n"));
  const Json recycled = up.wait_event("child.recycled", "web");
  REQUIRE(recycled.is_object());
  CHECK(recycled["pid"] == old);
  CHECK(recycled["data"]["reason"] == "it ends by itself");
  const Json ready =
      up.wait_event([old](const Json& e) { return e["type"] == "child.ready" && e["pid"] != old; });
  REQUIRE(ready.is_object());
  CHECK(ready["slot"] == 0);
  CHECK(ready["generation"] == 1);
  const Json both = up.status()["services"][0]["workers"];
  CHECK(std::any_of(both.begin(), both.end(),
                    [old](const Json& w) { return w["pid"] == old && w["state"] == "draining"; }));
  load.wait_more(20);
  CHECK(who_answers(address) == ready["pid"].get<pid_t>());
  CHECK(alive(old));
  CHECK(sends(last, "."));
  const std::string answer = receives(last);
  close(last);
  CHECK(answer.starts_with("HTTP/1.1 200"));
  CHECK(answer.ends_with("\r\n\r\n" + std::to_string(old)));
  REQUIRE(wait_gone(old));
  const Json stopped = up.wait_event([old](const Json& e) {
    return e["pid"] == old && (e["type"] == "child.stopped" || e["type"] == "child.exited");
  });
  REQUIRE(stopped.is_object());
  CHECK(stopped["type"] == "child.stopped");
  CHECK(stopped["data"]["status"] == 0);
  load.wait_more(20);
  no_request_lost(load);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() == 1; }).is_object());
  CHECK(up.pids("web") == std::vector<pid_t>{ready["pid"].get<pid_t>()});  // and not one more at its end
  CHECK(up.service("web")["restarts"] == 0);
  CHECK(up.stop() == 0);
}

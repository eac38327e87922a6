// examples/hello, driven over real sockets: what it answers, and that its drain loses nothing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "fakes.hpp"
#include "support/catch.hpp"

using namespace fakes;

namespace {

// A running program with its stdout.
class Program {
 public:
  Program(const std::vector<std::string>& arguments, int inherited_fd = -1, const std::string& channel = "",
          const std::string& notify = "") {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    pid_ = fork();
    if (pid_ == 0) {
      clear_environment();
      dup2(ends[1], STDOUT_FILENO);
      if (inherited_fd >= 0) dup2(inherited_fd, 3);
      if (inherited_fd == 3) fcntl(3, F_SETFD, 0);
      if (!channel.empty()) supervise(channel);
      if (!notify.empty()) setenv("NOTIFY_SOCKET", notify.c_str(), 1);
      setenv("RUNMAIN_GENERATION", "7", 1);
      setenv("RUNMAIN_WORKER", "2", 1);
      std::vector<char*> argv;
      for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = Peer(Fd(ends[0]));
  }
  ~Program() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void terminate() const { ::kill(pid_, SIGTERM); }
  std::string line() {
    char byte = 0;
    std::string text;
    while (wait_for(out_.fd(), POLLIN) && read(out_.fd(), &byte, 1) == 1 && byte != '\n') text += byte;
    return text;
  }
  // The wait status, once stdout is closed.
  int wait() {
    while (!line().empty()) {
    }
    int status = -1;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  Peer out_{Fd()};
};

const std::string kHello = std::string(RUNMAIN_BIN_DIR) + "/hello";

// hello on a port of its own.
struct Hello : Program {
  Hello() : Program({kHello, "--listen", "127.0.0.1:0"}) {
    const std::string text = line();
    port = std::stoi(text.substr(text.rfind(':') + 1));
  }
  int port = 0;
};

Fd connect_to(int port) {
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

bool send_text(const Fd& fd, const std::string& text) {
  return send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::string get(const std::string& target, const std::string& fields = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: test\r\n" + fields + "\r\n";
}

// What comes up to and with `until`, or up to the end of the stream: then with "<eof>", or "<error>" for a
// reset.
std::string receive(const Fd& fd, const std::string& until) {
  std::string text;
  while (until.empty() || text.find(until) == std::string::npos) {
    char buffer[4096];
    if (!wait_for(fd.get(), POLLIN)) return text + "<timeout>";
    const ssize_t n = recv(fd.get(), buffer, sizeof buffer, 0);
    if (n == 0) return text + "<eof>";
    if (n < 0) return text + "<error>";
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

bool has(const std::string& text, const std::string& part) { return count(text, part) > 0; }

const std::string kGreeting = "Hello from generation 7, worker 2.\n";

}  // namespace

TEST_CASE("hello answers several requests on one connection, and in order when they come at once") {
  Hello hello;
  const Fd fd = connect_to(hello.port);
  REQUIRE(send_text(fd, get("/")));
  const std::string first = receive(fd, kGreeting);
  CHECK(has(first, "HTTP/1.1 200 OK\r\n"));
  CHECK(has(first, "Connection: keep-alive\r\n"));
  REQUIRE(send_text(
      fd, get("/slow?ms=30") + get("/health") + get("/nothing") + get("/", "Connection: close\r\n")));
  const std::string rest = receive(fd, "");
  CHECK(rest.find(kGreeting) < rest.find("\r\n\r\nok\n"));
  CHECK(rest.find("\r\n\r\nok\n") < rest.find("404 Not Found"));
  CHECK(has(rest, "Connection: close\r\n\r\n" + kGreeting + "<eof>"));
}

TEST_CASE("hello refuses what is no request and survives it") {
  Hello hello;
  const auto answer_to = [&](const std::string& bytes) {
    const Fd fd = connect_to(hello.port);
    send_text(fd, bytes);
    const std::string text = receive(fd, "");
    return text.substr(0, text.find('\r')) + (has(text, "<eof>") ? "" : " no clean end");
  };
  CHECK(answer_to("nonsense\r\n\r\n") == "HTTP/1.1 400 Bad Request");
  CHECK(answer_to("GET / HTTP/9.9\r\n\r\n") == "HTTP/1.1 400 Bad Request");
  CHECK(answer_to("GET / HTTP/1.1\r\nno colon\r\n\r\n") == "HTTP/1.1 400 Bad Request");
  CHECK(answer_to(std::string(9000, 'x')) == "HTTP/1.1 431 Request Header Fields Too Large");
  CHECK(answer_to("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello") == "HTTP/1.1 405 Method Not Allowed");
  CHECK(answer_to("GET / HTTP/1.0\r\n\r\n") == "HTTP/1.1 200 OK");
  CHECK(answer_to(get("/health", "Connection: close\r\n")) == "HTTP/1.1 200 OK");
}

TEST_CASE("hello answers HEAD without a body") {
  Hello hello;
  const Fd fd = connect_to(hello.port);
  REQUIRE(send_text(fd, "HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n"));
  const std::string text = receive(fd, "");
  CHECK(has(text, "Content-Length: " + std::to_string(kGreeting.size()) + "\r\n"));
  CHECK(has(text, "\r\n\r\n<eof>"));
}

TEST_CASE("a request in flight at SIGTERM is finished, then hello exits with 0") {
  Hello hello;
  const Fd fd = connect_to(hello.port);
  const Fd other = connect_to(hello.port);
  REQUIRE(send_text(fd, get("/slow?ms=300")));
  REQUIRE(send_text(other, get("/health")));
  receive(other,
          "ok\n");  // the one thread has read the slow request before this one, or reads it in the drain
  hello.terminate();
  const std::string text = receive(fd, "");
  CHECK(has(text, "200 OK"));
  CHECK(has(text, "Connection: close\r\n\r\n" + kGreeting + "<eof>"));
  CHECK(hello.wait() == 0);
}

TEST_CASE("an idle connection is closed cleanly at SIGTERM") {
  Hello hello;
  const Fd fd = connect_to(hello.port);
  REQUIRE(send_text(fd, get("/health")));
  CHECK(has(receive(fd, "ok\n"), "keep-alive"));
  hello.terminate();
  CHECK(receive(fd, "") == "<eof>");
  CHECK(hello.wait() == 0);
}

TEST_CASE("a connection that was accepted but silent is still served once after SIGTERM") {
  Hello hello;
  const Fd idle = connect_to(hello.port);
  REQUIRE(send_text(idle, get("/health")));
  receive(idle, "ok\n");
  const Fd silent = connect_to(hello.port);
  hello.terminate();
  CHECK(receive(idle, "") == "<eof>");  // the drain is under way
  REQUIRE(send_text(silent, get("/")));
  CHECK(has(receive(silent, ""), "Connection: close\r\n\r\n" + kGreeting + "<eof>"));
  CHECK(hello.wait() == 0);
}

TEST_CASE("connections that wait in hello's own backlog at SIGTERM are served") {
  Hello hello;
  const Fd probe = connect_to(hello.port);
  REQUIRE(send_text(probe, get("/health")));
  receive(probe, "ok\n");
  ::kill(hello.pid(), SIGSTOP);
  std::vector<Fd> waiting;
  for (int i = 0; i < 40; ++i) {
    waiting.push_back(connect_to(hello.port));
    REQUIRE(send_text(waiting.back(), get("/health")));
  }
  hello.terminate();
  ::kill(hello.pid(), SIGCONT);
  for (const Fd& fd : waiting) CHECK(has(receive(fd, ""), "ok\n<eof>"));
  CHECK(hello.wait() == 0);
}

TEST_CASE("under load a worker on a shared listener drains and no request is lost") {
  const Fd listener = listen_tcp();
  const int port = port_of(listener.get());
  const std::vector<std::string> command = {kHello, "--fd", "3"};
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::atomic<int> lost{0};
  {
    Program staying(command, listener.get());
    CHECK(staying.line() == "listening on 127.0.0.1:" + std::to_string(port));
    std::vector<std::thread> clients;
    for (int i = 0; i < 3; ++i) {
      clients.emplace_back([&, keeps = i == 0] {
        Fd fd;
        while (!stop) {
          const bool reused = fd.get() >= 0;
          if (!reused) fd = connect_to(port);
          const bool sent = send_text(fd, get("/health", keeps ? "" : "Connection: close\r\n"));
          const std::string text = receive(fd, keeps ? "ok\n" : "");
          const bool good = sent && has(text, "200 OK") && has(text, "ok\n");
          // A kept connection that ends before the first byte of an answer: the client asks again (RFC
          // 9112, 9.3.1).
          const bool asks_again = reused && text.front() == '<';
          if (good) ++answered;
          if (!good && !asks_again) ++lost;
          if (!good || !has(text, "keep-alive")) fd.reset();
        }
      });
    }
    for (int round = 0; round < 10; ++round) {
      Program leaving(command, listener.get());
      CHECK_FALSE(leaving.line().empty());
      const int before = answered;
      while (answered < before + 100 && lost == 0) std::this_thread::yield();
      leaving.terminate();
      CHECK(leaving.wait() == 0);
    }
    stop = true;
    for (std::thread& t : clients) t.join();
    staying.terminate();
    CHECK(staying.wait() == 0);
  }
  CHECK(lost == 0);
  CHECK(answered >= 1000);
}

TEST_CASE("hello takes its listener from the claim, says ready, and drains when the channel asks") {
  Channel channel;
  Program hello({kHello}, -1, channel.name());
  Peer peer = channel.accept();
  CHECK(has(peer.line(), "\"explicit\":true"));
  const Fd listener = listen_tcp();
  const int port = port_of(listener.get());
  CHECK(peer.send(role_line(R"([{"name":"http","address":"a","kind":"tcp"}])"), {listener.get()}));
  CHECK(hello.line() == "listening on 127.0.0.1:" + std::to_string(port));
  CHECK(peer.line() == R"({"v":1,"ready":true})");
  const Fd fd = connect_to(port);
  REQUIRE(send_text(fd, get("/slow?ms=200")));
  const Fd other = connect_to(port);
  REQUIRE(send_text(other, get("/health", "Connection: close\r\n")));
  CHECK(has(receive(other, ""), "ok\n"));
  CHECK(peer.send("{\"v\":1,\"drain\":{\"budget_ms\":5000}}\n"));
  CHECK(peer.line() == R"({"v":1,"stopping":true})");
  CHECK(has(receive(fd, ""), kGreeting + "<eof>"));
  CHECK(peer.line() == R"({"v":1,"requests":{"done":2,"in_flight":0}})");
  CHECK(peer.line() == R"({"v":1,"drained":true})");
  CHECK(peer.line() == "closed");
  CHECK(hello.wait() == 0);
}

TEST_CASE("a refused hello does not serve") {
  Channel channel;
  Program hello({kHello, "--listen", "127.0.0.1:0"}, -1, channel.name());
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send("{\"v\":1,\"refused\":{}}\n"));
  CHECK(hello.line().empty());
  CHECK(WEXITSTATUS(hello.wait()) == 1);
}

TEST_CASE("wrong arguments of hello are told with exit status 2") {
  for (const char* const wrong : {"--what", "--fd", "--listen"}) {
    Program hello({kHello, wrong});
    CHECK(WEXITSTATUS(hello.wait()) == 2);
  }
  Program hello({kHello, "--fd", "0x"});
  CHECK(WEXITSTATUS(hello.wait()) == 2);
  Program no_socket({kHello, "--fd", "2"});
  CHECK(WEXITSTATUS(no_socket.wait()) == 2);
}

TEST_CASE("the C header works from C with the shared library alone") {
  Program program({std::string(RUNMAIN_BIN_DIR) + "/t_c_abi"});
  CHECK(program.wait() == 0);
}

TEST_CASE("t_http says READY=1 after its boot, answers, and exits after its last request") {
  Notify notify;
  const Fd listener = listen_tcp();
  const std::vector<std::string> command = {
      std::string(RUNMAIN_BIN_DIR) + "/t_http", "--fd", "3", "--boot-ms", "50", "--exit-after", "2"};
  Program server(command, listener.get(), "", notify.name());
  const Fd early = connect_to(port_of(listener.get()));
  REQUIRE(send_text(early, get("/")));
  CHECK(notify.message() == "READY=1");
  const std::string body = std::to_string(server.pid()) + " 7 2\n<eof>";
  CHECK(has(receive(early, ""), body));
  const Fd second = connect_to(port_of(listener.get()));
  REQUIRE(send_text(second, get("/")));
  CHECK(has(receive(second, ""), body));
  CHECK(server.wait() == 0);
}

TEST_CASE("t_http finishes what it accepted at SIGTERM, and ignores it when told to") {
  const Fd listener = listen_tcp();
  const std::string t_http = std::string(RUNMAIN_BIN_DIR) + "/t_http";
  const auto ask = [&](const Fd& fd) { return send_text(fd, get("/")) ? receive(fd, "") : "not sent"; };
  Program polite({t_http, "--fd", "3"}, listener.get());
  const Fd silent = connect_to(port_of(listener.get()));
  const Fd probe = connect_to(port_of(listener.get()));
  CHECK(has(ask(probe), "<eof>"));
  polite.terminate();
  CHECK(has(ask(silent), "200 OK"));
  CHECK(polite.wait() == 0);
  Program stubborn({t_http, "--fd", "3", "--ignore-term"}, listener.get());
  CHECK(has(ask(connect_to(port_of(listener.get()))), "200 OK"));
  stubborn.terminate();
  CHECK(has(ask(connect_to(port_of(listener.get()))), "200 OK"));
}

TEST_CASE("t_child does what its arguments say, and its grandchildren live on") {
  Program child({std::string(RUNMAIN_BIN_DIR) + "/t_child", "print", "hi", "env", "RUNMAIN_WORKER", "env",
                 "NOT_SET", "flood", "250", "setsid-grandchild", "double-fork-grandchild",
                 "same-group-ignorer", "exit", "3"});
  CHECK(child.line() == "hi");
  CHECK(child.line() == "RUNMAIN_WORKER=2");
  CHECK(child.line() == "NOT_SET unset");
  CHECK(child.line() == std::string(99, 'a'));
  CHECK(child.line() == std::string(99, 'b'));
  CHECK(child.line() == std::string(49, 'c'));
  std::vector<pid_t> grandchildren;
  for (int i = 0; i < 3; ++i) {
    const std::string text = child.line();
    REQUIRE(text.substr(0, 11) == "grandchild ");
    grandchildren.push_back(std::stoi(text.substr(11)));
  }
  CHECK(getsid(grandchildren[0]) == grandchildren[0]);
  CHECK(getsid(grandchildren[1]) == grandchildren[1]);
  CHECK(getsid(grandchildren[2]) == getsid(0));
  for (const pid_t pid : grandchildren) CHECK(::kill(pid, SIGKILL) == 0);
  CHECK(WEXITSTATUS(child.wait()) == 3);
}

// A server and raw peers on loopback, all in one thread.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "web/live_reload.hpp"
#include "web/stand_in.hpp"

using namespace runmain;
using namespace runmain::web;

namespace {

os::UniqueFd listener(std::uint16_t& port) {
  os::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(fd.get(), SOMAXCONN) == 0);
  socklen_t size = sizeof address;
  REQUIRE(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port = ntohs(address.sin_port);
  return fd;
}

class Peer {
 public:
  Peer(os::Loop& loop, std::uint16_t port)
      : loop_(loop), fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    REQUIRE(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  void say(const std::string& text) {
    REQUIRE(send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  // Turns the loop until the text is there, or the connection has ended; what came so far.
  std::string hear(const std::string& until) {
    const Time end = os::Loop::now() + std::chrono::seconds(20);
    while (text_.find(until) == std::string::npos && !ended_ && os::Loop::now() < end) {
      loop_.turn(std::chrono::milliseconds(5));
      char buffer[4096];
      ssize_t n = 0;
      while ((n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
        text_.append(buffer, static_cast<std::size_t>(n));
      if (n == 0 || errno != EAGAIN) ended_ = true;
    }
    return text_;
  }
  std::string hear_all() { return hear("\r\n never said"); }
  void forget() { text_.clear(); }
  bool ended() const { return ended_; }

 private:
  os::Loop& loop_;
  os::UniqueFd fd_;
  std::string text_;
  bool ended_ = false;
};

}  // namespace

TEST_CASE("a stand-in answers while it is open, and afterwards connections wait for a worker") {
  os::Loop loop;
  std::uint16_t port = 0;
  const os::UniqueFd kept = listener(port);
  std::string reason = "exited with status 1";
  StandIn stand_in(loop, [&] { return Trouble{"web", reason, {"line"}}; });
  const auto open = [&] {
    std::vector<os::UniqueFd> sockets;
    sockets.emplace_back(dup(kept.get()));
    stand_in.open(std::move(sockets));
  };
  open();
  Peer first(loop, port);
  first.say("GET / HTTP/1.1\r\n");
  Peer waiting(loop, port);
  Peer second(loop, port);
  second.say("GET / HTTP/1.1\r\n\r\n");
  CHECK(second.hear_all().ends_with("web: exited with status 1\n\nline\n"));
  reason = "exited with status 2";
  first.say("\r\n");
  CHECK(first.hear_all().find("status 2") != std::string::npos);

  stand_in.close();
  waiting.say("GET / HTTP/1.1\r\n\r\n");  // was accepted before: it gets its answer
  CHECK(waiting.hear_all().starts_with("HTTP/1.1 503"));
  Peer later(loop, port);
  later.say("GET / HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 5; ++i) loop.turn(std::chrono::milliseconds(1));
  os::UniqueFd by_worker(accept(kept.get(), nullptr, nullptr));
  CHECK(by_worker);  // it is the worker's

  open();
  Peer again(loop, port);
  again.say("GET / HTTP/1.1\r\n\r\n");
  CHECK(again.hear_all().starts_with("HTTP/1.1 503"));
}

TEST_CASE("what is not HTTP is hung up on") {
  os::Loop loop;
  std::uint16_t port = 0;
  HttpServer server(loop, listener(port), [](const HttpRequest&) {
    return HttpServer::Reply{"never", false};
  });
  Peer peer(loop, port);
  peer.say("\x16\x03\x01\x02");
  CHECK(peer.hear_all().empty());
  CHECK(peer.ended());
  CHECK(server.counters().not_http == 1);
  CHECK(server.clients() == 0);
}

TEST_CASE("a page that never reads is dropped at the limit, and another one misses nothing") {
  os::Loop loop;
  std::uint16_t port = 0;
  HttpServer server(loop, listener(port), [](const HttpRequest&) {
    return HttpServer::Reply{"hello ", true};
  });
  Peer deaf(loop, port);
  Peer reads(loop, port);
  deaf.say("GET /events HTTP/1.1\r\n\r\n");
  reads.say("GET /events HTTP/1.1\r\n\r\n");
  reads.hear("hello ");
  const std::string piece(kHttpPendingMax / 4, 'x');
  constexpr int kPieces = 400;  // far more than a socket's buffers hold
  for (int n = 0; n < kPieces && server.counters().dropped == 0; ++n) {
    const std::string mark = "piece " + std::to_string(n) + ";";
    server.push(piece + mark);
    REQUIRE(reads.hear(mark).ends_with(mark));
    reads.forget();
  }
  CHECK(server.counters().dropped == 1);
  CHECK(server.clients() == 1);
  server.push("the end");
  CHECK(reads.hear("the end") == "the end");
}

TEST_CASE("at most so many clients at once: the others wait in the backlog and are served later") {
  os::Loop loop;
  std::uint16_t port = 0;
  HttpServer server(loop, listener(port), [](const HttpRequest&) { return HttpServer::Reply{"ok", false}; });
  std::vector<std::unique_ptr<Peer>> peers;
  for (std::size_t n = 0; n < kHttpClientsMax + 5; ++n) peers.push_back(std::make_unique<Peer>(loop, port));
  for (int i = 0; i < 20; ++i) loop.turn(std::chrono::milliseconds(1));
  CHECK(server.clients() == kHttpClientsMax);
  for (auto& peer : peers) peer->say("GET / HTTP/1.1\r\n\r\n");
  for (auto& peer : peers) {
    CHECK(peer->hear_all() == "ok");
    peer.reset();
  }
  CHECK(server.counters().answered == kHttpClientsMax + 5);
}

TEST_CASE("a page hears of each new generation once, and a late one hears which serves") {
  os::Loop loop;
  std::uint16_t port = 0;
  LiveReload live(loop, listener(port));
  live.serves("7");
  Peer page(loop, port);
  page.say("GET /events HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n");
  const std::string hello = page.hear("data: 7\n\n");
  CHECK(hello.find("Content-Type: text/event-stream\r\n") != std::string::npos);
  CHECK(hello.find("Access-Control-Allow-Origin: *\r\n") != std::string::npos);
  live.serves("7");
  live.serves("8");
  const std::string both = page.hear("data: 8\n\n");
  CHECK(both.find("data: 7\n\ndata: 8\n\n") != std::string::npos);
  Peer late(loop, port);
  late.say("GET /events HTTP/1.1\r\n\r\n");
  CHECK(late.hear("data: 8\n\n").find("data: 7") == std::string::npos);
}

TEST_CASE("the script and nothing else is there") {
  struct Case {
    const char* request;
    const char* answer;
  };
  const Case cases[] = {{"GET /live.js", "HTTP/1.1 200"},       {"HEAD /live.js", "HTTP/1.1 200"},
                        {"GET /live.js?x=1", "HTTP/1.1 200"},   {"GET /", "HTTP/1.1 404"},
                        {"GET /../etc/passwd", "HTTP/1.1 404"}, {"POST /live.js", "HTTP/1.1 405"}};
  os::Loop loop;
  std::uint16_t port = 0;
  LiveReload live(loop, listener(port));
  for (const Case& c : cases) {
    CAPTURE(c.request);
    Peer peer(loop, port);
    peer.say(std::string(c.request) + " HTTP/1.1\r\n\r\n");
    CHECK(peer.hear_all().starts_with(c.answer));
  }
}

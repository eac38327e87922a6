// The observer's socket, as a head and a command see it.
#include <sys/socket.h>
#include <sys/un.h>

#include <nlohmann/json.hpp>

#include "observer_scene.hpp"
#include "telemetry/observer_json.hpp"
#include "telemetry/observer_server.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

using Json = nlohmann::json;

struct Scene : ObserverScene {
  std::unique_ptr<ObserverServer> server;
  std::string path = folder.path + "/observer";

  explicit Scene(ServerLimits server_limits = {}) : ObserverScene("") {
    start();
    REQUIRE(wait([&] { return observer->status().destinations.empty(); }));
    server = std::make_unique<ObserverServer>(loop, *observer, server_limits);
    os::UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = name();
    REQUIRE(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(listener.get(), SOMAXCONN) == 0);
    server->listen(std::move(listener));
  }
  sockaddr_un name() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }
  // A span of a worker.
  void span(std::uint64_t number, std::uint32_t generation = 3) {
    const std::string bytes = span_number(number);
    Item item;
    item.bytes = bytes;
    const ChildKey worker{ServiceId{1}, 0, generation, 1};
    REQUIRE(wait([&] { return observer->receive(worker, {1, 1}, {&item, 1}); }));
  }
};

class Client {
 public:
  explicit Client(Scene& scene) : scene_(scene), fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_un address = scene.name();
    REQUIRE(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  void say(const std::string& text) { REQUIRE(os::write_all(fd_.get(), text).ok()); }
  // The next line; nothing at the end.
  std::optional<Json> next() {
    std::size_t end = 0;
    bool closed = false;
    const bool came = scene_.wait([&] {
      char buffer[4096];
      const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (n > 0) in_.append(buffer, static_cast<std::size_t>(n));
      end = in_.find('\n');
      closed = n == 0 || (n < 0 && errno == ECONNRESET);
      return closed || end != std::string::npos;
    });
    REQUIRE(came);
    if (end == std::string::npos) return std::nullopt;
    Json json = Json::parse(in_.substr(0, end));
    in_.erase(0, end + 1);
    return json;
  }
  bool has_line() {
    char buffer[4096];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) in_.append(buffer, static_cast<std::size_t>(n));
    return in_.find('\n') != std::string::npos;
  }
  // It follows facts by now.
  void follow() {
    say("{\"v\":1,\"verb\":\"follow\"}\n");
    REQUIRE(scene_.wait([&] {
      scene_.server->tell({"destination.warns", "are you there"});
      return has_line();
    }));
  }
  Json ask(const std::string& text) {
    say(text);
    auto json = next();
    REQUIRE(json.has_value());
    return *json;
  }
  void finish_asking() { shutdown(fd_.get(), SHUT_WR); }

 private:
  Scene& scene_;
  os::UniqueFd fd_;
  std::string in_;
};

}  // namespace

TEST_CASE("status tells ledgers, destinations and counters") {
  Scene scene;
  scene.span(1);
  Client client(scene);
  const Json status = client.ask("{\"v\":1,\"verb\":\"status\"}\n");
  CHECK(status["ok"] == true);
  REQUIRE(status["ledgers"].size() == 1);
  const Json& ledger = status["ledgers"][0];
  CHECK(ledger["service"] == "web");
  CHECK(ledger["generation"] == 3);
  CHECK(ledger["ended"] == 1);
  CHECK(ledger["dropped"]["no endpoint"] == 1);
  CHECK(ledger["imbalance"] == "");
  CHECK(ledger["text"].get<std::string>().find("started 1, ended 1") == 0);
  CHECK(status["destinations"].is_array());
  CHECK(status["counters"]["spans"] == 1);
  CHECK(status["counters"]["mailboxes_not_made"] == 0);
  scene.observer->on_mailboxes_lost(2, 3);
  const Json later = client.ask("{\"v\":1,\"verb\":\"status\"}\n");
  CHECK(later["counters"]["mailboxes_lost"] == 2);
  CHECK(later["counters"]["mailboxes_not_made"] == 3);
  CHECK(client.ask("{\"v\":1,\"verb\":\"status\"}\n")["ok"] == true);
}

TEST_CASE("traces come as lines with an end, or go on") {
  Scene scene;
  for (std::uint64_t n = 1; n <= 3; ++n) scene.span(n);
  Client client(scene);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    const auto line =
        n == 1 ? client.ask("{\"v\":1,\"verb\":\"traces\",\"service\":\"web\"}\n") : client.next();
    CHECK((*line)["span"]["name"] == "span " + std::to_string(n));
    CHECK((*line)["span"]["kind"] == "server");
    CHECK((*line)["span"]["attributes"]["n"] == std::to_string(n));
    CHECK((*line)["span"]["instance_id"].get<std::string>().size() == 36);
  }
  CHECK((*client.next())["end"] == true);
  CHECK(client.ask("{\"v\":1,\"verb\":\"traces\",\"generation\":4}\n")["end"] == true);
  CHECK(client.ask("{\"v\":1,\"verb\":\"traces\",\"duplicates\":true}\n")["end"] == true);

  Client follower(scene);
  follower.say("{\"v\":1,\"verb\":\"traces\",\"generation\":4,\"follow\":true}\n");
  scene.span(7);
  scene.span(8, 4);
  CHECK((*follower.next())["span"]["name"] == "span 8");
  scene.span(9, 4);
  CHECK((*follower.next())["span"]["name"] == "span 9");
}

TEST_CASE("many spans reach a client in pieces") {
  Scene scene;
  constexpr std::uint64_t kMany = 3000;
  for (std::uint64_t n = 1; n <= kMany; ++n) scene.span(n);
  Client client(scene);
  client.say("{\"v\":1,\"verb\":\"traces\"}\n");
  client.finish_asking();
  std::uint64_t spans = 0;
  for (auto line = client.next(); line && !line->contains("end"); line = client.next()) ++spans;
  CHECK(spans == kMany);
  CHECK_FALSE(client.next().has_value());
}

TEST_CASE("in production spans are kept while somebody asks for them") {
  Scene scene;
  scene.config.dev = false;
  scene.observer->on_configuration(scene.config);
  scene.span(1);
  CHECK(scene.observer->store().spans() == 0);
  {
    Client follower(scene);
    follower.say("{\"v\":1,\"verb\":\"traces\",\"follow\":true}\n");
    REQUIRE(scene.wait([&] { return scene.observer->store().on(); }));
    scene.span(2);
    CHECK((*follower.next())["span"]["name"] == "span 2");
  }
  REQUIRE(scene.wait([&] { return !scene.observer->store().on(); }));
  CHECK(scene.observer->store().spans() == 0);
}

TEST_CASE("facts reach who follows") {
  Scene scene;
  Client client(scene);
  client.say("{\"v\":1,\"verb\":\"follow\"}\n");
  Client other(scene);
  CHECK(other.ask("{\"v\":1,\"verb\":\"status\"}\n")["ok"] == true);  // the first one was served by then
  scene.server->tell({"ledger.ended", "web.0: …", "web", kWeb});
  const auto line = client.next();
  REQUIRE(line.has_value());
  CHECK((*line)["fact"] == "ledger.ended");
  CHECK((*line)["text"] == "web.0: …");
  CHECK((*line)["service"] == "web");
  CHECK((*line)["attempt"] == 1);
}

TEST_CASE("what is no request is answered with what one is, and the client may ask again") {
  Scene scene;
  Client client(scene);
  for (const char* bad :
       {"hello\n", "{}\n", "[]\n", "{\"v\":2,\"verb\":\"status\"}\n", "{\"v\":1,\"verb\":\"stop\"}\n",
        "{\"v\":1,\"verb\":\"traces\",\"service\":7}\n", "{\"v\":1,\"verb\":\"traces\",\"generation\":-1}\n",
        "{\"v\":1,\"verb\":\"traces\",\"generation\":99999999999}\n",
        "{\"v\":1,\"verb\":\"traces\",\"follow\":\"yes\"}\n"}) {
    CAPTURE(bad);
    const Json answer = client.ask(bad);
    CHECK(answer["ok"] == false);
    CHECK(answer["error"].is_string());
  }
  CHECK(scene.server->counters().bad_requests == 9);
  CHECK(client.ask("{\"v\":1,\"verb\":\"status\"}\n")["ok"] == true);
}

TEST_CASE("a request without an end is cut off") {
  Scene scene;
  Client client(scene);
  const Json answer = client.ask(std::string(6000, 'x'));
  CHECK(answer["ok"] == false);
  CHECK_FALSE(client.next().has_value());
  REQUIRE(scene.wait([&] { return scene.server->clients() == 0; }));
}

TEST_CASE("who asks nothing gives way, and beyond the limit one is told so") {
  ServerLimits limits;
  limits.clients = 2;
  Scene scene(limits);
  const auto idle = std::make_unique<Client>(scene);
  Client one(scene);
  one.follow();
  CHECK(scene.server->counters().accepted == 2);
  Client two(scene);
  two.follow();
  CHECK_FALSE(idle->next().has_value());
  Client three(scene);
  CHECK((*three.next())["error"] == "too many clients");
  CHECK(scene.server->counters().refused_full == 1);
}

TEST_CASE("a follower of facts that does not read is cut off and counted") {
  ServerLimits limits;
  limits.pending = 64U << 10U;
  Scene scene(limits);
  Client client(scene);
  client.say("{\"v\":1,\"verb\":\"follow\"}\n");
  REQUIRE(scene.wait([&] { return scene.server->clients() == 1; }));
  REQUIRE(scene.wait([&] {
    for (int i = 0; i < 100; ++i) scene.server->tell({"destination.warns", std::string(1000, 'x')});
    return scene.server->counters().cut_off == 1;
  }));
  CHECK(scene.server->clients() == 0);
}

TEST_CASE("a client that stops reading in the middle is cut off after a while") {
  ServerLimits limits;
  limits.stalled = 100ms;
  Scene scene(limits);
  for (std::uint64_t n = 1; n <= 3000; ++n) scene.span(n);
  Client client(scene);
  client.say("{\"v\":1,\"verb\":\"traces\"}\n");
  REQUIRE(scene.wait([&] { return scene.server->counters().cut_off == 1; }));
  CHECK(scene.server->clients() == 0);
}

TEST_CASE("what nobody hears waits for the first follower, or for our end: the latest of it") {
  Scene scene;
  for (int n = 1; n <= 60; ++n) scene.server->tell({"destination.warns", "fact " + std::to_string(n)});
  Client client(scene);
  client.say("{\"v\":1,\"verb\":\"follow\"}\n");
  for (int n = 11; n <= 60; ++n) CHECK((*client.next())["text"] == "fact " + std::to_string(n));
  scene.server->tell({"destination.warns", "heard"});
  CHECK((*client.next())["text"] == "heard");
  client.finish_asking();
  CHECK_FALSE(client.next().has_value());
  scene.server->tell({"destination.warns", "last words"});
  const auto untold = scene.server->take_untold();
  REQUIRE(untold.size() == 1);
  CHECK(untold[0].text == "last words");
  CHECK(scene.server->take_untold().empty());
}

TEST_CASE("who asks for traces hears whether they were kept before") {
  Scene scene;
  scene.span(1);
  scene.config.dev = false;
  scene.observer->on_configuration(scene.config);
  Client client(scene);
  const Json first = client.ask("{\"v\":1,\"verb\":\"traces\"}\n");
  CHECK(first["end"] == true);
  CHECK(first["kept"] == false);
  const Json again = client.ask("{\"v\":1,\"verb\":\"traces\"}\n");  // it has looked since then
  CHECK_FALSE(again.contains("kept"));
}

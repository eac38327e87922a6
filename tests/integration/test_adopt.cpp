// adopt = true: programs that bind by themselves.
#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

constexpr int kReloads = 10;

// Reloads the service under four clients that open a connection for each request.
void reload_under_load(Supervised& up, const std::string& service) {
  HttpLoad load(up.address(service), 4);
  load.wait_more(20);
  for (int i = 0; i < kReloads; ++i) {
    const auto before = up.pids(service);
    const Ran reloaded = up.cli({"reload", service});
    INFO(reloaded.out);
    CHECK(reloaded.status == 0);
    CHECK(up.pids(service) != before);
    load.wait_more(20);
  }
  load.stop();
  for (const auto& [fault, count] : load.faults()) INFO(count << " times " << fault);
  CHECK(load.failed() == 0);
  CHECK(load.done() >= 20 * (kReloads + 1));
}

}  // namespace

TEST_CASE("a program that binds by itself is reloaded under requests, and none is lost") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/t_bind", "tcp4", "bind", "127.0.0.1", "{port}", "listen", "1", "serve"]
listen = "127.0.0.1:0"
adopt = true
)");
  up.start();
  REQUIRE(up.wait_ready());
  reload_under_load(up, "web");
  CHECK(up.service("web")["restarts"] == 0);
}

TEST_CASE("so is one whose wrapper has closed the sockets, and forks it") {
  Supervised up(R"(
[service.web]
command = "@BIN@/t_bind close3 fork tcp6 nonblock bind :: $PORT listen 5 serve; true"
shell = true
listen = "127.0.0.1:0"
adopt = true
)");
  up.start();
  REQUIRE(up.wait_ready());
  reload_under_load(up, "web");
}

TEST_CASE("several workers share what they have bound, and with reuseport each has its own") {
  for (const char* balance : {"shared", "reuseport"}) {
    CAPTURE(balance);
    Supervised up(std::string(R"(
[service.web]
command = ["@BIN@/t_bind", "tcp4", "reuseport", "bind", "127.0.0.1", "{port}", "listen", "1", "serve"]
listen = "127.0.0.1:0"
workers = 3
adopt = true
balance = ")") + balance +
                  "\"\n");
    up.start();
    REQUIRE(up.wait_ready());
    reload_under_load(up, "web");
  }
}

TEST_CASE("a program that cannot be adopted is refused before it is started, and told why") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/runmain-keeper"]
listen = "127.0.0.1:0"
adopt = true
)");
  up.start();
  CHECK(up.wait_output("cannot adopt: "));
  CHECK(up.wait_output("use listen with {fd}, or port"));
  CHECK(up.pids("web").empty());
}

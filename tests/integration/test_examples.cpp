// The examples for pools keep the contract: reloaded under load, they lose no request.
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

// An example's own file, on a free port, with the build's programs and the example's folder named in full.
std::string configuration(const std::string& example, int workers) {
  const std::string folder = std::string(RUNMAIN_SOURCE_DIR) + "/examples/" + example;
  std::ifstream file(folder + "/supervisor.toml");
  std::string toml((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto replace = [&](const std::string& from, const std::string& to) {
    const std::size_t at = toml.find(from);
    if (at != std::string::npos) toml.replace(at, from.size(), to);
    return at != std::string::npos;
  };
  REQUIRE(replace("127.0.0.1:8000", "127.0.0.1:0"));
  REQUIRE(replace("workers = 4", "workers = " + std::to_string(workers)));
  replace("../../build/release/bin/", "@BIN@/");
  return toml + "cwd = \"" + folder + "\"\n";
}

bool installed(const std::string& program) {
  return run({"/bin/sh", "-c", "command -v " + program}).status == 0;
}

void loses_nothing(const std::string& example, const std::string& service) {
  Supervised up(configuration(example, 2));
  up.start();
  std::string why;
  const bool ready = up.wait_ready(&why);
  INFO(why << up.output());
  REQUIRE(ready);
  REQUIRE(up.pids(service).size() == 2);
  HttpLoad each(up.address(service), 2, "/");
  HttpLoad keep(up.address(service), 2, "/", Connections::keep);
  for (int i = 0; i < 3; ++i) {
    const auto before = up.pids(service);
    each.wait_more(20);
    keep.wait_more(20);
    REQUIRE(up.cli({"reload", service}).status == 0);
    for (const pid_t pid : before) CHECK(wait_gone(pid));
  }
  each.wait_more(50);
  keep.wait_more(50);
  each.stop();
  keep.stop();
  for (const auto& [fault, count] : each.faults())
    UNSCOPED_INFO("new connections: " << fault << ": " << count);
  for (const auto& [fault, count] : keep.faults()) UNSCOPED_INFO("keep-alive: " << fault << ": " << count);
  CHECK(each.failed() == 0);
  CHECK(keep.failed() == 0);
  CHECK(up.service(service)["generation"] == 4);
  CHECK(up.service(service)["restarts"] == 0);
  CHECK(up.stop() == 0);
}

}  // namespace

TEST_CASE("the C++ pool loses no request over 3 reloads, with new connections and with kept ones") {
  loses_nothing("pool", "pool");
}

TEST_CASE("the WSGI pool loses no request over 3 reloads, with new connections and with kept ones") {
  REQUIRE(installed("python3"));
  loses_nothing("pool-wsgi", "wsgi");
}

TEST_CASE("the ASGI pool loses no request over 3 reloads, with new connections and with kept ones") {
  REQUIRE(installed("python3"));
  loses_nothing("pool-asgi", "asgi");
}

TEST_CASE("the Node pool loses no request over 3 reloads, with new connections and with kept ones") {
  REQUIRE(installed("node"));
  loses_nothing("pool-node", "node");
}

TEST_CASE("a connection that was accepted and says nothing until the drain is answered, and told to close") {
  for (const char* example : {"pool", "pool-wsgi", "pool-asgi", "pool-node"}) {
    INFO(example);
    // Who has it drains when the reload is over.
    Supervised up(configuration(example, 1) + "roll = { hold_last = \"0s\" }\n");
    up.start();
    REQUIRE(up.wait_ready());
    const std::string service = up.status()["services"][0]["name"].get<std::string>();
    const auto before = up.pids(service);
    const int silent = connect_to(up.address(service));
    REQUIRE(silent >= 0);
    // It was accepted: the one that came after it is answered.
    REQUIRE(get(up.address(service), "/").ok);
    REQUIRE(up.cli({"reload", service}).status == 0);
    const std::string request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    CHECK(send(silent, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
    std::string answer(4096, '\0');
    const ssize_t n = recv(silent, answer.data(), answer.size(), 0);
    close(silent);
    CHECK(n > 0);
    CHECK(answer.starts_with("HTTP/1.1 200"));
    for (const pid_t pid : before) CHECK(wait_gone(pid));
    CHECK(up.stop() == 0);
  }
}

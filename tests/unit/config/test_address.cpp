#include "config/address.hpp"
#include "support/catch.hpp"

using namespace runmain::config;
using runmain::core::AddressKind;
using runmain::core::ListenSpec;

namespace {

ListenSpec good(std::string_view text) {
  CAPTURE(text);
  auto parsed = parse_address(text, "/srv/app");
  REQUIRE(parsed.ok());
  CHECK(parsed->text == text);
  return *parsed;
}

}  // namespace

TEST_CASE("an address is TCP on v4, v6 or both, UDP, or a unix socket by path or name") {
  const auto tcp = [](std::string_view text, const char* host, std::uint16_t port) {
    const ListenSpec listen = good(text);
    CHECK(listen.kind == AddressKind::tcp);
    CHECK(listen.host == host);
    CHECK(listen.port == port);
    CHECK(listen.path.empty());
  };
  tcp("127.0.0.1:8000", "127.0.0.1", 8000);
  tcp("0.0.0.0:1", "0.0.0.0", 1);
  tcp("[::1]:0", "::1", 0);
  tcp("[2001:DB8:0:0::1]:65535", "2001:db8::1", 65535);
  tcp(":8000", "", 8000);
  tcp("localhost:8000", "127.0.0.1", 8000);
  tcp("127.0.0.1:00080", "127.0.0.1", 80);
  CHECK(good("udp:127.0.0.1:53").kind == AddressKind::udp);
  CHECK(good("udp:[::1]:53").host == "::1");
  CHECK(good("udp::53").host.empty());
  CHECK(good("unix:/run/web.sock").path == "/run/web.sock");
  CHECK(good("unix:/run/web.sock").kind == AddressKind::unix_path);
  CHECK(good("unix:run/../web.sock").path == "/srv/app/web.sock");
  CHECK(good("unix:@name").kind == AddressKind::unix_abstract);
  CHECK(good("unix:@name").path == "name");
}

TEST_CASE("a unix path of 107 bytes is the longest that is taken") {
  const std::string path = "/" + std::string(kUnixPathMax - 1, 'a');
  CHECK(good("unix:" + path).path == path);
  CHECK_FALSE(parse_address("unix:" + path + "a", "/").ok());
  CHECK_FALSE(parse_address("unix:" + std::string(100, 'a'), "/srv/app").ok());
  CHECK(good("unix:@" + std::string(kUnixPathMax, 'a')).path.size() == kUnixPathMax);
}

TEST_CASE("two listeners collide where the kernel would not bind both") {
  const auto collide = [](std::string_view a, std::string_view b) {
    const ListenSpec first = good(a);
    const ListenSpec second = good(b);
    const std::vector<Bound> all = {{&first, "one"}, {&second, "two"}};
    const auto found = collisions(all);
    if (!found.empty()) {
      CHECK(found[0].first == &all[0]);
      CHECK(found[0].second == &all[1]);
    }
    return !found.empty();
  };
  CHECK(collide("127.0.0.1:80", "127.0.0.1:80"));
  CHECK(collide(":80", "127.0.0.1:80"));
  CHECK(collide("[::1]:80", ":80"));
  CHECK(collide("0.0.0.0:80", "127.0.0.1:80"));
  CHECK(collide("[::1]:80", "[::]:80"));
  CHECK(collide("unix:/a", "unix:/b/../a"));
  CHECK(collide("udp::53", "udp:127.0.0.1:53"));
  CHECK_FALSE(collide("127.0.0.1:80", "127.0.0.2:80"));
  CHECK_FALSE(collide("127.0.0.1:80", "127.0.0.1:81"));
  CHECK_FALSE(collide("0.0.0.0:80", "[::]:80"));
  CHECK_FALSE(collide("127.0.0.1:0", "127.0.0.1:0"));
  CHECK_FALSE(collide("127.0.0.1:53", "udp:127.0.0.1:53"));
  CHECK_FALSE(collide("unix:/a", "unix:@/a"));
}

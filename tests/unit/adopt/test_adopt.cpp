// librunmain_adopt.so in a program that binds by itself.
#include <sys/socket.h>

#include "adopted.hpp"
#include "support/catch.hpp"

using namespace adopted;

namespace {

const std::string kInUse = "bind Address already in use 98\n";

std::string cookie_line(const Listener& l) { return "cookie " + l.cookie() + "\n"; }

}  // namespace

TEST_CASE("without the library a program cannot bind what we hold: the tests below can fail") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}, false};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text()}) == kInUse);
}

TEST_CASE("bind puts our listener in the place of the program's socket") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "cookie"}) ==
        "bind 0\n" + cookie_line(web));
}

TEST_CASE("listen and shutdown of ours do nothing, and say that they have worked") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "listen", "1", "shutdown"}) ==
        "bind 0\nlisten 0\nshutdown 0\n");
  CHECK(web.is_listening());
  CHECK(web.backlog() == 100);
}

TEST_CASE("errno is as it was where we have taken the call") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "errno", "listen", "1", "errno", "shutdown",
                    "errno"}) == "bind 0\nerrno 4711\nlisten 0\nerrno 4711\nshutdown 0\nerrno 4711\n");
}

TEST_CASE("close-on-exec is as the program has it, and so is O_NONBLOCK that it has turned on") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "flags"}) ==
        "bind 0\nflags cloexec=0 nonblock=0\n");
  CHECK(run(world, {"tcp4", "cloexec", "bind", "127.0.0.1", web.port_text(), "flags"}) ==
        "bind 0\nflags cloexec=1 nonblock=0\n");
  CHECK_FALSE(web.is_nonblocking());
  CHECK(run(world, {"tcp4", "nonblock", "bind", "127.0.0.1", web.port_text(), "flags"}) ==
        "bind 0\nflags cloexec=0 nonblock=1\n");
  CHECK(web.is_nonblocking());
}

TEST_CASE("O_NONBLOCK of a listener is never taken away: an older generation may be about to accept") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  run(world, {"tcp4", "nonblock", "bind", "127.0.0.1", web.port_text()});
  REQUIRE(web.is_nonblocking());
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "flags"}) ==
        "bind 0\nflags cloexec=0 nonblock=1\n");
}

TEST_CASE("what connections inherit of a listener is as the program has asked for it") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "inherits"}) ==
        "bind 0\ninherits nodelay=0 keepalive=0\n");
  CHECK(run(world, {"tcp4", "nodelay", "keepalive", "bind", "127.0.0.1", web.port_text(), "inherits"}) ==
        "bind 0\ninherits nodelay=1 keepalive=1\n");
}

TEST_CASE("other ports, other types and sockets that have an address are the program's own") {
  const Listener web("127.0.0.1");
  const Listener other("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", other.port_text()}) == kInUse);
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", "0", "listen", "5", "shutdown"}) ==
        "bind 0\nlisten 0\nshutdown 0\n");
  CHECK(run(world, {"udp4", "bind", "127.0.0.1", web.port_text(), "shutdown"}) ==
        "bind 0\nshutdown Transport endpoint is not connected 107\n");
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", "0", "bind", "127.0.0.1", web.port_text()}) ==
        "bind 0\nbind Invalid argument 22\n");
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text(), "bind", "127.0.0.1", web.port_text()}) ==
        "bind 0\nbind Invalid argument 22\n");
  CHECK(run(world, {"bind", "127.0.0.1", web.port_text()}) == "bind Bad file descriptor 9\n");
}

TEST_CASE("a host that is neither ours nor covered by ours is the program's own") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.2", web.port_text(), "listen", "5"}) == "bind 0\nlisten 0\n");
  CHECK(run(world, {"tcp4", "bind", "127.0.0.2", web.port_text(), "cookie"}) !=
        "bind 0\n" + cookie_line(web));
}

TEST_CASE("all addresses mean the port, of either family; loopback is one, whatever its family") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  const std::string adopted = "bind 0\n" + cookie_line(web);
  CHECK(run(world, {"tcp4", "bind", "0.0.0.0", web.port_text(), "cookie"}) == adopted);
  CHECK(run(world, {"tcp6", "bind", "::", web.port_text(), "cookie"}) == adopted);
  CHECK(run(world, {"tcp6", "v6only", "bind", "::", web.port_text(), "cookie"}) == adopted);
  CHECK(run(world, {"tcp6", "bind", "::1", web.port_text(), "cookie"}) == adopted);
  CHECK(run(world, {"tcp6", "bind", "::ffff:127.0.0.1", web.port_text(), "cookie"}) == adopted);
}

TEST_CASE("a listener of all addresses covers each of them; one of IPv6 alone none of IPv4") {
  const Listener both("::");
  World world{{&both}, {}, {}};
  const std::string adopted = "bind 0\n" + cookie_line(both);
  for (const char* host : {"0.0.0.0", "127.0.0.1", "127.0.0.9", "10.1.2.3"}) {
    CAPTURE(host);
    CHECK(run(world, {"tcp4", "bind", host, both.port_text(), "cookie"}) == adopted);
  }
  for (const char* host : {"::", "::1", "fe80::7"}) {
    CAPTURE(host);
    CHECK(run(world, {"tcp6", "bind", host, both.port_text(), "cookie"}) == adopted);
  }
  const Listener v6("::", SOCK_STREAM, true);
  World only{{&v6}, {}, {}};
  CHECK(run(only, {"tcp4", "bind", "10.1.2.3", v6.port_text()}) ==
        "bind Cannot assign requested address 99\n");
  const Listener v4("0.0.0.0");
  World old{{&v4}, {}, {}};
  CHECK(run(old, {"tcp4", "bind", "127.0.0.1", v4.port_text(), "cookie"}) == "bind 0\n" + cookie_line(v4));
  CHECK(run(old, {"tcp6", "bind", "::1", v4.port_text(), "cookie"}) == "bind 0\n" + cookie_line(v4));
}

TEST_CASE("a program that binds one port twice has our listener twice") {
  const Listener both("::");
  World world{{&both}, {}, {}};
  CHECK(run(world, {"tcp4", "reuseport", "bind", "0.0.0.0", both.port_text(), "cookie", "tcp6", "v6only",
                    "bind", "::", both.port_text(), "cookie"}) ==
        "bind 0\n" + cookie_line(both) + "bind 0\n" + cookie_line(both));
}

TEST_CASE("of several listeners each address finds its own") {
  const Listener a("127.0.0.1");
  const Listener b("127.0.0.1");
  const Listener name("127.0.0.1", SOCK_DGRAM);
  World world{{&a, &b, &name}, {}, {}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", b.port_text(), "cookie", "tcp4", "bind", "127.0.0.1",
                    a.port_text(), "cookie", "udp4", "bind", "127.0.0.1", name.port_text(), "cookie"}) ==
        "bind 0\n" + cookie_line(b) + "bind 0\n" + cookie_line(a) + "bind 0\n" + cookie_line(name));
}

TEST_CASE("a fork and a duplicate are adopted, and known as ours") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  const std::string port = web.port_text();
  CHECK(run(world, {"fork", "tcp4", "bind", "127.0.0.1", port, "cookie"}) == "bind 0\n" + cookie_line(web));
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", port, "fork", "listen", "1", "shutdown"}) ==
        "bind 0\nlisten 0\nshutdown 0\n");
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", port, "dup", "listen", "1", "shutdown"}) ==
        "bind 0\nlisten 0\nshutdown 0\n");
  CHECK(run(world, {"again", "tcp4", "bind", "127.0.0.1", port, "cookie"}) == "bind 0\n" + cookie_line(web));
  CHECK(web.is_listening());
  CHECK(web.backlog() == 100);
}

TEST_CASE(
    "an environment that is cleared after the start takes nothing away; a program that it starts is alone") {
  const Listener web("127.0.0.1");
  World world{{&web}, {}, {}};
  CHECK(run(world, {"clear", "tcp4", "bind", "127.0.0.1", web.port_text(), "cookie"}) ==
        "bind 0\n" + cookie_line(web));
  CHECK(run(world, {"clear", "again", "tcp4", "bind", "127.0.0.1", web.port_text()}) == kInUse);
}

TEST_CASE("who has not inherited the listener asks the channel for it, and only when it binds") {
  const Listener web("127.0.0.1");
  const Listener other("127.0.0.1");
  {
    Channel channel({other.fd(), web.fd()});
    World world{{&web}, channel.name(), {}};
    CHECK(run(world, {"close3", "tcp4", "bind", "127.0.0.1", web.port_text(), "cookie"}) ==
          "bind 0\n" + cookie_line(web));
    CHECK(channel.asked().rfind(
              "{\"v\":1,\"sockets\":{\"nonce\":\"00112233445566778899aabbccddeeff\",\"pid\":", 0) == 0);
  }
  Channel untouched({web.fd()});
  World world{{&web}, untouched.name(), {}};
  CHECK(run(world, {"close3", "tcp4", "bind", "127.0.0.1", "0", "listen", "5"}) == "bind 0\nlisten 0\n");
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text()}) == "bind 0\n");
  CHECK(untouched.asked().empty());
}

TEST_CASE("a channel that gives nothing, another socket or no answer at all leaves the real bind") {
  const Listener web("127.0.0.1");
  const Listener other("127.0.0.1");
  const std::vector<std::string> words{"close3", "tcp4", "bind", "127.0.0.1", web.port_text()};
  Channel empty({});
  CHECK(run({{&web}, empty.name(), {}}, words) == kInUse);
  Channel wrong({other.fd()});
  CHECK(run({{&web}, wrong.name(), {}}, words) == kInUse);
  CHECK(run({{&web}, "@runmain-test-adopt/nobody", {}}, words) == kInUse);
  CHECK(run({{&web}, {}, {}}, words) == kInUse);
}

TEST_CASE("a nonce that was wiped asks nobody") {
  const Listener web("127.0.0.1");
  Channel channel({web.fd()});
  World world{{&web}, channel.name(), {"RUNMAIN_TOKEN=1:web:0:1:--------------------------------:1"}};
  CHECK(run(world, {"close3", "tcp4", "bind", "127.0.0.1", web.port_text()}) == kInUse);
  CHECK(channel.asked().empty());
}

TEST_CASE("what cannot be understood adopts nothing and hurts nobody") {
  const Listener web("127.0.0.1");
  const std::string port = web.port_text();
  const std::string long_text(100'000, 'x');
  for (const std::string& line :
       {std::string("RUNMAIN_ADOPT="), std::string("RUNMAIN_ADOPT=:"), std::string("RUNMAIN_ADOPT=,,,,"),
        std::string("RUNMAIN_ADOPT=unix:/run/a.sock"), "RUNMAIN_ADOPT=127.0.0.1:" + port + "0000",
        std::string("RUNMAIN_ADOPT=127.0.0.1:-1"), "RUNMAIN_ADOPT=[127.0.0.1:" + port,
        "RUNMAIN_ADOPT=" + long_text, "RUNMAIN_ADOPT_COOKIES=" + long_text,
        std::string("RUNMAIN_ADOPT_COOKIES="), std::string("RUNMAIN_ADOPT_COOKIES=0"),
        std::string("RUNMAIN_ADOPT_COOKIES=zz"), std::string("RUNMAIN_ADOPT_COOKIES=ffffffffffffffffffff")}) {
    CAPTURE(line.substr(0, 60));
    World world{{&web}, {}, {line}};
    CHECK(run(world, {"tcp4", "bind", "127.0.0.1", port}) == kInUse);
  }
}

TEST_CASE("more listeners than there is room for: the first ones are adopted") {
  std::vector<Listener> all;
  World world;
  for (int i = 0; i < 50; ++i) all.emplace_back("127.0.0.1");
  for (const Listener& l : all) world.listeners.push_back(&l);
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", all[47].port_text(), "cookie"}) ==
        "bind 0\n" + cookie_line(all[47]));
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", all[48].port_text()}) == kInUse);
}

TEST_CASE("beside a sanitizer's library ours does nothing") {
  const Listener web("127.0.0.1");
  const std::string preload =
      std::string("LD_PRELOAD=") + RUNMAIN_BIN_DIR + "/librunmain_adopt.so:/nowhere/libasan.so.8";
  World world{{&web}, {}, {preload}};
  CHECK(run(world, {"tcp4", "bind", "127.0.0.1", web.port_text()}) == kInUse);
}

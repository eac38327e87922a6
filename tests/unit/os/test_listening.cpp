#include <unistd.h>

#include <algorithm>

#include "os/linux/listening.hpp"
#include "os/linux/sockets.hpp"
#include "os_help.hpp"
#include "socket_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

constexpr const char* kHeadline =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
constexpr const char* kRest = " 00000000:00000000 00:00000000 00000000  1000        0 ";

// "ADDRESS INODE, …" of one line of the table.
std::string parsed(const std::string& line) {
  std::string text;
  for (const Listening& l : parse_listening(kHeadline + line))
    text += (text.empty() ? "" : ", ") + l.address + " " + std::to_string(l.inode);
  return text;
}

std::string where(std::uint64_t inode) {
  for (const Listening& l : listening_sockets({::getpid()})) {
    if (l.inode == inode) return l.address;
  }
  return "nowhere";
}

}  // namespace

TEST_CASE("listeners in the kernel's tables, and nothing else in them") {
  const std::string rest = kRest;
  CHECK(parsed("   0: 0100007F:0BB8 00000000:0000 0A" + rest + "4711 1 ffff 100 0 0 10 0\n") ==
        "127.0.0.1:3000 4711");
  CHECK(parsed("   0: 00000000:0050 00000000:0000 0A" + rest + "1 1 x\n") == "0.0.0.0:80 1");
  CHECK(parsed("  10: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A" + rest +
               "2 1\n") == ":3000 2");
  CHECK(parsed("  10: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A" + rest +
               "3 1\n") == "[::1]:3000 3");
  CHECK(parsed("   0: 0100007F:0BB8 0100007F:8000 01" + rest + "5 1\n").empty());  // a connection
  for (const char* bad :
       {"", "\n\n", "   0:", "   0: 0100007F:0000 00000000:0000 0A", "0: : : 0A",
        "0: 0100007F:FFFFF 0:0 0A 0:0 0:0 0 0 0 7\n", "0: 7F:0050 0:0 0A 0:0 0:0 0 0 0 7\n"}) {
    INFO(bad);
    CHECK(parsed(bad).empty());
  }
  CHECK(parse_listening("").empty());
}

TEST_CASE("a process listens where its sockets do, until they are closed") {
  auto listener = open_listener(tcp("127.0.0.1"));
  REQUIRE(listener.ok());
  CHECK(where(listener->inode) == listener->bound);
  const UniqueFd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(where(inode_of(bound.get())) == "nowhere");
  listener->fd.reset();
  CHECK(where(listener->inode) == "nowhere");
  CHECK(listening_sockets({}).empty());
  CHECK(listening_sockets({1 << 22}).empty());
}

TEST_CASE("what somebody else has, too, can be left out") {
  const auto one = open_listener(tcp("127.0.0.1"));
  REQUIRE(one.ok());
  const auto has = [&] {
    const auto all = listening_sockets({::getpid()}, {::getpid()});
    return std::any_of(all.begin(), all.end(), [&](const Listening& l) { return l.inode == one->inode; });
  };
  CHECK(where(one->inode) == one->bound);
  CHECK_FALSE(has());
}

TEST_CASE("what listens on every address is told without one") {
  if (!has_v6()) return skip("no IPv6 here");
  const auto listener = open_listener(tcp(""));
  REQUIRE(listener.ok());
  CHECK(where(listener->inode) == ":" + std::to_string(port_of(*listener)));
}

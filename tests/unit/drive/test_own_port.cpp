// The port of a worker that binds by itself, where runmain chooses it.
#include <unistd.h>

#include <cerrno>

#include "drive/launch.hpp"
#include "os/linux/sockets.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

TEST_CASE("the port of a slot is looked at when it is used, and who has it is named") {
  core::ServiceSpec spec;
  CHECK(check_own_port(spec, 3, 40000));  // it binds nothing by itself
  spec.port = 0;
  const auto taken = os::open_listener({os::AddressKind::tcp, "127.0.0.1", 0, {}});
  REQUIRE(taken);
  const std::uint16_t port = os::port_of(*taken);
  const auto refused = check_own_port(spec, 2, static_cast<std::uint16_t>(port - 2));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == EADDRINUSE);
  CHECK(refused.error().message.find("port " + std::to_string(port) + " of worker 2 is in use by pid " +
                                     std::to_string(getpid())) == 0);
  const auto free = pick_ports(1);
  REQUIRE(free);
  CHECK(check_own_port(spec, 0, *free));
  const auto beyond = check_own_port(spec, 9, 65530);
  REQUIRE_FALSE(beyond);
  CHECK(beyond.error().message.find("no port of worker 9") != std::string::npos);
  spec.port = port;  // said by the user: the program may share it
  CHECK(check_own_port(spec, 2, 0));
}

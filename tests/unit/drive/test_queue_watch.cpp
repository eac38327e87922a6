#include "drive/queue_watch.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drive/service_table.hpp"
#include "os/linux/sockets.hpp"
#include "readiness_support.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

const ChildKey kOne{ServiceId{1}, 0, 1, 1};
const ChildKey kTwo{ServiceId{1}, 1, 1, 1};
constexpr Duration kQuiet = std::chrono::milliseconds(100);

os::UniqueFd connected(const os::Listener& listener) {
  os::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(connect(fd.get(), reinterpret_cast<const sockaddr*>(&listener.name), listener.name_size) == 0);
  return fd;
}

ServiceEntry entry_with(core::Balance balance) {
  ServiceEntry entry;
  entry.spec.name = "web";
  entry.spec.balance = balance;
  core::ListenSpec tcp;
  core::ListenSpec udp;
  udp.kind = core::AddressKind::udp;
  entry.listeners = {{"a", "http", "127.0.0.1:80", is_per_slot(entry.spec, tcp)},
                     {"b", "dns", "udp:127.0.0.1:53", is_per_slot(entry.spec, udp)}};
  return entry;
}

}  // namespace

TEST_CASE("a queue is empty when the last who waited in it was accepted, and not before") {
  os::Loop loop;
  const os::Listener own = test::listener();
  const os::Listener other = test::listener();
  const os::UniqueFd first = connected(own);
  const os::UniqueFd second = connected(own);
  const os::UniqueFd elsewhere = connected(other);
  std::vector<ChildKey> told;
  QueueWatch watch(loop, [&](const ChildKey& key) {
    told.push_back(key);
    loop.stop();
  });
  const Time begun = os::Loop::now();
  watch.start(kOne, {own.inode}, kQuiet);
  int accepted = 0;
  const auto accepts = loop.timer([&] {
    CHECK(told.empty());
    os::UniqueFd(accept(own.fd.get(), nullptr, nullptr));
    ++accepted;
  });
  const auto accepts_again = loop.timer([&] {
    CHECK(told.empty());
    os::UniqueFd(accept(own.fd.get(), nullptr, nullptr));
    ++accepted;
  });
  accepts->set(begun + 3 * kQueueLook);
  accepts_again->set(begun + 2 * kQuiet);
  loop.run();
  CHECK(accepted == 2);
  CHECK(told == std::vector<ChildKey>{kOne});
  CHECK(os::Loop::now() - begun >= 3 * kQuiet);
  CHECK(watch.jobs() == 0);
}

TEST_CASE("who has no sockets of its own is answered at once, but never from inside") {
  os::Loop loop;
  std::vector<ChildKey> told;
  QueueWatch watch(loop, [&](const ChildKey& key) {
    told.push_back(key);
    loop.stop();
  });
  const Time begun = os::Loop::now();
  watch.start(kOne, {}, kQuiet);
  CHECK(told.empty());
  loop.run();
  CHECK(told == std::vector<ChildKey>{kOne});
  CHECK(os::Loop::now() - begun < kQuiet);
}

TEST_CASE("what nobody tells of is empty; who is forgotten is not told of") {
  os::Loop loop;
  const os::Listener own = test::listener();
  const os::UniqueFd waits = connected(own);
  std::vector<ChildKey> told;
  QueueWatch watch(loop, [&](const ChildKey& key) {
    told.push_back(key);
    loop.stop();
  });
  watch.start(kOne, {own.inode}, kQuiet);
  watch.start(kTwo, {~0ULL}, kQuiet);
  watch.stop(kOne);
  loop.run();
  CHECK(told == std::vector<ChildKey>{kTwo});
}

TEST_CASE("with a socket for each slot a worker gets its own of TCP, and the one of UDP that all share") {
  const ServiceEntry entry = entry_with(core::Balance::reuseport);
  const auto listeners = listeners_of(entry, 3);
  REQUIRE(listeners.size() == 2);
  CHECK(listeners[0].id == "a#3");
  CHECK(listeners[1].id == "b");
  CHECK(listeners_of(entry_with(core::Balance::shared), 3)[0].id == "a");
}

TEST_CASE("a service that waits for a change has one socket, because it has one stand-in") {
  core::ServiceSpec spec;
  spec.balance = core::Balance::reuseport;
  CHECK(is_per_slot(spec, core::ListenSpec{}));
  spec.await_change = true;
  CHECK_FALSE(is_per_slot(spec, core::ListenSpec{}));
}

TEST_CASE("a socket that was shut down is its service's, and a slot's where it has one") {
  ServiceTable table;
  table.at(ServiceId{5}) = entry_with(core::Balance::reuseport);
  table.at(ServiceId{6}) = entry_with(core::Balance::shared);
  table.at(ServiceId{6}).listeners[0].id = "a#b";
  const auto own = table.owner_of("a#12");
  CHECK(own.service == ServiceId{5});
  CHECK(own.slot == 12);
  CHECK(own.bound == "127.0.0.1:80");
  CHECK(table.owner_of("b").slot == kNoSlot);
  CHECK(table.owner_of("nobody's").service == kNoService);
}

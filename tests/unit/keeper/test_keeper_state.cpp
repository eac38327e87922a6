// What a keeper hands on in an upgrade, as bytes. That it goes on with it is seen in
// tests/integration/test_upgrade.
#include "keeper/keeper_state.hpp"

#include "base/named_archive.hpp"
#include "keeper/board.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::keeper;

namespace {

KeeperState sample() {
  KeeperState s;
  s.version = state_version();
  s.protocol = kProtocolVersion;
  s.secret = std::string(16, 'k');
  s.executed = 42;
  s.state = 200;
  s.control = 201;
  s.head = {"/usr/libexec/runmain/runmain-supervisor", "--config", "/srv/x.toml"};
  s.streams.layout = kBoardLayout;
  s.streams.board = 202;
  s.streams.streams.push_back({1, 203, 5, true, true, false, "typed"});
  ChildState child;
  child.key = {ServiceId{1}, 2, 3, 4};
  child.pid = child.first_pid = 4711;
  child.alive = child.leader_alive = true;
  child.listeners = {"web|127.0.0.1:0"};
  child.notify = 204;
  s.children.children.push_back(child);
  s.children.killed.emplace_back(77, Time(std::chrono::seconds(9)));
  s.happenings.last = 8;
  s.happenings.items.push_back({8, Died{child.key, 4710, 9, true}, {205}});
  return s;
}

Result<KeeperState> loaded(const std::string& bytes) {
  auto memory = os::make_memfd("state", 0);
  REQUIRE(memory);
  REQUIRE(os::pwrite_all(memory->get(), bytes, 0));
  return load_state(memory->get());
}

std::string fault_of(const KeeperState& state) {
  const auto read = loaded(to_named(state));
  return read ? "" : read.error().text();
}

}  // namespace

TEST_CASE("a keeper's state is read as it was stored, and names each of its fds once") {
  auto memory = store_state(sample());
  REQUIRE(memory);
  const auto read = load_state(memory->get());
  REQUIRE(read);
  CHECK(to_named(*read) == to_named(sample()));
  CHECK(fds_of(*read) == std::vector<int>{200, 201, 202, 203, 204, 205});
  CHECK(std::get<Died>(read->happenings.items[0].what).status == 9);
  CHECK(read->children.killed[0].second == Time(std::chrono::seconds(9)));
}

TEST_CASE("a keeper's state that is torn, from afar or not whole is refused with the reason") {
  const std::string bytes = to_named(sample());
  for (std::size_t size = 0; size < bytes.size(); size += 3) REQUIRE_FALSE(loaded(bytes.substr(0, size)));
  KeeperState state = sample();
  state.version = state_version() + 2;
  CHECK(fault_of(state).find("is of version " + std::to_string(state_version() + 2)) != std::string::npos);
  state.version = state_version() + 1;
  CHECK(fault_of(state).empty());
  state.streams.layout = kBoardLayout + 1;
  CHECK(fault_of(state).find("of layout") != std::string::npos);
  state = sample();
  state.head.clear();
  CHECK(fault_of(state) == "the keeper's state makes no sense");
}

// Clients that are silent, slow, rude or many.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fake_backend.hpp"
#include "support/catch.hpp"

namespace runmain::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

bool serves(World& world) {
  Peer peer(world);
  return peer.ask("ping") && peer.line().contains("ok");
}

int open_fds() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST_CASE("garbage is answered with an error and the connection ends") {
  const std::string cases[] = {"hello\n",
                               "\n",
                               "[]\n",
                               "{\n",
                               std::string("\0\xff\xfe\n", 4),
                               "{\"v\":1}\n",
                               "\x16\x03\x01\x02\n",
                               "GET / HTTP/1.1\r\n"};
  World world;
  for (const std::string& bytes : cases) {
    Peer peer(world);
    REQUIRE(peer.send(bytes));
    CHECK(peer.line()["error"]["code"] == "bad_request");
    CHECK(peer.hung_up());
  }
  CHECK(world.server.counters().bad_requests == std::size(cases));
  CHECK(serves(world));
}

std::string nested(std::size_t depth) {
  return R"({"v":1,"id":1,"verb":"ping","args":)" + std::string(depth, '[') + std::string(depth, ']') + "}\n";
}

TEST_CASE("nesting has a limit, and as many brackets as a line can hold do no harm") {
  World world;
  Peer good(world);
  REQUIRE(good.send(nested(kNestingMax - 1)));
  CHECK(good.line().contains("ok"));
  for (const std::string& bytes :
       {nested(kNestingMax + 1), nested(30'000), std::string(kRequestMax - 1, '[') + "\n"}) {
    Peer bad(world);
    REQUIRE(bad.send(bytes));
    CHECK(bad.line()["error"]["code"] == "bad_request");
  }
}

TEST_CASE("a line as long as the limit is read, a longer one ends the connection") {
  World world;
  const std::string head = R"({"v":1,"id":1,"verb":"ping","x":")";
  const std::string tail = "\"}";
  Peer good(world);
  REQUIRE(good.send(head + std::string(kRequestMax - head.size() - tail.size(), 'a') + tail + "\n"));
  CHECK(good.line().contains("ok"));
  Peer bad(world);
  bad.send(std::string(kRequestMax + 1, 'a'));
  CHECK(bad.line()["error"]["code"] == "bad_request");
  CHECK(bad.hung_up());
}

TEST_CASE("half a request and then silence ends at the deadline, not before") {
  Limits limits;
  limits.request = milliseconds(60);
  World world(limits);
  const Time start = os::Loop::now();
  Peer half(world);
  Peer silent(world);
  REQUIRE(half.send(R"({"v":1,)"));
  CHECK(half.hung_up());
  CHECK(os::Loop::now() - start >= limits.request);
  CHECK(silent.hung_up());
  CHECK(world.server.counters().timed_out == 2);
  CHECK(world.server.clients() == 0);
}

TEST_CASE("a client that trickles bytes does not put the deadline off") {
  Limits limits;
  limits.request = milliseconds(100);
  World world(limits);
  Peer peer(world);
  REQUIRE(peer.send("{"));
  const Time start = os::Loop::now();
  while (os::Loop::now() - start < seconds(20) && peer.send(" ")) world.loop.turn(milliseconds(5));
  CHECK(peer.hung_up());
  CHECK(world.server.counters().timed_out == 1);
}

TEST_CASE("an idle client is let go, one that waits for an answer is not") {
  Limits limits;
  limits.idle = milliseconds(50);
  limits.request = milliseconds(50);
  World world(limits);
  Peer busy(world);
  REQUIRE(busy.ask("restart"));
  Peer idle(world);
  REQUIRE(idle.ask("ping"));
  CHECK(idle.line().contains("ok"));
  CHECK(idle.hung_up());
  CHECK(world.server.clients() == 1);
  world.server.answered(1, "");
  CHECK(busy.line().contains("ok"));
}

TEST_CASE("a reader that stops in the middle of an answer is let go") {
  Limits limits;
  limits.stalled = milliseconds(50);
  World world(limits);
  for (std::uint32_t i = 0; i < 20'000; ++i)
    world.backend.state.services.push_back(
        service_view(i, "s" + std::to_string(i), core::ServiceState::ready));
  Peer slow(world);
  REQUIRE(slow.ask("status"));
  REQUIRE(world.until([&] { return world.server.counters().timed_out == 1; }));
  CHECK(world.server.clients() == 0);
}

TEST_CASE("a stopped reader of logs misses lines, is told how many, and nobody waits") {
  World world;
  Peer slow(world);
  REQUIRE(slow.ask("logs", R"({"follow":true,"lines":0})"));
  REQUIRE(serves(world));
  const std::string text(1000, 'x');
  constexpr std::uint64_t kLines = 20'000;  // 20 MB
  for (std::uint64_t i = 0; i < kLines; ++i) {
    world.server.log_line(log_line_of(text));
    if (i % 1000 == 0) world.loop.turn(milliseconds(0));
  }
  const std::uint64_t skipped = world.server.counters().lines_skipped;
  CHECK(skipped > kLines / 2);
  CHECK(world.server.clients() == 1);
  std::uint64_t seen = 0;
  std::uint64_t told = 0;
  while (seen + told < kLines) {
    const Json line = slow.line();
    REQUIRE(line.is_object());
    if (line["item"].contains("skipped")) {
      told += line["item"]["skipped"].get<std::uint64_t>();
    } else {
      ++seen;
    }
  }
  CHECK(told == skipped);
  CHECK(seen == kLines - skipped);
  world.server.log_line(log_line_of("after"));
  CHECK(slow.line()["item"]["text"] == "after");
}

TEST_CASE("lines that come while old ones are still on their way stay in order") {
  World world;
  const std::string pad(1000, 'x');
  for (int i = 0; i < 1000; ++i) world.backend.lines.push_back(log_line_of(std::to_string(i) + pad));
  Peer peer(world);
  REQUIRE(peer.ask("logs", R"({"follow":true,"lines":1000})"));
  REQUIRE(serves(world));
  for (int i = 1000; i < 1100; ++i) world.server.log_line(log_line_of(std::to_string(i) + pad));
  const int first = std::stoi(peer.line()["item"]["text"].get<std::string>());
  for (int i = first + 1; i < 1100; ++i) {
    const Json line = peer.line();
    REQUIRE(line["item"]["text"].get<std::string>() == std::to_string(i) + pad);
  }
}

TEST_CASE("a stopped reader of events is dropped and counted") {
  World world;
  Peer slow(world);
  REQUIRE(slow.ask("events", R"({"follow":true})"));
  REQUIRE(serves(world));
  core::Fact fact;
  fact.text = std::string(1000, 'x');
  for (int i = 0; i < 5000 && world.server.counters().followers_dropped == 0; ++i)
    world.server.fact(fact, "web");
  CHECK(world.server.counters().followers_dropped == 1);
  CHECK(world.until([&] { return world.server.clients() == 0; }));
}

TEST_CASE("a fact that drops its follower in the middle of that client's own command is harmless") {
  World world;
  core::Fact fact;
  fact.text = std::string(1000, 'x');
  Peer follower(world);
  REQUIRE(follower.ask("events", R"({"follow":true})"));
  REQUIRE(serves(world));
  world.backend.on_command = [&](std::uint64_t request) {
    for (int i = 0; i < 5000; ++i) world.server.fact(fact, "web");
    world.server.changed();
    world.server.answered(request, "");
  };
  Peer peer(world);
  REQUIRE(peer.ask("restart"));
  CHECK(peer.line().contains("ok"));
  CHECK(world.server.counters().followers_dropped == 1);
}

TEST_CASE("a client that asks on and on without reading is let go") {
  World world;
  Peer rude(world);
  REQUIRE(rude.ask("logs", R"({"follow":true})"));
  std::string flood;
  while (flood.size() < 4 * kRequestMax)
    flood += R"({"v":1,"id":1,"verb":"ping"})"
             "\n";
  rude.send(flood);
  CHECK(rude.hung_up());
  CHECK(serves(world));
}

TEST_CASE("thousands of connects leave room for one who asks") {
  World world;
  std::vector<os::UniqueFd> crowd;
  std::size_t made = 0;
  for (int i = 0; i < 3000; ++i) {
    os::UniqueFd fd = connect_to(world.path);
    if (fd) ++made;
    if (i % 10 == 0) crowd.push_back(std::move(fd));
    if (i % 50 == 0) world.loop.turn(milliseconds(0));
  }
  CHECK(made > kClientsMax);
  CHECK(serves(world));
  CHECK(world.server.clients() <= kClientsMax);
}

TEST_CASE("clients that all wait for something fill the server, and the next is told so") {
  World world;
  std::vector<std::unique_ptr<Peer>> followers;
  for (std::size_t i = 0; i < kClientsMax; ++i) {
    followers.push_back(std::make_unique<Peer>(world));
    REQUIRE(followers.back()->ask("logs", R"({"follow":true})"));
  }
  // Each is known to be followed once it has got a line.
  REQUIRE(world.until([&] {
    if (world.server.clients() < kClientsMax) return false;
    world.server.log_line(log_line_of("x"));
    world.loop.turn(milliseconds(0));
    return std::all_of(followers.begin(), followers.end(), [](const auto& f) { return f->has_line(); });
  }));
  Peer late(world);
  CHECK(late.line()["error"]["code"] == "busy");
  CHECK(late.hung_up());
  CHECK(world.server.counters().refused_full == 1);
  followers.pop_back();
  CHECK(world.until([&] { return world.server.clients() < kClientsMax; }));
  CHECK(serves(world));
}

TEST_CASE("followers that vanish are noticed though nothing is printed") {
  World world;
  {
    Peer gone(world);
    REQUIRE(gone.ask("logs", R"({"follow":true})"));
    REQUIRE(serves(world));
  }
  CHECK(world.until([&] { return world.server.clients() == 0; }));
  Peer half(world);
  REQUIRE(half.ask("logs", R"({"follow":true})"));
  shutdown(half.fd(), SHUT_WR);
  REQUIRE(serves(world));
  CHECK(world.until([&] { return world.server.clients() == 1; }));
  half.close();
  core::Fact fact;
  fact.type = core::FactType::child_exited;
  // As at each turn of a head that has something to do: it puts nothing off.
  CHECK(world.until([&] {
    world.server.fact(fact, "web");
    world.server.flush();
    return world.server.clients() == 0;
  }));
}

TEST_CASE("without a free fd accepting pauses, and goes on when there is one") {
  Limits limits;
  limits.accept_pause = milliseconds(30);
  World world(limits);
  Peer peer(world);
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
  rlimit tight = old;
  tight.rlim_cur = 0;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &tight) == 0);
  const bool failed = world.until([&] { return world.server.counters().accept_failed >= 2; });
  const std::uint64_t tries = world.server.counters().accept_failed;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
  CHECK(failed);
  CHECK(tries == 2);
  REQUIRE(peer.ask("ping"));
  CHECK(peer.line().contains("ok"));
}

TEST_CASE("a client of another user is hung up on without an answer") {
  if (geteuid() != 0) {
    WARN("needs root to become another user");
    return;
  }
  World world;
  chmod(world.folder.path().c_str(), 0711);
  chmod(world.path.c_str(), 0666);
  const pid_t child = fork();
  if (child == 0) {
    if (setresuid(65534, 65534, 65534) != 0) _exit(3);
    const os::UniqueFd fd = connect_to(world.path);
    pollfd p{fd.get(), POLLIN, 0};
    char byte = 0;
    const bool eof = fd && poll(&p, 1, 20'000) == 1 && recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0;
    _exit(eof ? 0 : 1);
  }
  REQUIRE(world.until([&] { return world.server.counters().refused_uid == 1; }));
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(world.server.clients() == 0);
}

TEST_CASE("a server leaves no fd behind") {
  { const World first; }  // libuv opens two fds for the whole process
  const int before = open_fds();
  {
    World world;
    Peer peer(world);
    REQUIRE(peer.ask("logs", R"({"follow":true})"));
    REQUIRE(serves(world));
  }
  CHECK(open_fds() == before);
}

}  // namespace
}  // namespace runmain::control

// runmain-observer as a keeper has it: the built program, with a socket as its fd 3.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/archive.hpp"
#include "keeper/observer_messages.hpp"
#include "observer_scene.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

class Keeper {
 public:
  ~Keeper() { stop(); }

  void start() {
    auto pair = os::make_socketpair(SOCK_SEQPACKET);
    REQUIRE(pair.ok());
    ours_ = std::move(pair->first);
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    // dup2 onto itself would leave it close-on-exec.
    const os::UniqueFd high(fcntl(pair->second.get(), F_DUPFD_CLOEXEC, 100));
    posix_spawn_file_actions_adddup2(&actions, high.get(), 3);
    const char* argv[] = {"runmain-observer", nullptr};
    const char* environment[] = {nullptr};
    REQUIRE(posix_spawn(&pid_, RUNMAIN_BIN_DIR "/runmain-observer", &actions, nullptr,
                        const_cast<char**>(argv), const_cast<char**>(environment)) == 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  void stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    wait();
  }
  void let_go() { ours_.reset(); }
  int wait() {
    int status = 0;
    REQUIRE(waitpid(std::exchange(pid_, -1), &status, 0) > 0);
    return status;
  }
  void say(const keeper::ObserverMessage& message, const std::vector<int>& fds = {}) {
    REQUIRE(os::send_message(ours_.get(), to_binary(message), fds).ok());
  }
  // What it says next.
  keeper::ObserverSays hear() {
    pollfd ready{ours_.get(), POLLIN, 0};
    REQUIRE(poll(&ready, 1, 20'000) == 1);
    const auto received = os::receive_message(ours_.get(), 4096, buffer_);
    REQUIRE(received.ok());
    keeper::ObserverSays words;
    REQUIRE(from_binary(received->bytes, words));
    return words;
  }

 private:
  pid_t pid_ = -1;
  os::UniqueFd ours_;
  std::string buffer_;
};

template <class F>
bool wait_for(F&& until) {
  for (const Time end = os::Loop::now() + 20s; !until();) {
    if (os::Loop::now() >= end) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

}  // namespace

TEST_CASE("the program reads and sends, goes on after SIGKILL, and ends when it is told to") {
  const Collector collector(kTakesAll);
  const TestFolder folder;
  const os::UniqueFd cell = make_cell();
  const os::UniqueFd wake = make_wake();
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");

  ObserverConfig config;
  config.folder = folder.path;
  config.destinations = {{"collector", {"OTEL_EXPORTER_OTLP_ENDPOINT=" + base_url(collector)}}};
  config.services = {{kWeb.service, "web", 0}};
  const std::string bytes = to_binary(config);
  auto memfd = os::make_memfd("test-configuration", 0);
  REQUIRE(memfd.ok());
  REQUIRE(os::pwrite_all(memfd->get(), bytes, 0).ok());

  Keeper keeper;
  for (std::uint32_t starts = 0; starts < 3; ++starts) {
    keeper.start();
    REQUIRE(std::holds_alternative<keeper::ObserverHello>(keeper.hear()));
    keeper.say(keeper::ObserverWelcome{keeper::kObserverVersion, starts}, {cell.get()});
    keeper.say(keeper::ObserverConfiguration{bytes.size(), {}}, {memfd->get()});
    keeper.say(keeper::MailboxMade{kWeb, "web", "instance-1", 100}, {world.fd.get(), wake.get()});
    REQUIRE(lane.span(scope, span_number(starts + 1)));
    Lane::lane_count(lane.words().started);
    std::uint64_t one = 1;
    REQUIRE(::write(wake.get(), &one, sizeof one) == sizeof one);
    REQUIRE(wait_for([&] { return arrivals(collector).size() == starts + 1; }));
    if (starts < 2) keeper.stop();
  }
  lane.open(0, id16(9), id8(90), "GET /slow", scope);
  keeper.say(keeper::ChildGone{kWeb, 100, SIGKILL, true, 9000});
  keeper.say(keeper::TreeGone{kWeb});
  const auto read = keeper.hear();
  REQUIRE(std::holds_alternative<keeper::MailboxRead>(read));
  CHECK(std::get<keeper::MailboxRead>(read).key == kWeb);
  keeper.say(keeper::FinishObserving{10'000});
  REQUIRE(std::holds_alternative<keeper::ObserverFinished>(keeper.hear()));
  const int status = keeper.wait();
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(arrivals(collector).size() == 4);
}

TEST_CASE("the program ends with its keeper") {
  Keeper keeper;
  keeper.start();
  REQUIRE(std::holds_alternative<keeper::ObserverHello>(keeper.hear()));
  keeper.let_go();
  const int status = keeper.wait();
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("what children have left is read at the keeper's death, and sent or on disk") {
  for (const bool silent : {false, true}) {
    const Collector collector(
        silent ? Collector::Behave([](const auto&, std::size_t) { return Collector::kSilence; }) : kTakesAll);
    const TestFolder folder;
    const os::UniqueFd cell = make_cell();
    const os::UniqueFd wake = make_wake();
    World world;
    Lane lane(world, 0);
    REQUIRE(lane.take());
    const std::uint32_t scope = lane.scope("lib");
    ObserverConfig config;
    config.folder = folder.path;
    config.destinations = {{"collector", {"OTEL_EXPORTER_OTLP_ENDPOINT=" + base_url(collector)}}};
    config.services = {{kWeb.service, "web", 0}};
    const std::string bytes = to_binary(config);
    auto memfd = os::make_memfd("test-configuration", 0);
    REQUIRE(memfd.ok());
    REQUIRE(os::pwrite_all(memfd->get(), bytes, 0).ok());
    Keeper keeper;
    keeper.start();
    REQUIRE(std::holds_alternative<keeper::ObserverHello>(keeper.hear()));
    keeper.say(keeper::ObserverWelcome{keeper::kObserverVersion, 0}, {cell.get()});
    keeper.say(keeper::ObserverConfiguration{bytes.size(), {}}, {memfd->get()});
    keeper.say(keeper::MailboxMade{kWeb, "web", "instance-1", 100}, {world.fd.get(), wake.get()});
    REQUIRE(wait_for([&] { return load(world.memory.header().asleep) == 1; }));
    REQUIRE(lane.span(scope, span_number(1)));  // and nobody is woken
    lane.open(0, id16(9), id8(90), "GET /slow", scope);
    keeper.let_go();
    const int status = keeper.wait();
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(items_of(collector.seen()).size() == 2);
    std::uintmax_t spilled = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path)) {
      if (entry.path().extension() == ".spill") spilled += entry.file_size();
    }
    CHECK((spilled > 0) == silent);
  }
}

TEST_CASE("a keeper of another version is left alone") {
  Keeper keeper;
  keeper.start();
  REQUIRE(std::holds_alternative<keeper::ObserverHello>(keeper.hear()));
  const os::UniqueFd cell = make_cell();
  keeper.say(keeper::ObserverWelcome{keeper::kObserverVersion + 1, 0}, {cell.get()});
  const int status = keeper.wait();
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
}
